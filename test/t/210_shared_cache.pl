
# What one session has read of a key, all have, and none has it for longer than
# it is true: least of all a session that is new, which no message has told of
# what was changed before; and whoever reads, and is stopped on the way, does not
# pass on what has changed meanwhile.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use SecretsTest;
use Test::More;
use Time::HiRes qw(usleep);

my $node = start_node('main', 'max_prepared_transactions = 2', "apikeys.flush_interval = '1h'", 'fsync = off');
add_keys($node, 'postgres', 'test', map "other$_", 1 .. 100);
$node->safe_psql('postgres', q{
	CREATE TABLE saved AS SELECT * FROM apikeys_data.key;
	SELECT apikey_plan_set('gold', '{"max_tokens_per_request": 1}');
	SELECT apikey_import(digest('gold-key', 'sha256'), 'gold', 'gold-...', plan => 'gold')});

my $ask = q{
	SELECT concat_ws('/', code, permissions->>'max_tokens_per_request', metadata->>'v')
	FROM apikey_verify('%s-key')};

# What a session says that has just begun, and how it got there.
sub fresh
{
	my ($name, $dbname) = @_;
	my $misses = stats($node, 'cache_misses');
	my $answer = $node->safe_psql($dbname // 'postgres', sprintf $ask, $name);

	return $answer . (stats($node, 'cache_misses') > $misses ? ', read' : ', shared');
}

# ------------------------------------------------------------------- sharing

is(fresh('test'), 'VALID, read', 'the first session reads');
is(fresh('test'), 'VALID, shared', 'the second finds');
is(fresh('nobody'), 'NOT_FOUND, read', 'an unknown key is read');
is(fresh('nobody'), 'NOT_FOUND, read', 'and again');
is(stats($node, 'cache_entries'), 1, 'and takes no place');
is($node->safe_psql('postgres', q{
	SELECT v.valid, count(l) FROM apikey_verify('test-key') v LEFT JOIN pg_locks l
	ON l.relation::regclass::text LIKE 'apikeys_data.%' GROUP BY v.valid}), 't|0', 'who finds opens no table');

# ------------------------------------------------------------ a new session

# The session that has read the key is idle, that which changes it ends: nobody is
# left who could have got a message.
my $idle = $node->background_psql('postgres');
my $restore = q{TRUNCATE apikeys_data.key; INSERT INTO apikeys_data.key SELECT * FROM saved};

sub answers_after
{
	my ($name, $expected, @changes) = @_;

	$node->safe_psql('postgres', $restore);
	$idle->query_safe(sprintf $ask, 'test');
	is(fresh('test'), 'VALID, shared', "$name: before");
	$node->safe_psql('postgres', $_) foreach @changes;
	is(fresh('test'), $expected, "$name: after");
	is(fresh('test'), $expected =~ s/read/shared/r, "$name: and shared again") if $expected !~ /NOT_FOUND/;
}

my $disable = q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'test'};
my $others = q{UPDATE apikeys_data.key SET description = 'changed' WHERE name LIKE 'other%'};

