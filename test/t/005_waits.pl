
# Who has to wait for a lock that somebody has left behind is told who that is,
# after deadlock_timeout, and gets the lock when it is free.  A verify leaves
# none behind.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', 'max_prepared_transactions = 2');
my $rename = q{SELECT apikey_update(id, '{"name": "left"}') FROM apikeys_data.key WHERE name = '%s'};
my @names = map "key$_", 1 .. 11;
add_keys($node, 'postgres', @names);
my $budget = $node->safe_psql('postgres', q{SELECT apikey_budget_create('pool', 10)});
my $holder = $node->background_psql('postgres');
my $pid = $holder->query_safe('SELECT pg_backend_pid()');

# What the waiting one is told, from its first word on
sub starts_to_wait
{
	my ($sql) = @_;
	my %waiter = (out => '', err => '');

	$waiter{run} = IPC::Run::start(
		[
			$node->installed_command('psql'), '-XAtq', '--host', $node->host, '--port', $node->port,
			'-c', "SET deadlock_timeout = '10ms'", '-c', $sql, '-c', 'SHOW lock_timeout', 'postgres'
		],
		'<', \undef, '>', \$waiter{out}, '2>', \$waiter{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$waiter{run}->pump until $waiter{err} =~ /HINT: .*\n/ || !$waiter{run}->pumpable;
	return \%waiter;
}

sub waits_for
{
	my ($name, $sql, $what, $hint, $end) = @_;
	my $waiter = starts_to_wait($sql);

	like($waiter->{err}, qr/^WARNING:  waiting for a lock on $what\nHINT:  $hint/, "$name: told");
	$end->();
	ok($waiter->{run}->finish, "$name: done") or diag $waiter->{err};
	like($waiter->{out}, qr/^0$/m, "$name: lock_timeout is as it was");
}

sub open_transaction
{
	my @sql = @_;

	$holder->query_safe('BEGIN');
	$holder->query_safe($_) foreach @sql;
}

my $rollback = sub { $holder->query_safe('ROLLBACK') };
my $process = "Process $pid holds it";
my %change = (
	revoke => 'SELECT apikey_revoke(%s)',
	rotate => 'SELECT id FROM apikey_rotate(%s)',
	delete => 'SELECT apikey_delete(%s)',
	update => q{SELECT name FROM apikey_update(%s, '{"enabled": false}')});

foreach my $what (sort keys %change)
{
	my $name = shift @names;

	open_transaction(sprintf $rename, $name);
	waits_for($what, sprintf($change{$what}, id_of($name)), 'this API key', $process, $rollback);
}

# Locked in a savepoint, and twice, which makes a multixact
open_transaction('SAVEPOINT a', sprintf($rename, $names[0]));
waits_for('savepoint', sprintf($change{revoke}, id_of($names[0])), 'this API key', $process, $rollback);
open_transaction(
	"SELECT FROM apikeys_data.key WHERE name = '$names[1]' FOR KEY SHARE",
	'SAVEPOINT a', sprintf($rename, $names[1]));
waits_for('multixact', sprintf($change{revoke}, id_of($names[1])), 'this API key', $process, $rollback);

# Two sessions have locked it: both are named, and not who waits, though it has locked it, too.
my $second = $node->background_psql('postgres');
my $second_pid = $second->query_safe('SELECT pg_backend_pid()');
my $share = "SELECT FROM apikeys_data.key WHERE name = '$names[5]' FOR SHARE";
open_transaction($share);
$second->query_safe("BEGIN; $share");
waits_for('two', "BEGIN; $share; " . sprintf($change{update}, id_of($names[5])) . '; ROLLBACK', 'this API key',
	qr/Process (?:$pid, $second_pid|$second_pid, $pid) holds it/, sub { $_->query_safe('ROLLBACK') foreach $holder, $second });

# One that has ended meanwhile is not.
open_transaction($share);
$second->query_safe("BEGIN; $share; ROLLBACK");
waits_for('one of two', sprintf($change{update}, id_of($names[5])), 'this API key', $process, $rollback);
$second->quit;

# A prepared transaction
$node->safe_psql('postgres', 'BEGIN; ' . sprintf($rename, $names[2]) . "; PREPARE TRANSACTION 'left'");
waits_for('prepared', sprintf($change{revoke}, id_of($names[2])), 'this API key',
	'A prepared transaction holds it',
	sub { $node->safe_psql('postgres', q{ROLLBACK PREPARED 'left'}) });

# A verify leaves no lock behind, so it is in nobody's way when it is left.
$node->safe_psql('postgres', "UPDATE apikeys_data.key SET plan = 'full_access' WHERE name = '$names[4]'");
foreach my $text ("$names[4]-key", 'nonsense')
{
	$node->safe_psql('postgres', qq{
		BEGIN;
		SET LOCAL apikeys.cache = off;
		SELECT * FROM apikey_verify('$text');
		PREPARE TRANSACTION 'left'});
	my ($ret) = $node->psql('postgres', q{
		BEGIN;
		LOCK TABLE apikeys_data.key, apikeys_data.plan, apikeys_data.budget IN ACCESS EXCLUSIVE MODE NOWAIT;
		COMMIT});
	is($ret, 0, "a prepared verify holds no lock: $text");
	$node->safe_psql('postgres', q{COMMIT PREPARED 'left'});
}

# Budgets
open_transaction(qq{SELECT apikey_budget_update('$budget', '{"name": "sea"}')});
waits_for('budget', qq{SELECT name FROM apikey_budget_update('$budget', '{"max_cost": 5}')},
	'this budget', $process, $rollback);
open_transaction("SELECT apikey_budget_delete('$budget')");
waits_for('budget of a new key', "SELECT id FROM apikey_generate('new', budget_id => '$budget')",
	'this budget', $process, $rollback);

my $pond = "SELECT apikey_budget_create('pond', 1, parent_id => '$budget')";
$node->safe_psql('postgres', "BEGIN; $pond; PREPARE TRANSACTION 'left'");
waits_for('tree of budgets, prepared', $pond, 'the tree of budgets', 'A prepared transaction holds it',
	sub { $node->safe_psql('postgres', q{ROLLBACK PREPARED 'left'}) });

# Plans
open_transaction(q{SELECT apikey_plan_set('standard')});
waits_for('plan', q{SELECT apikey_plan_set('standard', '{"max_tokens_per_request": 1}')},
	'this plan', $process, $rollback);
open_transaction(q{SELECT apikey_plan_delete('standard')});
waits_for('plan of a new key', q{SELECT id FROM apikey_generate('new', plan => 'standard')},
	'this plan', $process, $rollback);

# A flush
open_transaction('SELECT apikey_flush()');
waits_for('flush', 'SELECT apikey_flush() >= 0', 'the flush of this database', $process, $rollback);

# A transaction that waits goes on with what it has done before; a deadlock is
# still found.
open_transaction(sprintf($rename, $names[3]));
my $waiter = starts_to_wait("BEGIN; SELECT id FROM apikey_generate('before');"
	  . sprintf($change{revoke}, id_of($names[3])) . '; COMMIT');
$rollback->();
$waiter->{run}->finish;
is($node->safe_psql('postgres', q{SELECT count(*) FROM apikeys_data.key WHERE name = 'before'}),
	1, 'what was done before the wait stays');
is(verify($node, 'postgres', $names[3]), 'REVOKED', 'and so does the change');

# Who has locked a row of another access method cannot be told.
$node->safe_psql('postgres', q{
	CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
	ALTER TABLE apikeys_data.key SET ACCESS METHOD heap2});
open_transaction(sprintf $rename, $names[6]);
$second = $node->background_psql('postgres');
$second->query_safe(q{SET deadlock_timeout = '10ms'});
$second->query_until(qr/go/, "\\echo go\n" . sprintf($change{update}, id_of($names[6])) . ";\n");
wait_for($node, 'postgres', q{
	SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'transactionid' AND query_start < clock_timestamp() - interval '1 s'},
	'another access method: waits');
$rollback->();
is($second->query_safe(''), $names[6], '... without a warning');
$second->quit;

$holder->quit;
$node->stop;
done_testing();
