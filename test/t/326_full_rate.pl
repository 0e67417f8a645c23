
# Usage all day: the flush worker comes as often as there is much to roll up, and
# what is written for a call is bounded.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $interval = 3;				# seconds
my $node = start_node(
	'main',
	"apikeys.flush_interval = '${interval}s'",
	'full_page_writes = off',
	'autovacuum = off');

$node->safe_psql('postgres', q{
	SELECT count(apikey_import(digest('k' || n, 'sha256'), 'k' || n, '...', budget_id => b))
	FROM apikey_budget_create('b', 1e9) b, generate_series(1, 100) n});

sub left { return $node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry') }

# Runs a load for some seconds; returns how many workers were started meanwhile.
sub workers_during
{
	my ($seconds, $script, @options) = @_;
	my $before = stats($node, 'workers_started');
	my $load = start_load($node, 'postgres', $script, '--time', $seconds, @options);

	ok(end_load($load), 'the load') or diag $load->{err};
	return stats($node, 'workers_started') - $before;
}

my $seconds = 12;
my $usual = $seconds / $interval + 1;
my $much = workers_during($seconds,
	q{SELECT count(apikey_record_usage(id, 1, 0.01)::text) FROM apikeys_data.key;}, '--client', 4);
my $left = left();
my $all = $node->safe_psql('postgres', 'SELECT sum(total_requests) FROM apikeys.info');

note "$all entries recorded, $left left, $much workers";
cmp_ok($much, '>', $usual * 1.5, 'much to roll up: workers come more often');
cmp_ok($left, '<', $all / 2, 'and keep up');
wait_for($node, 'postgres', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'all is rolled up');
is($node->safe_psql('postgres', 'SELECT spent::int FROM apikeys.budget_info'), $all / 100, 'of the budget, too');

my $little = workers_during($seconds,
	q{SELECT count(apikey_record_usage(id, 1, 0.01)::text) FROM apikeys_data.key WHERE name = 'k1';}, '--client', 1, '--rate', 5);
note "with little to roll up $little workers";
cmp_ok($little, '<=', $usual, 'little to roll up: once in an interval');

# WAL, with the roll-up.  Pages are not logged as a whole.
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '1h'");
$node->restart;
wait_for($node, 'postgres', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'nothing is left');
$node->safe_psql('postgres', 'CHECKPOINT');

# Bytes for a call that records usage of one of the keys.
sub wal_of_a_call
{
	my ($calls) = @_;
	my $from = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	my $load = start_load($node, 'postgres', q{
\set n random(1, 100)
SELECT apikey_record_usage(id, 1000, 0.01) FROM apikeys_data.key WHERE name = 'k' || :n;
}, '--client', 1, '--transactions', $calls);

	ok(end_load($load), 'calls') or diag $load->{err};
	is(left(), $calls, 'one row for each, with its budget');
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	is(left(), 0, 'which are rolled up');
	return $node->safe_psql('postgres', "SELECT (pg_current_wal_insert_lsn() - '$from') / $calls");
}

my $bytes = wal_of_a_call(5000);
note "$bytes bytes of WAL for a call";
cmp_ok($bytes, '<', 600, 'WAL of a call with a budget, its commit and its roll-up');

is_sound($node, 'postgres');
$node->stop;
done_testing();