answers_after('a change', 'DISABLED, read', $disable);
answers_after('a revocation', 'REVOKED, read', "SELECT apikey_revoke(${\id_of('test')})");
answers_after('a deletion', 'NOT_FOUND, read', "SELECT apikey_delete(${\id_of('test')})");
answers_after('another hash', 'NOT_FOUND, read', q{UPDATE apikeys_data.key SET key_hash = digest('x', 'sha256') WHERE name = 'test'});
answers_after('TRUNCATE', 'NOT_FOUND, read', 'TRUNCATE apikeys_data.key');
answers_after('many keys', 'DISABLED, read', "BEGIN; $others; $disable; COMMIT");
answers_after('a savepoint', 'DISABLED, read', "BEGIN; SAVEPOINT s; $disable; RELEASE s; COMMIT");
answers_after('many keys in a savepoint that is undone', 'DISABLED, read', "BEGIN; $disable; SAVEPOINT s; $others; ROLLBACK TO s; COMMIT");
answers_after('a savepoint that is undone', 'VALID, shared', "BEGIN; SAVEPOINT s; $disable; ROLLBACK TO s; COMMIT");
answers_after('a rollback', 'VALID, shared', "BEGIN; $disable; ROLLBACK");
answers_after('another key', 'VALID, shared', q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'other1'});
answers_after('a replica', 'DISABLED, read', "SET session_replication_role = replica; $disable");
answers_after('prepared', 'VALID, shared', "BEGIN; $disable; PREPARE TRANSACTION 'p'", "ROLLBACK PREPARED 'p'");
answers_after('committed when prepared', 'DISABLED, read', "BEGIN; $disable; PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'");
answers_after('many, committed when prepared', 'DISABLED, read',
	"BEGIN; $others; $disable; PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'");
answers_after('prepared, of something else', 'VALID, shared',
	"BEGIN; INSERT INTO saved SELECT * FROM saved LIMIT 0; PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'");
answers_after('prepared, of another table', 'VALID, shared',
	"BEGIN; ALTER TABLE saved SET (fillfactor = 90); PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'");

# Nor do triggers tell of these.
answers_after('without triggers', 'DISABLED, read',
	'ALTER TABLE apikeys_data.key DISABLE TRIGGER invalidate_row', $disable,
	'ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_row');
answers_after('without triggers, at once', 'DISABLED, read', qq{
	BEGIN;
	ALTER TABLE apikeys_data.key DISABLE TRIGGER USER;
	$disable;
	ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_row;
	ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_truncate;
	COMMIT});
answers_after('without triggers, prepared', 'DISABLED, read', qq{
	BEGIN;
	ALTER TABLE apikeys_data.key DISABLE TRIGGER USER;
	$disable;
	ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_row;
	ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_truncate;
	PREPARE TRANSACTION 'p'}, "COMMIT PREPARED 'p'");
answers_after('another column', 'VALID, read',
	'ALTER TABLE apikeys_data.key ADD extra int', 'ALTER TABLE apikeys_data.key DROP extra');

# A plan
$node->safe_psql('postgres', q{SELECT apikey_import(digest('gold-key', 'sha256'), 'gold', 'gold-...', plan => 'gold')});
is(fresh('gold'), 'VALID/1, read', 'a plan: before');
is(fresh('gold'), 'VALID/1, shared', 'a plan: shared');
$node->safe_psql('postgres', q{SELECT apikey_plan_set('gold', '{"max_tokens_per_request": 2}')});
is(fresh('gold'), 'VALID/2, read', 'a plan: after');

# The extension
fresh('test');
$node->safe_psql('postgres', 'SET client_min_messages = warning; DROP EXTENSION apikeys');
$node->safe_psql('postgres', q{CREATE EXTENSION apikeys});
is(fresh('test'), 'NOT_FOUND, read', 'the extension is another one');
add_keys($node, 'postgres', 'test');
$node->safe_psql('postgres', 'DROP TABLE saved; CREATE TABLE saved AS SELECT * FROM apikeys_data.key');

# A database that has the oid of another one
$node->safe_psql('postgres', 'CREATE DATABASE twin');
add_extension($node, 'twin');
is(fresh('test', 'twin'), 'NOT_FOUND, read', 'another database has its own keys');
add_keys($node, 'twin', 'test');
is(fresh('test', 'twin'), 'VALID, read', 'another database: read');
is(fresh('test', 'twin'), 'VALID, shared', 'another database: shared');
my $oid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'twin'});
$node->safe_psql('postgres', $_) foreach 'DROP DATABASE twin', "CREATE DATABASE twin OID $oid";
add_extension($node, 'twin');
is(fresh('test', 'twin'), 'NOT_FOUND, read', 'another database with its oid');

