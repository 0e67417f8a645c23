
# A server of any number sees what all nodes have used, and of its own entries what is
# not rolled up.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '1h'", 'autovacuum = off');

# The third key was used on two nodes, the fourth one nowhere.
$node->safe_psql('postgres', q{
	SELECT count(apikey_import(digest('k' || n, 'sha256'), 'k' || n, '...', created_at => '2020-01-01')) FROM generate_series(1, 4) n;
	INSERT INTO apikeys_data.usage (key_id, node, last_used_at, last_used_ip, total_requests, total_tokens, total_cost)
	SELECT k.id, u.node, u.at::timestamptz, u.ip::inet, u.requests, u.tokens, u.cost
	FROM (VALUES ('k1', 0, '2021-01-01 UTC', '10.0.0.1', 1, 10, 0.5),
	             ('k2', 1, '2021-01-05 UTC', '10.1.0.2', 5, 40, 2),
	             ('k3', 1, '2021-01-04 UTC', NULL, 3, 30, 0.125),
	             ('k3', 2, '2021-01-03 UTC', '10.2.0.3', 4, 30, 1)) u(name, node, at, ip, requests, tokens, cost)
	JOIN apikeys_data.key k USING (name);
	INSERT INTO apikeys_data.usage_entry (id, key_id, recorded_at, tokens, cost)
	SELECT (e.node::bigint << 48) + e.n, k.id, '2021-01-06 UTC', 1, 1
	FROM (VALUES ('k1', 1, 1), ('k2', 2, 1), ('k2', 2, 2), ('k3', 1, 2)) e(name, node, n)
	JOIN apikeys_data.key k USING (name)});

my $used = q{
	SELECT name, last_used_at AT TIME ZONE 'UTC', last_used_ip, total_requests, total_tokens, total_cost
	FROM apikeys.info ORDER BY name};
my $expected = join("\n",
	'k1|2021-01-01 00:00:00|10.0.0.1|2|11|1.5',
	'k2|2021-01-05 00:00:00|10.1.0.2|7|42|4',
	'k3|2021-01-04 00:00:00|10.2.0.3|8|61|2.125',
	'k4|||0|0|0');

foreach my $number (0, 1, 2, 7)
{
	$node->append_conf('postgresql.conf', "apikeys.node = $number");
	$node->reload;
	wait_for($node, 'postgres', "SELECT current_setting('apikeys.node') = '$number'", "this is node $number");
	is($node->safe_psql('postgres', $used), $expected, "what node $number sees");
	is($node->safe_psql('postgres', q{
		SELECT string_agg(name, ' ' ORDER BY name) FROM apikey_list(unused_since => '2021-01-05 UTC')}),
		'k1 k3 k4', "what is unused as node $number sees it");
}

# A node rolls up its own, and all see the same afterwards.
$node->append_conf('postgresql.conf', 'apikeys.node = 2');
$node->reload;
wait_for($node, 'postgres', "SELECT current_setting('apikeys.node') = '2'", 'this is node 2');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry'), 2, 'what node 2 has rolled up');
$node->append_conf('postgresql.conf', 'apikeys.node = 7');
$node->reload;
wait_for($node, 'postgres', "SELECT current_setting('apikeys.node') = '7'", 'this is node 7');
is($node->safe_psql('postgres', $used), $expected, 'seen from node 7');

$node->stop;
done_testing();
