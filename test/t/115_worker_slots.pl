
# Too few slots for background workers: what is pending stays, the log says so
# now and then, apikeys.stats counts it, and once there is a slot all is
# persisted.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# One slot for the server's own launcher of logical replication, one for ours,
# and one for a flush worker.
my $node = new_node(
	'main',
	'max_worker_processes = 3',
	'wal_level = replica',
	'max_wal_senders = 8',
	"apikeys.flush_interval = '10ms'",
	'apikeys.last_used_throttle = 0');
set_clock($node, 0);
with_clock($node, sub { $node->start });
add_extension($node, 'postgres');
$node->safe_psql('postgres', 'CREATE DATABASE other');
add_extension($node, 'other');
add_keys($node, $_, 'key', 'later') foreach 'postgres', 'other';

my $no_worker = qr/LOG: .*there is no free slot for its flush worker/;
my $no_launcher = qr/LOG: .*its launcher is not running/;

# Lets so many tries to start a flush worker fail.
sub fail_to_start
{
	my $failed = stats($node, 'workers_not_started');

	wait_until('no slot is found, again and again',
		sub { stats($node, 'workers_not_started') > $failed + 5 });
}

# The flush worker of another database stands still while it waits for a lock,
# and so keeps the only slot.
my $holder = $node->background_psql('other');
$holder->query_safe('BEGIN; LOCK TABLE apikeys_data.usage IN ACCESS EXCLUSIVE MODE');
verify($node, 'other', 'key');
my $pid = wait_until('a flush worker waits', sub {
	my $found = $node->safe_psql('postgres',
		q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'apikeys flush worker' AND wait_event_type = 'Lock'});
	return $found ne '' && kill('STOP', $found) && $found;
});

# The start of the server, where all databases are looked at, may have missed a
# slot as well.
verify($node, 'postgres', 'key');
$node->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('key')}, 1, 1)");
fail_to_start();
is(count_in_log($node, $no_worker), 1, 'no slot for a flush worker: the log says so, once');
is(count_in_log($node, qr/HINT: .*max_worker_processes/), 1, 'and what to do');
is(stored_use($node, 'postgres', 'key'), '', 'nothing is persisted');
is($node->safe_psql('postgres', q{SELECT total_requests, last_used_at IS NOT NULL FROM apikeys.info WHERE name = 'key'}),
	'1|t', 'nothing is lost');
cmp_ok($node->safe_psql('postgres', 'SELECT apikey_flush()'), '>=', 2, 'a flush by hand works');
isnt(stored_use($node, 'postgres', 'key'), '', 'and persists it');

# A slot is free again.
verify($node, 'postgres', 'later');
fail_to_start();
is(stored_use($node, 'postgres', 'later'), '', 'a later use is pending');
$holder->query_safe('COMMIT');
kill 'CONT', $pid;
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM apikeys_data.usage WHERE key_id = ${\id_of('later')}",
	'a slot is free: it is persisted');
wait_for($node, 'postgres', 'SELECT pending = 0 FROM apikeys.stats', 'so is all else');
is(count_in_log($node, $no_worker), 1, 'the log has said it once');
$holder->quit;

# Not even the launcher finds a slot.
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->stop;
with_clock($node, sub { $node->start });
my $log = -s $node->logfile;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'apikeys%'}), 0,
	'control: there is no launcher');
is(count_in_log($node, $no_launcher, $log), 0, 'with nothing pending, nothing is said');
$node->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('key')}, 1, 1)") for 1 .. 3;
is(verify($node, 'postgres', 'later'), 'VALID', 'no launcher: verify works');
is(count_in_log($node, $no_launcher, $log), 1, 'no launcher: the log says so, once');
is(stats($node, 'workers_not_started'), 4, 'no launcher: it is counted');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry'), 3, 'no launcher: nothing is persisted');

SKIP:
{
	skip 'libfaketime is not installed', 2 unless has_clock();
	set_clock($node, 3590);
	$node->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('key')}, 1, 1)") for 1 .. 3;
	is(count_in_log($node, $no_launcher, $log), 1, 'not again within an hour');
	set_clock($node, 3700);
	$node->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('key')}, 1, 1)") for 1 .. 3;
	is(count_in_log($node, $no_launcher, $log), 2, 'after an hour it is said again');
	set_clock($node, 0);
}

# A standby persists nothing, so it lacks no launcher, until it is promoted.
$node->safe_psql('postgres', q{SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x', rate_limits => '{"requests_per_day": 10}')});
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
is(verify($standby, 'postgres', 'limited'), 'VALID', 'a standby without a launcher: verify works');
is(count_in_log($standby, $no_launcher), 0, '... and nothing is said');
is(stats($standby, 'workers_not_started'), 0, '... nor counted');
$standby->promote;
$standby->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('key')}, 1, 1)");
is(count_in_log($standby, $no_launcher), 1, 'promoted: the log says so');
$standby->stop;

cmp_ok($node->safe_psql('postgres', 'SELECT apikey_flush()'), '>=', 3, 'no launcher: a flush by hand works');
$node->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('key')}, 1, 1)");
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
wait_for($node, 'postgres', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'with enough slots it is persisted');
is(stats($node, 'workers_not_started'), 0, 'and no worker is missing');

$node->stop;
done_testing();
