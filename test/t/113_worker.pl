
# The workers: they show by name what they are, leave when there is nothing to
# do, come back when they die, and lend their rights to nobody.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node(
	'main',
	"apikeys.flush_interval = '10ms'",
	'apikeys.last_used_throttle = 0');
add_keys($node, 'postgres', 'key');

my $launcher = q{FROM pg_stat_activity WHERE backend_type = 'apikeys launcher'};
my $flush_worker = q{FROM pg_stat_activity WHERE backend_type = 'apikeys flush worker'};

# It starts before anybody has connected to a database, when the server has no
# cache of its catalogs.
$node->stop;
my $log_start = -s $node->logfile;
$node->start;
wait_until('the launcher is there', sub { `ps -A -o args=` =~ /^postgres: ${\$node->name}: apikeys launcher/m });
wait_until('some intervals have gone by', do {
	my $looks = 0;
	sub { return ++$looks > 20 }
});
is(count_in_log($node, qr/FATAL|background worker "apikeys launcher"/, $log_start), 0, 'it starts before anybody has connected');

# The launcher
wait_for($node, 'postgres', "SELECT count(*) = 1 $launcher", 'there is a launcher');
is($node->safe_psql('postgres', "SELECT datid IS NULL, datname IS NULL, application_name $launcher"),
	't|t|apikeys launcher', 'it has a name, and no database');
SKIP:
{
	skip 'the server has no wait events for extensions', 1 if $node->pg_version < 17;
	wait_for($node, 'postgres', "SELECT wait_event_type = 'Extension' AND wait_event ~ '^Apikeys' $launcher",
		'its sleep has a name');
}

# A flush worker that is made to stay: it waits for a lock, which is polite where
# the lock is on the whole table.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE apikeys_data.usage IN ACCESS EXCLUSIVE MODE');
verify($node, 'postgres', 'key');
wait_for($node, 'postgres', "SELECT count(*) = 1 $flush_worker", 'there is a flush worker');
is($node->safe_psql('postgres', "SELECT datname, application_name $flush_worker"),
	'postgres|apikeys flush worker', 'it has a name, and a database');
$holder->query_safe('COMMIT');
wait_for($node, 'postgres', 'SELECT count(*) = 1 FROM apikeys_data.usage', 'it does its work');
wait_for($node, 'postgres', "SELECT count(*) = 0 $flush_worker", 'and leaves');
isnt(stats($node, 'last_flush_at'), '', 'the statistics say when');
is(stats($node, 'last_flush_at BETWEEN since AND now() AND rows_flushed > 0 AND flushes > 0 AND workers_started > 0'),
	't', 'and how much');

# With nothing to do, no worker is started.
my $started = stats($node, 'workers_started');
my $flushes = stats($node, 'flushes');
wait_until('many intervals have gone by', do {
	my $looks = 0;
	sub { return ++$looks > 50 }
});
is(stats($node, 'workers_started'), $started, 'with nothing to do no flush worker is started');

# A transaction that records usage and drops the extension leaves nothing to do.
# The launcher stands still meanwhile, so it sees the end of the commit only.
$node->safe_psql('postgres', 'CREATE DATABASE dropped');
add_extension($node, 'dropped');
add_keys($node, 'dropped', 'key');
my $pid = $node->safe_psql('postgres', "SELECT pid $launcher");
kill 'STOP', $pid;
$node->safe_psql('dropped', 'BEGIN; SELECT apikey_record_usage(id, 1, 1) FROM apikeys_data.key; DROP EXTENSION apikeys; COMMIT');
kill 'CONT', $pid;
wait_until('many intervals have gone by', do {
	my $looks = 0;
	sub { return stats($node, 'pending') >= 0 && ++$looks > 50 }
});
is(stats($node, 'workers_started'), $started, 'nor for the usage of an extension that was dropped');

# The launcher comes back, and a flush worker that is terminated costs nothing.
$pid = $node->safe_psql('postgres', "SELECT pid $launcher");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for($node, 'postgres', "SELECT count(*) = 1 AND min(pid) <> $pid $launcher", 'terminated, the launcher comes back');
$holder->query_safe('BEGIN; LOCK TABLE apikeys_data.usage IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', "SELECT apikey_record_usage(id, 1, 1) FROM apikeys_data.key");
wait_for($node, 'postgres', "SELECT count(*) = 1 $flush_worker AND wait_event_type = 'Lock'", 'a flush worker waits');
$pid = $node->safe_psql('postgres', "SELECT pid $flush_worker");
is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)"), 't', 'terminated, it goes');
$holder->query_safe('COMMIT');
wait_for($node, 'postgres', 'SELECT total_requests = 1 FROM apikeys_data.usage', 'the next one does its work');
$holder->query_safe('BEGIN; LOCK TABLE apikeys_data.usage IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', "SELECT apikey_record_usage(id, 1, 1) FROM apikeys_data.key");
wait_for($node, 'postgres', "SELECT count(*) = 1 $flush_worker AND wait_event_type = 'Lock'", 'a flush worker waits');
is($node->safe_psql('postgres', "SELECT count(pg_cancel_backend(pid)) $flush_worker"), 1, 'cancelled');
$holder->query_safe('COMMIT');
wait_for($node, 'postgres', 'SELECT total_requests = 2 FROM apikeys_data.usage', 'the work is done all the same');

