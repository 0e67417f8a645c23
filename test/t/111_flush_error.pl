
# A flush that fails: it is logged once (and once an hour), shown in
# apikeys.stats, tried again after a growing pause,
# and costs nothing that was pending.  It harms no other database, and a row
# that cannot be written does not keep the others back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = start_node(
	'main',
	"apikeys.flush_interval = '10ms'",
	'apikeys.last_used_throttle = 0');

foreach my $dbname ('bad', 'good')
{
	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	add_extension($node, $dbname);
	add_keys($node, $dbname, map { "k$_" } 1 .. 20);
}
my $use_all = q{
	SELECT count(v.code) FROM generate_series(1, 20) n, LATERAL apikey_verify('k' || n || '-key') v;
	SELECT count(apikey_record_usage(id, 10, 0.1)::text) FROM apikeys_data.key};
my $totals = q{SELECT sum(total_requests), sum(total_tokens), sum(total_cost), count(last_used_at) FROM apikeys.info};

# Everything is refused.
my $log_before = -s $node->logfile;
$node->safe_psql('bad', q{
	ALTER TABLE apikeys_data.usage ADD CONSTRAINT spanner CHECK (false) NOT VALID});
$node->safe_psql('bad', $use_all);
is($node->safe_psql('bad', $totals), '20|200|2.0|20', 'uses and usage are seen');
wait_for($node, 'postgres', 'SELECT flush_errors > 0 FROM apikeys.stats', 'the flush fails');
my $errors = stats($node, 'flush_errors');
my $start = time();
wait_for($node, 'postgres', "SELECT flush_errors >= $errors + 4 FROM apikeys.stats", 'it is tried again');
cmp_ok(time() - $start, '>', 0.1, 'after pauses longer than the interval');
is(count_in_log($node, qr/(?:ERROR|WARNING|LOG): .*spanner/, $log_before), 1, 'the log says so once');
is(stats($node, q{last_flush_error ~ '^database "bad": .*"spanner"' AND last_flush_error_at BETWEEN since AND clock_timestamp()}), 't',
	'apikeys.stats shows it');
is($node->safe_psql('bad', $totals), '20|200|2.0|20', 'nothing is lost');
is($node->safe_psql('bad', 'SELECT count(*) FROM apikeys_data.usage_entry'), 20, 'the entries are there');

# The other database does not wait for it.
$node->safe_psql('good', $use_all);
wait_for($node, 'good', q{SELECT count(*) = 20 FROM apikeys_data.usage WHERE total_requests = 1 AND last_used_at IS NOT NULL},
	'the other database is flushed');

