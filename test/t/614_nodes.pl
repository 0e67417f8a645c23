
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

# What another node has left is rolled up here, more than once as more of it comes; a
# budget's warning is this node's own.
$node->safe_psql('postgres', q{
	SELECT apikey_budget_create('b', 10, warn_at => '{0.5}');
	INSERT INTO apikeys_data.usage_entry (id, requests, recorded_at, tokens, cost, budget_id, budget_period)
	SELECT (3::bigint << 48) + n, 0, now(), 0, 2, b.id, b.starts_at
	FROM generate_series(1, 3) n, apikeys_data.budget b});
is($node->safe_psql('postgres', 'SELECT apikey_flush_node(3)'), 3, 'what node 3 has left');
is($node->safe_psql('postgres', q{SELECT id >> 48 FROM apikeys_data.event WHERE action = 'budget_warning'}), 7, 'the event is of this node');
is($node->safe_psql('postgres', 'SELECT node FROM apikeys_data.budget_warning'), 7, 'and the warning');
$node->safe_psql('postgres', q{
	INSERT INTO apikeys_data.usage_entry (id, requests, recorded_at, tokens, cost, budget_id, budget_period)
	SELECT (3::bigint << 48) + 4, 0, now(), 0, 2, b.id, b.starts_at FROM apikeys_data.budget b});
is($node->safe_psql('postgres', 'SELECT apikey_flush_node(3)'), 1, 'more that comes');
is($node->safe_psql('postgres', 'SELECT spent FROM apikeys.budget_info'), '8', 'all of it is spent');

$node->stop;
done_testing();
