
# apikeys.check() and shared memory: each contradiction is made on purpose, by a
# module that writes there, and found; and what only looks like one is not.  Then
# how it behaves beside others: it reads with one snapshot, locks nobody out, heeds
# cancel, and works on a standby and after crashes.  What is wrong in tables is
# tried in sql/check.sql.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $build = build_module('damage');

my $node = new_node('main', "apikeys.flush_interval = '1h'", "apikeys.reservation_timeout = '1h'",
	'apikeys.max_tracked_keys = 3000', 'max_prepared_transactions = 4', 'wal_level = replica', 'max_wal_senders = 4');
set_clock($node, 0);
with_clock($node, sub { $node->start });
add_extension($node, 'postgres');
$node->safe_psql('postgres', "CREATE FUNCTION test_damage(bigint, text, uuid, int) RETURNS void LANGUAGE C AS '$build/damage'");

# What the check says, one line a problem, with names for ids.
sub problems
{
	my ($server) = @_;
	my $found = ($server // $node)->safe_psql('postgres', 'SELECT level, object, problem FROM apikeys.check() ORDER BY 1, 2, 3');
	my %names = split /[|\n]/, $node->safe_psql('postgres',
		'SELECT id, name FROM apikeys_data.key UNION ALL SELECT id, name FROM apikeys_data.budget');

	$found =~ s/$_/$names{$_}/g foreach keys %names;
	return $found;
}

# ------------------------------------------------------- contradictions in it

$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('key-key', 'sha256'), 'key', 'x', rate_limits => '{"tokens_per_day": 100}',
		budget_id => apikey_budget_create('budget', 10))});
my $key = $node->safe_psql('postgres', 'SELECT ' . id_of('key'));
my $budget = $node->safe_psql('postgres', 'SELECT id FROM apikeys_data.budget');
$node->safe_psql('postgres', q{SELECT code FROM apikey_verify('key-key', reserve => true, tokens => 7, cost => 2)});
is_sound($node, 'postgres', 'with a reservation');

my $size = $node->safe_psql('postgres', q{SELECT size FROM pg_shmem_allocations WHERE name = 'apikeys keys'});
my $in = qr/error\|shared memory, partition \d\|/;
my $of = qr/error\|shared memory of/;

