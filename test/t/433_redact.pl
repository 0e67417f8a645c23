
# The log and pg_stat_activity show no key, wherever a process stands when it
# says something: running, refused, killed, out of memory, in a critical
# section, on its way out.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use LeakTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $module = build_module('redact') . '/redact_test';
my $node = new_node(
	'main',
	"shared_preload_libraries = '$module, apikeys'",
	'restart_after_crash = on',
	'log_min_error_statement = warning',
	'track_activity_query_size = 200');
$node->start;
add_extension($node, 'postgres');
$node->safe_psql(
	'postgres', qq{
	CREATE FUNCTION test_report(int, text, boolean) RETURNS void LANGUAGE C AS '$module';
	CREATE FUNCTION test_report_at_exit(text) RETURNS void LANGUAGE C AS '$module';
	CREATE FUNCTION test_report_without_memory(int, text) RETURNS void LANGUAGE C AS '$module';
	CREATE FUNCTION wait_here() RETURNS void LANGUAGE plpgsql PARALLEL SAFE AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); END';
	CREATE PROCEDURE wait_call(text) LANGUAGE sql AS 'SELECT pg_advisory_xact_lock_shared(1)';
	CREATE TABLE one AS SELECT 1 AS i});

my $key = $node->safe_psql('postgres', q{SELECT raw_key FROM apikey_generate('test')});
my $masked = $key =~ s/^(gw-.).{27}/$1 . '*' x 27/er;
add_secret($key);

# The levels of elog.h.
my ($log, $warning, $fatal, $panic) = (15, 19, 22, 23);

# What is new in the log since the last call.
my $offset = 0;
my $new;

sub new_log
{
	my $new = slurp_file($node->logfile, $offset);

	$offset += length $new;
	return $new;
}