# A flush by hand shows the error to who asks for it.
my ($ret, $stdout, $stderr) = $node->psql('bad', 'SELECT apikey_flush()',
	extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($stderr, qr/ERROR:  23514/, 'apikey_flush() raises it');
is($node->safe_psql('bad', $totals), '20|200|2.0|20', 'and nothing is lost');

# Once it is repaired, all of it is written.  A flush by hand shows that; the
# worker comes at its next try, at the latest.
$node->safe_psql('bad', 'ALTER TABLE apikeys_data.usage DROP CONSTRAINT spanner');
wait_for($node, 'bad', q{
	SELECT count(*) = 20 FROM apikeys_data.usage
	WHERE total_requests = 1 AND total_tokens = 10 AND total_cost = 0.1 AND last_used_at IS NOT NULL},
	'repaired: all is written by the worker');
wait_for($node, 'bad', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'repaired: no entry is left');
is($node->safe_psql('bad', $totals), '20|200|2.0|20', 'repaired: the totals are the same');
wait_for($node, 'postgres', 'SELECT pending = 0 FROM apikeys.stats', 'repaired: nothing is pending');

# A later error is a new one, and logged again.
$log_before = -s $node->logfile;
$node->safe_psql('bad', q{ALTER TABLE apikeys_data.usage ADD CONSTRAINT wrench CHECK (false) NOT VALID});
$node->safe_psql('bad', 'SELECT count(apikey_record_usage(id, 10, 0.1)::text) FROM apikeys_data.key');
ok($node->wait_for_log(qr/wrench/, $log_before), 'a later error is logged');
$node->safe_psql('bad', 'ALTER TABLE apikeys_data.usage DROP CONSTRAINT wrench');
wait_for($node, 'bad', 'SELECT sum(total_requests) = 40 FROM apikeys_data.usage', 'repaired again');

# What apikeys.stats shows of an error is masked, short, and fit for databases
# of any encoding.
my $raw_key = $node->safe_psql('bad', q{SELECT raw_key FROM apikey_generate('unused')});
$node->safe_psql('bad', qq{
	CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
	  RAISE EXCEPTION 'of %, é%', '$raw_key', repeat('x', 100000);
	END \$\$;
	CREATE TRIGGER complain BEFORE UPDATE ON apikeys_data.usage FOR EACH ROW EXECUTE FUNCTION complain();
	ALTER TABLE apikeys_data.usage ENABLE ALWAYS TRIGGER complain});
$node->safe_psql('bad', 'SELECT count(apikey_record_usage(id, 0, 0)::text) FROM apikeys_data.key WHERE name = $$k1$$');
wait_for($node, 'postgres', q{SELECT last_flush_error LIKE '%of gw-%' FROM apikeys.stats}, 'an error with a raw key is shown');
like(stats($node, 'last_flush_error'), qr/^database "bad": of gw-.\*{27}.{4}, \?+x+$/, 'masked');
cmp_ok(stats($node, 'length(last_flush_error)'), '<', 300, 'and cut');
$node->safe_psql('bad', 'DROP TRIGGER complain ON apikeys_data.usage');
wait_for($node, 'bad', q{SELECT count(*) = 0 FROM apikeys_data.usage_entry}, 'without the trigger it is written');
$node->safe_psql('bad', q{SELECT apikey_delete(id) FROM apikeys_data.key WHERE name = 'unused'});
$node->safe_psql('bad', q{UPDATE apikeys_data.usage SET total_requests = total_requests - 1 WHERE total_requests = 3});

# One key that cannot be written keeps none of the others back.
my $id = $node->safe_psql('bad', q{SELECT id FROM apikeys_data.key WHERE name = 'k7'});
$node->safe_psql('bad', "ALTER TABLE apikeys_data.usage ADD CONSTRAINT one_of_twenty CHECK (key_id <> '$id') NOT VALID");
$node->safe_psql('bad', $use_all);
wait_for($node, 'bad', "SELECT count(*) = 19 FROM apikeys_data.usage WHERE key_id <> '$id' AND total_requests = 3",
	'one bad row: the usage of the others is rolled up');
is($node->safe_psql('bad', $totals), '60|600|6.0|20', 'one bad row: nothing is lost');
$node->safe_psql('bad', 'ALTER TABLE apikeys_data.usage DROP CONSTRAINT one_of_twenty');
wait_for($node, 'bad', "SELECT total_requests = 3 FROM apikeys_data.usage WHERE key_id = '$id'",
	'one bad row: repaired, it is written too');
is($node->safe_psql('bad', $totals), '60|600|6.0|20', 'the totals are right');

# An error does not outlive a shutdown: what was pending is there afterwards.
$node->safe_psql('bad', q{ALTER TABLE apikeys_data.usage ADD CONSTRAINT spanner CHECK (false) NOT VALID});
wait_until('a use is pending', sub {
	$node->safe_psql('bad', 'SELECT count(v.code) FROM generate_series(1, 20) n, LATERAL apikey_verify(\'k\' || n || \'-key\') v');
	return stats($node, 'pending') > 0;
});
my $pending = $node->safe_psql('bad', 'SELECT array_agg(last_used_at ORDER BY id) FROM apikeys.info');
within_5_seconds('a shutdown does not wait for it', sub { $node->stop('fast', fail_ok => 1) });
$node->start;
is($node->safe_psql('bad', 'SELECT array_agg(last_used_at ORDER BY id) FROM apikeys.info'), $pending,
	'restarted: the uses are still seen');
$node->safe_psql('bad', 'ALTER TABLE apikeys_data.usage DROP CONSTRAINT spanner');
wait_for($node, 'bad', "SELECT array_agg(last_used_at ORDER BY key_id) = '$pending' FROM apikeys_data.usage",
	'repaired: they are written');

# An error outlives its database.
$node->safe_psql('bad', q{ALTER TABLE apikeys_data.usage ADD CONSTRAINT hammer CHECK (false) NOT VALID});
$node->safe_psql('bad', 'SELECT count(apikey_record_usage(id, 10, 0.1)::text) FROM apikeys_data.key');
wait_for($node, 'postgres', q{SELECT last_flush_error ~ '^database "bad": .*"hammer"' FROM apikeys.stats}, 'an error of a database');
$node->safe_psql('postgres', 'DROP DATABASE bad');
is(stats($node, q{last_flush_error ~ '^new row .*"hammer"'}), 't', 'the database dropped, it is shown without its name');

$node->stop;
done_testing();