# Makes a contradiction, and undoes it.
sub is_found
{
	my ($what, $id, $expected) = @_;
	my ($found, $then) = split /^--$/m, $node->safe_psql('postgres', qq{
		SELECT FROM test_damage($size, '$what', '$id', 1);
		SELECT level, object, problem FROM apikeys.check();
		SELECT FROM test_damage($size, '$what', '$id', -1);
		\\echo --
		SELECT level, object, problem FROM apikeys.check()});

	$found =~ s/$key/key/g;
	$found =~ s/$budget/budget/g;
	like($found =~ s/^\n+|\n+$//gr, $expected, "damage: $what");
	is($then // '', '', "damage: $what: undone");
}

is_found(@$_) foreach (
	[ 'used entries', $key, qr/^${in}its number of entries is (\d+), not \d+$/ ],
	[ 'free entries', $key, qr/^${in}the number of its free entries is \d+, not \d+$/ ],
	[ 'free windows', $key, qr/^${in}the number of its free windows is \d+, not \d+$/ ],
	[ 'free reservations', $key, qr/^error\|shared memory\|the number of free reservations is \d+, not 3000$/ ],
	[ 'first free reservation', $key, qr/^error\|shared memory\|whether there is a first free reservation is 0, not 1$/ ],
	[ 'id', $key, qr/$of \S+\|whether it is found by its id is 0, not 1/ ],
	[ 'stored use', $key, qr/^$of key\|its stored last use is \d+, not \d+$/m ],
	[ 'pinned', $key, qr/^$of key\|whether it is kept from eviction is 1, not 0$/ ],
	[ 'window numbers', $key, qr/^$of key\|whether its windows are linked is 0, not 1$/m ],
	[ 'window unit', $key, qr/^$of key\|whether its windows are linked is 0, not 1$/ ],
	[ 'window reserved', $key, qr/^warning\|shared memory of key\|what a window has reserved is 8, not 7$/ ],
	[ 'window counted', $key, qr/^$of key\|what a window has counted is -1, not 0$/ ],
	[ 'reservations', $key, qr/^$of key\|the number of its reservations is 2, not 1$/ ],
	[ 'reserved cost', $budget, qr/^$of budget\|what its reservations cost is 2000000001, not 2000000000$/ ],
	[ 'owner', $budget, qr/^$of budget\|the number of its broken links to reservations is 1, not 0$/ ],
	[ 'newest', $budget, qr/^$of budget\|the number of its broken links to reservations is 1, not 0$/ ],
	[ 'circle', $budget, qr/^$of budget\|the number of its reservations is 1, not 3001$/m ],
	[ 'unlinked', $budget, qr/^${in}whether a reservation is linked to its owner is 0, not 1$/ ]);

# ------------------------------------------------------ contradicted by rows

# A use is stored, the row says so, and then it does not.
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is_sound($node, 'postgres', 'flushed');
is_found('stored window', $key, qr/^$of key\|what its row has counted is 0, not 1$/);
my $stored = stored_use($node, 'postgres', 'key');
$node->safe_psql('postgres', "UPDATE apikeys_data.usage SET last_used_at = last_used_at - interval '1 day'");
like(problems(), qr/^error\|key key\|has a stored last use of \S+ \S+ in shared memory, but one of \S+ \S+ in its table$/, 'an older last use in the table');
$node->safe_psql('postgres', "UPDATE apikeys_data.usage SET last_used_at = '$stored'");
is_sound($node, 'postgres', 'as it was');

# The row has more than memory: of a key, of a budget, and of a key that is gone.
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x', rate_limits => '{"requests_per_day": 100}',
		budget_id => apikey_budget_create('limits', rate_limits => '{"requests_per_day": 100}'));
	SELECT apikey_verify('limited-key');
	SELECT apikey_flush();
	CREATE TABLE rows AS SELECT * FROM apikeys_data.window_state;
	CREATE TABLE kept AS SELECT * FROM apikeys_data.key WHERE name = 'limited';
	UPDATE apikeys_data.window_state SET windows = windows || 77::bigint || windows[2:6] WHERE owner_id = (SELECT id FROM kept);
	UPDATE apikeys_data.window_state SET windows[5] = 3 WHERE owner_id = (SELECT id FROM apikeys_data.budget WHERE name = 'limits')});
is(join("\n", sort split /\n/, problems()), "error|shared memory of limited|what its row has counted is 1, not 0\n"
	. 'error|shared memory of limits|what its row has counted is 3, not 1', 'rows of more than was used');
$node->safe_psql('postgres', q{DELETE FROM apikeys_data.key WHERE name = 'limited'});
unlike(problems(), qr/limited/, '... that of a key that is gone may be anything');
$node->safe_psql('postgres', q{
	INSERT INTO apikeys_data.key SELECT * FROM kept;
	UPDATE apikeys_data.window_state s SET windows = r.windows FROM rows r WHERE r.owner_id = s.owner_id});
is_sound($node, 'postgres', 'and as they were');

# What changes while the check waits for a row is no fault: windows that are counted, or
# are stored anew, an entry that goes, a reservation that is made.
my $locker = $node->background_psql('postgres');
my $checker = $node->background_psql('postgres');

sub found_after
{
	my @changes = @_;

	# Changed as it is, it is not compared, and only one key's row is read.
	$node->safe_psql('postgres', q{SELECT apikey_flush(); SELECT apikey_verify('key-key')});
	$locker->query_safe('BEGIN; LOCK TABLE apikeys_data.window_state');
	return answer_after($node, $checker, 'SELECT * FROM apikeys_data.shared_memory_problems()', sub {
		$_->[0]->query_safe($_->[1]) foreach @changes, [ $locker, 'COMMIT' ];
	});
}

my $other = $node->background_psql('postgres');
$node->safe_psql('postgres', q{
	UPDATE apikeys_data.key SET budget_id = NULL WHERE name = 'limited';
	UPDATE kept SET budget_id = NULL;
	SELECT apikey_budget_delete(id) FROM apikeys_data.budget WHERE name = 'limits'});
is(found_after([ $other, q{SELECT apikey_verify('limited-key')} ], [ $locker, 'UPDATE apikeys_data.window_state SET windows[5] = 50 WHERE owner_id = ' . id_of('limited') ]),
	'', 'a key is used while its row is read');
is(found_after([ $other, q{SELECT apikey_verify('limited-key')} ], [ $locker, 'SELECT apikey_flush()' ]),
	'', '... and stored');