$holder->quit;

# There is work and no free slot for a worker: it is done once there is one.
my $log_before = -s $node->logfile;
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
$node->safe_psql('postgres', "SELECT apikey_record_usage(id, 1, 1) FROM apikeys_data.key");
is($node->safe_psql('postgres', "SELECT total_requests FROM apikeys.info"), 3, 'no slot for a worker: usage is exact');
wait_until('some intervals have gone by', do {
	my $looks = 0;
	sub { return stats($node, 'pending') >= 0 && ++$looks > 20 }
});
cmp_ok(count_in_log($node, qr/max_worker_processes|could not/, $log_before), '<=', 1, 'no slot for a worker: the log is not flooded');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
wait_for($node, 'postgres', 'SELECT total_requests = 3 FROM apikeys_data.usage', 'a slot for a worker: the work is done');

# A trigger that somebody with the TRIGGER privilege plants runs with the
# worker, or not at all.  It wins nothing by it.
$node->safe_psql('postgres', q{
	CREATE ROLE mallory LOGIN;
	CREATE SCHEMA lair AUTHORIZATION mallory;
	GRANT TRIGGER ON ALL TABLES IN SCHEMA apikeys_data TO mallory;
	GRANT USAGE ON SCHEMA apikeys_data TO mallory;
	SET SESSION AUTHORIZATION mallory;
	CREATE TABLE lair.loot (what text);
	GRANT ALL ON lair.loot TO PUBLIC;
	GRANT ALL ON SCHEMA lair TO PUBLIC;
	CREATE FUNCTION lair.trap() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
	  attempt text;
	BEGIN
	  FOREACH attempt IN ARRAY ARRAY[
	    'SET ROLE postgres',
	    'RESET ROLE',
	    'SET SESSION AUTHORIZATION DEFAULT',
	    'CREATE TEMPORARY TABLE pg_temp_loot (a int)',
	    'PREPARE loot AS SELECT 1',
	    'LISTEN loot',
	    'ALTER ROLE mallory SUPERUSER']
	  LOOP
	    BEGIN
	      EXECUTE attempt;
	      INSERT INTO lair.loot VALUES (attempt);
	    EXCEPTION WHEN OTHERS THEN NULL;
	    END;
	  END LOOP;
	  RETURN NEW;
	END $$;
	CREATE TRIGGER trap BEFORE INSERT OR UPDATE ON apikeys_data.usage FOR EACH ROW EXECUTE FUNCTION lair.trap();
	CREATE TRIGGER trap BEFORE INSERT OR UPDATE ON apikeys_data.usage_day FOR EACH ROW EXECUTE FUNCTION lair.trap()});
my $before = $node->safe_psql('postgres', 'SELECT total_requests FROM apikeys.info');
$node->safe_psql('postgres', "SELECT apikey_record_usage(id, 1, 1) FROM apikeys_data.key");
wait_for($node, 'postgres', "SELECT total_requests = $before + 1 FROM apikeys_data.usage", 'a planted trigger: the flush works');
is($node->safe_psql('postgres', "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), 'f',
	'a planted trigger: the planter is no superuser');
is($node->safe_psql('postgres', 'SELECT DISTINCT what FROM lair.loot'), '', 'a planted trigger: it could do nothing');
is(stats($node, 'flush_errors'), 0, 'a planted trigger: no flush has failed');

# A database that lets nobody in, or few, is left alone and is no obstacle.
$node->safe_psql('postgres', 'CREATE DATABASE closed');
add_extension($node, 'closed');
add_keys($node, 'closed', 'key');
$holder = $node->background_psql('closed');
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS false');
is($holder->query_safe("SELECT code FROM apikey_verify('key-key')"), 'VALID', 'a closed database: verify works');
$before = $node->safe_psql('postgres', 'SELECT total_requests FROM apikeys.info');
$node->safe_psql('postgres', "SELECT apikey_record_usage(id, 1, 1) FROM apikeys_data.key");
wait_for($node, 'postgres', "SELECT total_requests = $before + 1 FROM apikeys_data.usage", 'a closed database: the others go on');
$holder->quit;
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS true');
wait_for($node, 'closed', 'SELECT count(*) = 1 FROM apikeys_data.usage', 'opened, it is flushed');

# pg_upgrade wants a server that does nothing by itself.
verify($node, 'postgres', 'key');
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '1h'");
$node->restart;
# After its first look the launcher sleeps for an hour.
wait_until('an entry stays', sub {
	$node->safe_psql('postgres', 'SELECT apikey_record_usage(id, 1, 1) FROM apikeys_data.key');
	return $node->safe_psql('postgres', "SELECT count(*) > 0 $flush_worker") eq 'f'
	  && $node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry') > 1;
});
my $entries = $node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry');
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '10ms'");
$node->stop;
system_or_bail('pg_ctl', '--pgdata', $node->data_dir, '--log', $node->logfile,
	'--options', "-b --cluster-name=${\$node->name}", '--wait', 'start');
$node->_update_pid(1);
wait_until('some intervals have gone by', do {
	my $looks = 0;
	sub {
		my $workers = $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'apikeys%'");
		return $workers || ++$looks > 20;
	}
});
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'apikeys%'"),
	0, 'binary upgrade: no worker');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry'), $entries, 'binary upgrade: nothing is flushed');

$node->stop;
done_testing();