# ------------------------------------------------------- what is uncommitted

# A session that has changed keys neither uses what is shared nor adds to it.
$node->safe_psql('postgres', $restore);
is(fresh('test') . '; ' . fresh('test'), 'VALID, read; VALID, shared', 'uncommitted: before');
my $writer = $node->background_psql('postgres');
$writer->query_safe("BEGIN; $disable");
is($writer->query_safe(sprintf $ask, 'test'), 'DISABLED', 'uncommitted: the writer') foreach 1 .. 2;
is(fresh('test'), 'VALID, shared', 'uncommitted: another session');
$writer->query_safe('ROLLBACK');
is($writer->query_safe(sprintf $ask, 'test'), 'VALID', 'uncommitted: undone');
is(fresh('test'), 'VALID, shared', 'uncommitted: undone, another session');
$writer->query_safe(q{BEGIN; SELECT apikey_import(digest('mine-key', 'sha256'), 'mine', 'mine-...')});
is($writer->query_safe(sprintf $ask, 'mine'), 'VALID', 'a key of the writer') foreach 1 .. 2;
is(fresh('mine'), 'NOT_FOUND, read', 'a key of the writer: another session');
$writer->query_safe('ROLLBACK');

# ---------------------------------------------------------- who is stopped

# Stops a reader, by a lock of a table: before it takes the snapshot, by that of
# the keys; after it has read the row, by that of the budgets, at whose triggers a
# session looks before it passes on what it has read for the first time.
sub stopped
{
	my ($name, $table, $change, $expected) = @_;
	my $locker = $node->background_psql('postgres');

	$node->safe_psql('postgres', $restore);
	$locker->query_safe("BEGIN; LOCK TABLE apikeys_data.$table IN ACCESS EXCLUSIVE MODE");
	my $reader = start_load($node, 'postgres', sprintf("$ask;\n", 'test'), '--transactions=1');
	wait_for($node, 'postgres', qq{
		SELECT count(*) = 1 FROM pg_locks
		WHERE relation = 'apikeys_data.$table'::regclass AND NOT granted}, "$name: the reader is stopped");
	if ($table eq 'key') { $locker->query_safe($change) }
	else { $node->safe_psql('postgres', $change) }
	$locker->query_safe('COMMIT');
	ok(end_load($reader), "$name: the reader goes on");
	$locker->quit;
	is($node->safe_psql('postgres', sprintf $ask, 'test'), $expected, "$name: what a new session says") foreach 1 .. 2;
}
stopped('before its snapshot', 'key', $disable, 'DISABLED');
stopped('after its read', 'budget', $disable, 'DISABLED');
stopped('after its read, and much has changed', 'budget', "BEGIN; $others; $disable; COMMIT", 'DISABLED');
stopped('after its read, and the table has', 'budget', qq{
	BEGIN; ALTER TABLE apikeys_data.key DISABLE TRIGGER USER; $disable;
	ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_row;
	ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_truncate; COMMIT}, 'DISABLED');
stopped('after its read, and nothing has changed', 'budget', 'SELECT 1', 'VALID');

# Anywhere: readers are stopped and go on at any time, while a session changes
# the key, and after each commit asks what is known of it.
$node->safe_psql('postgres', $restore);
$node->safe_psql('postgres', q{
	CREATE PROCEDURE race(rounds int) LANGUAGE plpgsql AS
	$$
	DECLARE
		said text;
	BEGIN
		FOR n IN 1 .. rounds LOOP
			UPDATE apikeys_data.key SET metadata = jsonb_build_object('v', n) WHERE name = 'test';
			COMMIT;
			FOR again IN 1 .. 3 LOOP
				said := (SELECT metadata->>'v' FROM apikey_verify('test-key'));
				IF said IS DISTINCT FROM n::text THEN
					RAISE EXCEPTION '% after %', said, n;
				END IF;
			END LOOP;
		END LOOP;
	END
	$$});