is(found_after([ $other, q{CREATE TEMP TABLE held AS SELECT * FROM apikey_verify('key-key', reserve => true)} ]),
	'', 'a reservation is made meanwhile');
$other->query_safe('SELECT apikey_release(reservation) FROM held');
is(found_after([ $other, q{DELETE FROM apikeys_data.key WHERE name = 'limited'} ], [ $locker, 'SELECT apikey_flush()' ]),
	'', 'a key is gone while its row is read');
$_->quit foreach $locker, $checker, $other;
$node->safe_psql('postgres', 'INSERT INTO apikeys_data.key SELECT * FROM kept; DROP TABLE kept, rows');
is_sound($node, 'postgres', 'put back');

# Keys and budgets of shared memory that somebody has deleted by hand
add_keys($node, 'postgres', 'by hand', 'by apikey_delete');
$node->safe_psql('postgres', q{SELECT apikey_budget_create('spent by hand')});
verify($node, 'postgres', $_) foreach 'by hand', 'by apikey_delete';
$node->safe_psql('postgres', q{
	SELECT apikey_verify('by hand-key', reserve => true, budget_id => id) FROM apikeys_data.budget WHERE name = 'spent by hand';
	SELECT apikey_flush()});
$node->safe_psql('postgres', 'SELECT apikey_delete(' . id_of('by apikey_delete') . ')');
is_sound($node, 'postgres', 'a deleted key');
$node->safe_psql('postgres', q{
	CREATE TABLE kept AS SELECT * FROM apikeys_data.key WHERE name = 'by hand';
	DELETE FROM apikeys_data.key WHERE name = 'by hand'});
like(problems(), qr/^warning\|shared memory of \S+\|is there, but neither a key nor a budget, nor an event of its deletion$/m, 'a key that was deleted by hand');
$node->safe_psql('postgres', q{INSERT INTO apikeys_data.key SELECT * FROM kept; DROP TABLE kept});
is_sound($node, 'postgres', 'and put back');
$node->safe_psql('postgres', q{
	CREATE TABLE kept AS SELECT * FROM apikeys_data.budget WHERE name = 'spent by hand';
	DELETE FROM apikeys_data.budget WHERE name = 'spent by hand'});
like(problems(), qr/^warning\|shared memory of \S+\|is there, but neither/m, 'a budget that was deleted by hand');
$node->safe_psql('postgres', q{INSERT INTO apikeys_data.budget SELECT * FROM kept});

# A use waits for a key that never was: the next flush may remove it, unless there
# is none for hours.
$node->safe_psql('postgres', q{
	BEGIN;
	SELECT apikey_import(digest('rolled back-key', 'sha256'), 'rolled back', 'x');
	SELECT apikey_verify('rolled back-key');
	ROLLBACK});
is_sound($node, 'postgres', 'a key that was rolled back');
SKIP:
{
	skip 'libfaketime is not installed', 2 unless has_clock();
	set_clock($node, 3 * 3600);
	like(problems(), qr/^warning\|shared memory of \S+\|is there, but neither a key nor a budget, nor an event of its deletion$/, '... hours ago');
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	is_sound($node, 'postgres', '... a flush removes it');
	set_clock($node, 0);
}

# ------------------------------------------------------------- beside others

# A key that others cannot see yet, but that is used; and one that is newer than
# the snapshot.
my $maker = $node->background_psql('postgres');
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
add_keys($node, 'postgres', 'newer');
verify($node, 'postgres', 'newer');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($reader->query_safe('SELECT * FROM apikeys.check()'), '', 'a used key that is newer than the snapshot');
$maker->query_safe("CREATE TEMP TABLE gone AS SELECT * FROM apikeys_data.key WHERE name = 'newer'; DELETE FROM apikeys_data.key WHERE name = 'newer'");
is($reader->query_safe('SELECT * FROM apikeys.check()'), '', '... and is gone already');
$maker->query_safe('INSERT INTO apikeys_data.key SELECT * FROM gone');
$reader->query_safe('COMMIT');
$maker->query_safe(q{BEGIN; SELECT apikey_import(digest('open-key', 'sha256'), 'open', 'x', rate_limits => '{"requests_per_day": 9}'); SELECT apikey_verify('open-key'); SELECT apikey_flush()});
is_sound($node, 'postgres', 'a used key that is not committed');
$maker->query_safe('COMMIT');

