
# Whoever changes a key and gets an answer can rely on it: a crash right after
# does not undo the change, even with synchronous_commit = off.
#
# In each round the change is the last thing before the crash, and the WAL
# writer is held, so that nobody else brings the change to disk by chance.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest qw(is_sound);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\ncheckpoint_timeout = 1h");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION pgcrypto;
	CREATE EXTENSION apikeys;
	CREATE TABLE control (name text)});

# Runs a statement in a session of its own, crashes, and starts again.
# Returns what the statement gave.
sub crash_after
{
	my ($statement) = @_;
	my $wal_writer = q{FROM pg_stat_activity WHERE backend_type = 'walwriter'};
	my ($pid, $answer);

	$node->poll_query_until('postgres', "SELECT count(*) = 1 $wal_writer")
	  or die 'there is no WAL writer';
	$pid = $node->safe_psql('postgres', "SELECT pid $wal_writer");

	kill 'STOP', $pid;
	$answer = $node->safe_psql('postgres', "SET synchronous_commit = off; $statement");
	kill 'KILL', $pid;

	# The server goes down by itself, perhaps before it is told to.
	$node->stop('immediate', fail_ok => 1);
	$node->start;
	return $answer;
}

sub verify
{
	my ($raw_key) = @_;

	return $node->safe_psql('postgres',
		"SELECT code, name FROM apikey_verify('$raw_key')");
}

sub count_events
{
	my ($action) = @_;

	return $node->safe_psql('postgres',
		"SELECT count(*) FROM apikeys_data.event WHERE action = '$action'");
}

# What is lost without further ado
crash_after(q{INSERT INTO control VALUES ('lost')});
is($node->safe_psql('postgres', 'SELECT count(*) FROM control'),
	0, 'control: an asynchronous commit is lost');

my $key = q{(SELECT id FROM apikeys_data.key WHERE name = 'key')};
my $raw_key = crash_after(q{SELECT raw_key FROM apikey_generate('key')});
is(verify($raw_key), 'VALID|key', 'generate');
is(count_events('generate'), 1, 'generate: its event');

crash_after(q{SELECT apikey_import(digest('made elsewhere', 'sha256'), 'imported', 'made...here')});
is(verify('made elsewhere'), 'VALID|imported', 'import');
is(count_events('import'), 1, 'import: its event');

crash_after(qq{SELECT apikey_update($key, '{"enabled": false}')});
is(verify($raw_key), 'DISABLED|key', 'update');
is(count_events('update'), 1, 'update: its event');

my $successor = crash_after(qq{SELECT raw_key FROM apikey_rotate($key)});
is(verify($raw_key), 'REVOKED|key', 'rotate: the old key');
is(verify($successor), 'DISABLED|key (rotated)', 'rotate: the new key');
is(count_events('rotate'), 1, 'rotate: its event');

crash_after(q{SELECT apikey_revoke(id) FROM apikeys_data.key WHERE name = 'imported'});
is(verify('made elsewhere'), 'REVOKED|imported', 'revoke');
is(count_events('revoke'), 1, 'revoke: its event');

crash_after(qq{SELECT apikey_delete($key)});
is(verify($raw_key), 'NOT_FOUND|', 'delete');
is(count_events('delete'), 1, 'delete: its event');

crash_after(q{SELECT apikey_budget_create('pool', 2)});
is($node->safe_psql('postgres', 'SELECT name, max_cost FROM apikeys.budget_info'),
	'pool|2', 'budget_create');
crash_after(q{SELECT apikey_budget_update(id, '{"max_cost": 1}') FROM apikeys_data.budget});
is($node->safe_psql('postgres', 'SELECT max_cost FROM apikeys.budget_info'),
	'1', 'budget_update');
crash_after(q{SELECT apikey_record_usage(apikey_import(sha256('spender'), 'spender', '...', budget_id => id), cost => 1) FROM apikeys_data.budget});
is($node->safe_psql('postgres', q{SELECT code FROM apikey_verify('spender')}),
	'BUDGET_EXCEEDED', 'record_usage');

crash_after(q{SELECT apikey_plan_set('p', '{"is_admin": true}')});
is($node->safe_psql('postgres', q{SELECT permissions FROM apikeys.plan_info WHERE name = 'p'}),
	'{"is_admin": true}', 'plan_set, of a new plan');
crash_after(q{SELECT apikey_plan_set('p', '{"is_admin": false}')});
is($node->safe_psql('postgres', q{SELECT permissions FROM apikeys.plan_info WHERE name = 'p'}),
	'{"is_admin": false}', 'plan_set');
crash_after(q{SELECT apikey_plan_delete('p')});
is($node->safe_psql('postgres', q{SELECT count(*) FROM apikeys.plan_info WHERE name = 'p'}),
	'0', 'plan_delete');

# A change among others in one transaction
crash_after(q{
	BEGIN;
	INSERT INTO control VALUES ('taken along');
	SAVEPOINT here;
	SELECT apikey_delete(id) FROM apikeys_data.key WHERE name = 'imported';
	RELEASE here;
	INSERT INTO control VALUES ('taken along');
	COMMIT});
is(verify('made elsewhere'), 'NOT_FOUND|', 'delete in a subtransaction');
is($node->safe_psql('postgres', 'SELECT count(*) FROM control'),
	2, 'and what the transaction has done besides');

is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