my $misses = stats($node, 'cache_misses');
my $readers = start_load($node, 'postgres', sprintf("$ask;\n", 'test'), '--client=4', '--time=600');
wait_for($node, 'postgres', q{SELECT count(*) = 4 FROM pg_stat_activity WHERE application_name = 'pgbench'}, 'readers run');
my @readers = split /\n/, $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'});
my $race = IPC::Run::start(
	[ $node->installed_command('psql'), '--no-psqlrc', '--dbname', $node->connstr('postgres'), '--command', 'CALL race(5000)' ],
	'<', \undef, '>', \my $out, '2>', \my $err,
	IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
my $nstops = 0;
while ($race->pump_nb, $race->pumpable)
{
	my $pid = $readers[ rand @readers ];

	kill 'STOP', $pid;
	usleep(rand 5000);
	kill 'CONT', $pid;
	usleep(rand 3000);
	$nstops++;
}
$race->finish;
is($err, '', 'whoever is stopped, and wherever: every answer was right');
cmp_ok($nstops, '>', 20, 'readers were stopped');
cmp_ok(stats($node, 'cache_misses') - $misses, '>', 2000, 'and had to read');
$readers->{run}->signal('TERM');
$readers->{run}->finish;

# -------------------------------------------------------------------- secrets

# Who has other secrets does not find it, even if they have the same names.
write_secrets($node, 'one', 'two');
$node->append_conf('postgresql.conf', sprintf "apikeys.hmac_secret_file = '%s'", secret_file($node));
reload_secrets($node);
my $raw_key = $node->safe_psql('postgres', q{SELECT raw_key FROM apikey_generate('secret')});

sub secret_key
{
	my $misses = stats($node, 'cache_misses');
	my $answer = $node->safe_psql('postgres', "SELECT code FROM apikey_verify('$raw_key')");

	return $answer . (stats($node, 'cache_misses') > $misses ? ', read' : ', shared');
}
is(secret_key(), 'VALID, read', 'with a secret: read');
is(secret_key(), 'VALID, shared', 'with a secret: shared');
write_secrets($node, 'one:another-secret-of-this-name', 'two');
reload_secrets($node);
is(secret_key(), 'NOT_FOUND, read', 'another secret with its name');
write_secrets($node, 'two', 'one:another-secret-of-this-name');
reload_secrets($node);
is(secret_key(), 'NOT_FOUND, read', 'another secret, another order');
write_secrets($node, 'two');
reload_secrets($node);
is(secret_key(), 'NOT_FOUND, read', 'the secret has gone');
write_secrets($node, 'one', 'two');
reload_secrets($node);
is(secret_key(), 'VALID, shared', 'the secrets are back');

# Nor if the first one is the same, which is what it is found by: the table has the
# key by the second, and by that nobody finds it who does not have that.
write_secrets($node, 'two', 'one');
reload_secrets($node);
$idle->query_safe(q{BEGIN; SELECT FROM apikeys_data.key WHERE name = 'secret' FOR UPDATE});
is(secret_key(), 'VALID, read', 'by the second secret: read');
is(secret_key(), 'VALID, shared', 'by the second secret: shared');
write_secrets($node, 'two');
reload_secrets($node);
is(secret_key(), 'NOT_FOUND, read', 'the second secret has gone');
write_secrets($node, 'two', 'one:another-secret-of-this-name');
reload_secrets($node);
is(secret_key(), 'NOT_FOUND, read', 'another has its name');
$idle->query_safe('ROLLBACK');

# ----------------------------------------------------------------- a crash

$node->safe_psql('postgres', $restore);
is(fresh('test') . '; ' . fresh('test'), 'VALID, read; VALID, shared', 'before a crash');
$idle->quit;
$writer->quit;
kill_cluster($node);
$node->start;
is(fresh('test'), 'VALID, read', 'after it');

$node->stop;
done_testing();