# It takes no lock but ACCESS SHARE and no transaction id, and waits for no row.
$maker->query_safe('BEGIN; SELECT FROM apikeys_data.key FOR UPDATE; SELECT FROM apikeys_data.budget FOR UPDATE; SELECT FROM apikeys_data.usage FOR UPDATE');
is($reader->query_safe(q{
	SET lock_timeout = '10s';
	BEGIN READ ONLY;
	SELECT * FROM apikeys.check();
	SELECT string_agg(DISTINCT mode, ', ') FROM pg_locks WHERE pid = pg_backend_pid() AND locktype NOT IN ('virtualxid');
	SELECT pg_current_xact_id_if_assigned() IS NULL;
	COMMIT}), "AccessShareLock\nt", 'its locks are ACCESS SHARE');
$maker->query_safe('ROLLBACK');
$_->quit foreach $maker, $reader;

# Load: whatever is half done, it sees a whole.
my $load = start_load($node, 'postgres', q{
	\set which random(1, 3)
	SELECT id, raw_key FROM apikey_generate('load', rate_limits => '{"tokens_per_day": 1000}', budget_id => (SELECT id FROM apikeys_data.budget WHERE name = 'budget'), expires_at => now() + interval '1 day') \gset
	SELECT reservation FROM apikey_verify(':raw_key', reserve => true, tokens => 5, cost => 0.001) \gset
	SELECT apikey_record_usage(':id', 3, 0.001, ':reservation', ':id');
	SELECT apikey_void_usage(':id', ':id');
	SELECT id AS new, raw_key FROM apikey_rotate(':id') \gset
	SELECT code FROM apikey_verify(':raw_key');
	SELECT apikey_flush();
	\if :which = 1
	SELECT apikey_delete(':new');
	\elif :which = 2
	SELECT apikey_revoke(':new');
	\endif
}, '--client', 4, '--transactions', 30);
my ($rounds, $bad) = (0, '');
while ($bad eq '' && $load->{run}->pumpable)
{
	$load->{run}->pump_nb;
	$bad = problems();
	$rounds++;
}
ok(end_load($load), 'load: the clients are through') or diag $load->{err};
is($bad, '', "load: sound at any time, $rounds times");

# Cancelled, it ends.  A timer must not end while libfaketime sets the clock.
$node->restart;
$node->safe_psql('postgres', q{
	INSERT INTO apikeys_data.usage_day (key_id, day, model) SELECT id, '2001-01-01'::date + d, 'x' FROM apikeys_data.key, generate_series(1, 3000) d WHERE name = 'key'});
within_5_seconds('it heeds cancel', sub {
	my ($ret, $out, $err) = $node->psql('postgres', "SET statement_timeout = '10ms'; SELECT FROM apikeys.check()");
	return $err =~ /canceling statement due to statement timeout/;
});
$node->safe_psql('postgres', q{DELETE FROM apikeys_data.usage_day WHERE model = 'x'});

# ----------------------------------------------------- standbys and restarts

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
is_sound($standby, 'postgres', 'a standby');
verify($standby, 'postgres', $_) foreach 'key', 'newer';
$node->safe_psql('postgres', 'SELECT apikey_delete(' . id_of('newer') . ')');
$node->wait_for_catchup($standby);
is_sound($standby, 'postgres', 'a key that it has used is deleted');
$standby->promote;
is_sound($standby, 'postgres', 'promoted');
$standby->stop;

verify($node, 'postgres', 'key');
$node->restart;
is_sound($node, 'postgres', 'a restart');
verify($node, 'postgres', 'key');
$node->stop('immediate');
$node->start;
is_sound($node, 'postgres', 'a crash');

# What is seen from another database
$node->safe_psql('postgres', 'CREATE DATABASE other');
add_extension($node, 'other');
add_keys($node, 'other', 'key');
verify($node, 'other', 'key');
$node->safe_psql('postgres', "SELECT test_damage($size, 'pinned', '$key', 1)") if verify($node, 'postgres', 'key');
like($node->safe_psql('other', 'SELECT * FROM apikeys.check()'), qr/^error\|shared memory of $key in database \d+\|whether it is kept from eviction is 1, not 0$/,
	'another database is named');

$node->stop;
done_testing();