sub no_key
{
	my ($text, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(key_count($text), 0, "$name: no key") or diag substr $text, 0, 2000;
}

# The new lines of the log: no key, and what is expected of them, for which it
# waits: a session that ends may still be writing.
sub log_has
{
	my ($name, @patterns) = @_;
	my $text = '';

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eval {
		wait_until(
			"log of $name",
			sub {
				$text .= new_log();
				return !grep { $text !~ $_ } @patterns;
			});
	};
	no_key($text, $name);
	ok($text =~ $_, "$name: the log has " . $_ =~ s/\\//gr) || diag substr $text, 0, 2000 foreach @patterns;
	return $text;
}

# What pg_stat_activity shows of all sessions that wait_here, and of the last
# statement of those that are idle.
my $others = q{pid <> pg_backend_pid() AND backend_type IN ('client backend', 'parallel worker')};

sub activity
{
	return $node->safe_psql('postgres',
		"SELECT query FROM pg_stat_activity WHERE $others AND query <> '' AND application_name <> 'guard'");
}

sub crash_is_over
{
	wait_until('the server is back', sub { $node->psql('postgres', 'SELECT 1') == 0 });
}

# A session that holds the lock for which others wait.
my $guard;

sub close_gate
{
	local $ENV{PGAPPNAME} = 'guard';

	$guard = $node->background_psql('postgres');
	$guard->query_safe('SELECT pg_advisory_lock(1)');
}

sub start_waiting
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_until(qr/started/, "\\echo started\n$sql;\n");
	waits();
	return $session;
}

sub waits
{
	die 'nobody waits' unless $node->poll_query_until('postgres',
		"SELECT count(*) > 0 FROM pg_stat_activity WHERE $others AND wait_event = 'advisory'");
}

sub open_gate
{
	$guard->query_safe('SELECT pg_advisory_unlock(1)');
	$guard->quit;
}

# pg_stat_activity while a call runs.
foreach my $case (
	[ 'a function', "SELECT code, wait_here() FROM apikey_verify('$key')" ],
	[ 'a list of statements', "SELECT 1\\; SELECT wait_here()\\; SELECT code FROM apikey_verify('$key')" ],
	[ 'a procedure', "CALL wait_call('$key')" ],
	[ 'a prepared statement', "PREPARE p(text) AS SELECT code, wait_here() FROM apikey_verify(\$1)\\; EXECUTE p('$key')" ],
	[ 'a DO block', "DO \$\$BEGIN PERFORM wait_here(), '$key'; END\$\$" ],
	[ 'a key twice', "SELECT '$key', 'x${key}y', wait_here()" ],
	[ 'a key at the edge', "SELECT wait_here(), '" . ' ' x 160 . "$key'", qr/gw-.\*{4,}$/ ],
	[ 'a key beyond the edge', "SELECT wait_here(), '" . ' ' x 190 . "$key'", qr/ $/ ])
{
	my ($name, $sql, $shown) = @$case;

	close_gate();
	my $session = start_waiting($sql);
	my $activity = activity();
	no_key($activity, $name);
	unlike($activity, qr/\Q@{[ substr $key, 4, 4 ]}\E/, "$name: not even a part of it");
	like($activity, $shown // qr/\Q$masked\E/, "$name: masked while it runs");
	open_gate();
	$session->quit;
}

# The extended protocol reports the text anew when it executes.
foreach my $sql ("SELECT wait_here(), '$key'", "CALL wait_call('$key')", "INSERT INTO one SELECT 1 FROM (SELECT wait_here(), '$key') s")
{
	foreach my $mode ('extended', 'prepared')
	{
		close_gate();
		my $load = start_load($node, 'postgres', "$sql;\n", '-M', $mode, '-t', 2);
		waits();
		my $activity = activity();
		no_key($activity, "$mode: $masked");
		like($activity, qr/\Q$masked\E/, "$mode: masked while it runs");
		open_gate();
		ok(end_load($load), 'it ran');
	}
}

# Parallel workers.
close_gate();
my $forced = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
my $session = start_waiting("SET $forced = on\\; SELECT wait_here(), '$key' FROM one");
is( $node->safe_psql('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND wait_event = 'advisory'}),
	't', 'a parallel worker waits');
no_key(activity(), 'parallel workers');
like(activity(), qr/\Q$masked\E.*\Q$masked\E/s, 'leader and worker show it masked');
open_gate();
$session->quit;

# A statement that waits for a table is not analyzed yet: what doc/security.md
# says of it.
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE one');
foreach my $case (
	[ 'not analyzed yet', "SELECT code FROM apikey_login('$key'), one", qr/apikey_login\('\Q$key\E'\)/ ],
	[ 'reported by log_lock_waits', "SET log_lock_waits = on; SET deadlock_timeout = '1ms'; SELECT code FROM apikey_login('$key'), one", qr/apikey_login\('\Q$masked\E'\)/ ],
	[ 'a parameter', "PREPARE login(text) AS SELECT code FROM apikey_login(\$1); EXECUTE login('$key'); SELECT i FROM one", qr/^SELECT i FROM one;?$/ ],
	[ 'a statement of its own', "BEGIN; SELECT code FROM apikey_login('$key'); SELECT i FROM one; COMMIT", qr/^SELECT i FROM one;?$/ ])
{
	my ($name, $sql, $shown) = @$case;
	my $waiter = $node->background_psql('postgres', on_error_stop => 0);

	$waiter->query_until(qr/started/, "\\echo started\n$sql;\n");
	my $waiting = "FROM pg_stat_activity WHERE $others AND wait_event_type = 'Lock'";
	wait_until($name, sub { $node->safe_psql('postgres', "SELECT query $waiting") =~ $shown });
	pass("waits for a table, $name");
	no_key($node->safe_psql('postgres', "SELECT query $waiting"), "waits for a table, $name") unless $name eq 'not analyzed yet';
	$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $waiting");
	$waiter->quit;
}
$locker->query_safe('COMMIT');
$locker->quit;
log_has('a wait', qr/still waiting for AccessShareLock/, qr/STATEMENT:  SELECT code FROM apikey_login\('\Q$masked\E'\), one/);

# A syntax error, after which the session is idle.
new_log();
$session = $node->background_psql('postgres', on_error_stop => 0);
$session->query("SELECT '$key' FROM FROM");
like(activity(), qr/^SELECT '\Q$masked\E' FROM FROM/, 'masked in an idle session after a syntax error');
$session->quit;
log_has('syntax error', qr/ERROR:  syntax error at or near "FROM" at character 51\n/, qr/STATEMENT:  SELECT '\Q$masked\E' FROM FROM/);

# The client is told the same as the log.
my ($stdout, $stderr);
$node->psql('postgres', "SELECT '$key'::int", stderr => \$stderr);
no_key($stderr =~ s/^LINE 1: .*//mr, 'what the client is told of an error');
$node->psql('postgres', "SELECT '$key'", stdout => \$stdout);
is($stdout, $key, 'a result is no message');
log_has('cast', qr/invalid input syntax for type integer: "\Q$masked\E"/);

# current_query() takes part where the statement has been logged.
is( $node->safe_psql('postgres', "SET log_min_duration_statement = 0; DO \$\$BEGIN RAISE WARNING '$key'; END\$\$; SELECT 1"),
	1, 'statements with a key go on after a message');
log_has('a list of statements', qr/WARNING:  \Q$masked\E/);

# Where the end of a key is the beginning of another one, nothing of either is logged.
$node->psql('postgres', q{SELECT 1/0, '(gw-redact00overlap0test0key001Y42MNRedact0overlap0test0key00026Vp9o)'});
log_has('overlapping keys', qr/ERROR:  division by zero/, qr/STATEMENT:  SELECT 1\/0, '\(\*{67}\)'/);

# A parallel worker that says something twice has no copy of the statement, and knows
# the key anew each time.
$node->safe_psql('postgres', qq{
	CREATE FUNCTION warn_twice() RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
		'BEGIN RAISE WARNING ''one''; RAISE WARNING ''two''; RETURN 1; END';
	SET $forced = on;
	SELECT warn_twice(), '$key' FROM one});
log_has('two messages of a parallel worker', qr/WARNING:  one/, qr/WARNING:  two\n.*CONTEXT:  PL\/pgSQL.*\n.*parallel worker/);

# Every field of a message.
$node->safe_psql('postgres', "SELECT test_report($log, '$key', false)");
log_has('fields', qr/LOG:  report: \Q$masked\E/, map qr/$_:  \Q$masked\E/, 'DETAIL', 'HINT', 'CONTEXT');

# A query of a function that is cut: where it says that the error is, there is no text.
$node->psql('postgres', qq{DO \$\$BEGIN EXECUTE '/* $key ' || repeat(' ', 1200000) || '*/ SELECT FROM nowhere'; END\$\$});
log_has('a long query of a function', qr/ERROR:  relation "nowhere" does not exist\n/, qr{QUERY:  /\* \Q$masked\E +\.\.\. \(cut\)\n});

# A deep context, each level with the key.
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION deep(n int, key text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF n = 0 THEN RAISE EXCEPTION '%', key; END IF;
		EXECUTE format('SELECT deep(%s, %L)', n - 1, key);
	END $$});
$node->psql('postgres', "SET max_stack_depth = '2MB'; SELECT deep(60, '$key')");
$new = log_has('deep context', qr/ERROR:  \Q$masked\E/);
is(scalar(() = $new =~ /SQL statement "SELECT deep\(\d+, '\Q$masked\E'\)"/g), 60, 'deep context: all of it');
$node->psql('postgres', "SET max_stack_depth = '100kB'; SELECT deep(100000, '$key')");
log_has('no stack', qr/ERROR:  stack depth limit exceeded/);

# A hook to which ours passes on, and which reports something itself.
$node->safe_psql('postgres', "SELECT test_report_at_exit('$key'); SET test.talk = on; SELECT test_report($warning, '$key', false)");
log_has('nested reports',
	qr/LOG:  shown: report: \Q$masked\E\n.*DETAIL:  \Q$masked\E/,
	qr/WARNING:  report: \Q$masked\E/,
	# before and after the shared memory has gone
	qr/(?:LOG:  at exit: \Q$masked\E.*){2}/s);

# Ends of a session.
close_gate();
$session = start_waiting("SELECT wait_here(), '$key'");
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 180000) FROM pg_stat_activity WHERE wait_event = 'advisory'");
$session->{run}->kill_kill;
open_gate();
log_has('terminated', qr/FATAL:  terminating connection.*\n(?:.*\n)*?.*STATEMENT:  SELECT wait_here\(\), '\Q$masked\E'/);
$node->psql('postgres', "SELECT test_report($fatal, '$key', false)");
log_has('FATAL', qr/FATAL:  report: \Q$masked\E/, qr/STATEMENT:  SELECT test_report\(\d+, '\Q$masked\E'/);

# Out of memory: 30 MB of text, and no room to copy it.
my $long = "SELECT test_report_without_memory(%d, '$key'), '" . 'many words ' x 3_000_000 . "' IS NULL";
my $file = $node->basedir . '/long.sql';

sub run_file
{
	my ($sql) = @_;

	open my $handle, '>', $file or die "$file: $!";
	print $handle $sql, ';';
	close $handle;
	$node->command_ok([ 'psql', '--no-psqlrc', '--quiet', '--tuples-only', '--output', '/dev/null', '--file', $file, 'postgres' ], 'a long statement runs');
}

run_file(sprintf $long, 2);
$new = log_has('no memory', qr/WARNING:  report: \Q$masked\E/);
unlike($new, qr/STATEMENT:|out of memory/, 'no memory: the statement is left out');
run_file(sprintf $long, 1000);
$new = log_has('enough memory', qr/WARNING:  report: \Q$masked\E/);
like($new, qr/STATEMENT:  SELECT test_report_without_memory\(1000, '\Q$masked\E'\), '(?:many words ){20}/, 'enough memory: the statement is there');

# 50 MB, of words, of letters without a break, of keys and of euro signs, each
# of three bytes: of both the statement and the message the first megabyte is
# logged, whatever stands where it is cut.
foreach my $text ('many words ', 'Letters0', "$key ", "\xe2\x82\xac")
{
	my $times = int(50 * 1024 * 1024 / length $text);
	my $shown = $text eq "$key " ? "$masked " : $text;
	my $part = substr $shown, 0, 20;

	run_file("SET log_statement = 'all'; SELECT '$key', '" . $text x $times . "$key' IS NULL");
	$new = log_has("50 MB of $part", qr/LOG:  statement: SELECT '\Q$masked\E', '\Q$shown\E/, qr/\.\.\. \(cut\)$/m);
	cmp_ok(length $new, '>', 1024 * 1024, '... the first of it');
	cmp_ok(length $new, '<', 1024 * 1024 + 1000, '... and no more');
	ok(utf8::decode(my $copy = $new), '... cut between characters');

	run_file(qq{DO \$\$BEGIN RAISE WARNING '%', repeat('$text', $times); END\$\$; -- '} . $text x $times);
	$new = log_has("a message of 50 MB of $part", qr/WARNING:  \Q$shown\E/, qr/\.\.\. \(cut\)$/m);
	cmp_ok(length $new, '<', 2 * 1024 * 1024 + 2000, '... and no more');
}

# The postmaster's word on a session that was killed.
close_gate();
$session = start_waiting("SELECT wait_here(), '$key'");
my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory'");
kill 'KILL', $pid;
$_->{run}->kill_kill foreach $session, $guard;
crash_is_over();
log_has('killed', qr/DETAIL:  Failed process was running: SELECT wait_here\(\), '\Q$masked\E'/);

# PANIC, by itself and in a critical section.
foreach my $case ([ 'PANIC', $panic, 'false' ], [ 'critical section', $warning + 2, 'true' ])
{
	my ($name, $level, $critical) = @$case;

	$node->psql('postgres', "SELECT test_report($level, '$key', $critical)");
	crash_is_over();
	$new = log_has($name, qr/PANIC:  report: \Q$masked\E/, qr/Failed process was running: SELECT test_report\(\d+, '\Q$masked\E'/);
	$critical eq 'true'
	  ? unlike($new, qr/STATEMENT:/, "$name: the statement is left out")
	  : like($new, qr/STATEMENT:  .*\Q$masked\E/, "$name: the statement is there");
}

# No session can turn it off.
$node->safe_psql('postgres', 'CREATE ROLE somebody SUPERUSER LOGIN');
foreach my $sql (
	'SET apikeys.redact_log = off',
	'ALTER ROLE somebody SET apikeys.redact_log = off',
	'ALTER DATABASE postgres SET apikeys.redact_log = off',
	"SELECT set_config('apikeys.redact_log', 'off', true)")
{
	$node->psql('postgres', $sql, stderr => \$stderr);
	like($stderr, qr/parameter "apikeys.redact_log" cannot be changed now/, "refused: $sql");
}
new_log();

# That a text holds no key is said of no other in its place.
my $clean = 'x' x length $key;
is($node->safe_psql('postgres', "PREPARE a AS SELECT '$clean';\nPREPARE a2 AS SELECT '$clean';\nPREPARE b AS SELECT '$key';\nSELECT statement FROM pg_prepared_statements WHERE name = 'b'"),
	"PREPARE b AS SELECT '$masked';", 'a statement after another of the same length');

# A reload can, and on again.
$node->append_conf('postgresql.conf', 'apikeys.redact_log = off');
$node->reload;
wait_for($node, 'postgres', q{SELECT NOT current_setting('apikeys.redact_log')::bool}, 'turned off');
$node->psql('postgres', "SELECT '$key'::int; SELECT 1");
close_gate();
$session = start_waiting("SELECT wait_here(), '$key'");
cmp_ok(key_count(activity()), '>', 0, 'control: pg_stat_activity shows the key');
open_gate();
$session->quit;
cmp_ok(key_count(new_log()), '>', 1, 'control: the log shows the key');
$node->stop;

# Not preloaded: from the first call on, in that session.
$node = new_node('late', q(shared_preload_libraries = ''));
$node->start;
add_extension($node, 'postgres');
$offset = -s $node->logfile;
$node->psql('postgres', "SELECT code FROM apikey_verify('first'); SELECT '$key'::int", on_error_stop => 0);
log_has('not preloaded', qr/invalid input syntax for type integer: "\Q$masked\E"/, qr/STATEMENT:  SELECT '\Q$masked\E'::int/);
$node->psql('postgres', "SELECT '$key'::int");
cmp_ok(key_count(new_log()), '>', 0, 'not preloaded: not before');
$node->stop;

done_testing();
