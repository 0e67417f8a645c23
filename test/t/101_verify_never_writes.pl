
# Sixty-four sessions verify one key at once, each in a transaction that stays
# open, while another holds its rows locked.  Nobody waits, nobody gets a
# transaction id, and no WAL is written.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $sessions = 64;
my $calls = 1000;

# The flush worker has other tests: here it has nothing to do.
my $node = start_node(
	'main',
	'max_connections = 80',
	'log_lock_waits = on',
	'deadlock_timeout = 10ms',
	"apikeys.flush_interval = '1h'");
my $verify = sprintf q{
	DO $$
	BEGIN
	  FOR i IN 1 .. %d LOOP
	    ASSERT (SELECT code FROM apikey_verify('hot-key')) = 'VALID';
	  END LOOP;
	END $$}, $calls;

add_keys($node, 'postgres', 'hot', 'cold');
$node->safe_psql('postgres', 'CREATE EXTENSION dblink');

# A last use on disk, so that there is a row to wait for.
is(verify($node, 'postgres', 'hot'), 'VALID', 'the key is good');
$node->safe_psql('postgres', 'SELECT apikey_flush()');

my $holder = $node->background_psql('postgres');
$holder->query_safe(q{
	BEGIN;
	SELECT count(*) FROM (SELECT FROM apikeys_data.key FOR UPDATE) k;
	SELECT count(*) FROM (SELECT FROM apikeys_data.usage FOR UPDATE) u});

# One session holds the strings of the others.
my $strings = $node->background_psql('postgres');
my $each = "FROM generate_series(1, $sessions) n";
$strings->query_safe(sprintf "SELECT count(dblink_connect('s' || n, '%s')) $each",
	"dbname=postgres host=${\$node->host} port=${\$node->port}");
$strings->query_safe("SELECT count(dblink_exec('s' || n, 'BEGIN')) $each");

# Catalog pages that are pruned on the way, and the like, are not ours.
$node->safe_psql('postgres', 'VACUUM FREEZE');
$node->safe_psql('postgres', "$verify; CHECKPOINT");

my $state = q{
	SELECT pg_current_wal_insert_lsn(),
	       pg_snapshot_xmax(pg_current_snapshot()) AS next_xid,
	       (SELECT string_agg(ctid::text || xmin, ' ') FROM apikeys_data.usage) AS usage};
my $records = 'SELECT wal_records FROM pg_stat_wal';

my $before = '';
wait_until('the server is at rest', sub {
	my $last = $before;
	$before = $node->safe_psql('postgres', $state);
	return $last eq $before;
});
my $records_before = $node->safe_psql('postgres', $records);
my $log_before = -s $node->logfile;

# Of the uses within a second only the first is recorded, and that is on disk.
wait_for($node, 'postgres', q{
	SELECT date_trunc('second', clock_timestamp()) > max(last_used_at) FROM apikeys.info},
	'another second has begun');

$strings->query_safe("SELECT count(dblink_send_query('s' || n, \$q\$$verify\$q\$)) $each");

my $waiting = 0;
my $looks = 0;
wait_until('all have verified', sub {
	$waiting += $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
	$looks++;
	return $strings->query_safe("SELECT sum(dblink_is_busy('s' || n)) $each") eq '0';
});
is($waiting, 0, "no session was seen waiting in $looks looks");

# The transactions are open still.
is($strings->query_safe(qq{
		SELECT count(*) $each,
		LATERAL dblink_get_result('s' || n) AS r(status text) WHERE status = 'DO'}),
	$sessions, 'every session has verified');
$strings->query_safe("SELECT count(*) $each, LATERAL dblink_get_result('s' || n) AS r(status text)");
is($strings->query_safe(qq{
		SELECT count(*) $each,
		LATERAL dblink('s' || n, 'SELECT pg_current_xact_id_if_assigned() IS NULL') AS r(none boolean)
		WHERE none}),
	$sessions, 'no transaction has an id');
is($strings->query_safe("SELECT count(dblink_exec('s' || n, 'COMMIT')) $each"),
	$sessions, 'all committed');
$strings->query_safe("SELECT count(dblink_disconnect('s' || n)) $each");

is($node->safe_psql('postgres', $state), $before, 'no WAL, no transaction id, no write');
# These are counted late: some of before may be among them.
cmp_ok($node->safe_psql('postgres', $records) - $records_before, '<', $sessions,
	'pg_stat_wal knows of no WAL either');
is(count_in_log($node, qr/still waiting for/, $log_before), 0, 'no lock wait in the log');

# All were counted, and recorded in memory.
wait_for($node, 'postgres', sprintf('SELECT valid = %d FROM apikeys.stats', ($sessions + 1) * $calls + 1),
	'every verify was counted');
is($node->safe_psql('postgres', q{
		SELECT i.last_used_at > u.last_used_at FROM apikeys.info i
		JOIN apikeys_data.usage u ON u.key_id = i.id WHERE i.name = 'hot'}),
	't', 'the last use is seen, and not written');

# Transactions that may not write, and the one that waits for a safe snapshot
$holder->query_safe('ROLLBACK');
foreach my $mode (
	'READ ONLY',
	'ISOLATION LEVEL REPEATABLE READ READ ONLY',
	'ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE')
{
	$node->safe_psql('postgres', "DELETE FROM apikeys_data.key WHERE name = 'cold'");
	add_keys($node, 'postgres', 'cold');
	is($node->safe_psql('postgres', "BEGIN $mode; SELECT code FROM apikey_verify('cold-key'); COMMIT"),
		'VALID', "$mode: verify works");
	isnt(last_use($node, 'postgres', 'cold'), '', "$mode: its use is seen");
	is(stored_use($node, 'postgres', 'cold'), '', "$mode: its use is not written");
}
$node->safe_psql('postgres', 'SELECT apikey_flush()');
isnt(stored_use($node, 'postgres', 'cold'), '', 'until the next flush');

# Control: a wait would have been logged.
$holder->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM apikeys_data.key FOR UPDATE) k");
my $waiter = $node->background_psql('postgres');
$waiter->query_until(qr/go/, "\\echo go\nUPDATE apikeys_data.key SET name = name;\n");
ok($node->wait_for_log(qr/still waiting for/, $log_before), 'control: a lock wait is logged');
$holder->query_safe('COMMIT');

$_->quit foreach ($waiter, $holder, $strings);
$node->stop;
done_testing();
