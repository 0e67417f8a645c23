
# What else may happen to a session with a warm cache: time goes by, the
# extension goes and comes back, another database has the same keys.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '1h'");
add_keys($node, 'postgres', 'test');

my $verify = q{SELECT code FROM apikey_verify('test-key')};
my $session = $node->background_psql('postgres');
$session->query_safe('SET client_min_messages = warning');

# The hits and the invalidations since the last call, in this order
my %last = (cache_hits => 0, cache_invalidations => 0);

sub counted
{
	my @counted;

	foreach my $column (sort keys %last)
	{
		my $now = stats($node, $column);

		push @counted, $now - $last{$column};
		$last{$column} = $now;
	}
	return @counted;
}

sub warm_up
{
	$session->query_safe($verify) foreach 1 .. 2;
	counted();
	is($session->query_safe($verify), 'VALID', "$_[0]: before");
	is((counted())[0], 1, "$_[0]: the cache is warm");
}

# Expiry is checked at each call, by the clock, from the cache.
$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET expires_at = clock_timestamp() + interval '500 ms'});
$session->query_safe($verify);
counted();
$session->query_safe(
	q{
	BEGIN;
	DO $$
	DECLARE
		expires_at CONSTANT timestamptz := (SELECT k.expires_at FROM apikeys_data.key k);
		started timestamptz;
		answer text;
	BEGIN
		LOOP
			started := clock_timestamp();
			answer := (SELECT code FROM apikey_verify('test-key'));
			EXIT WHEN started > expires_at;
			ASSERT answer = 'VALID' OR clock_timestamp() > expires_at, 'before: ' || answer;
		END LOOP;
		ASSERT answer = 'EXPIRED', 'after: ' || answer;
	END
	$$});
is($session->query_safe($verify), 'EXPIRED', 'expired in the transaction');
$session->query_safe('COMMIT');
is($session->query_safe($verify), 'EXPIRED', 'expired');
my ($hits, $invalidations) = counted();
cmp_ok($hits, '>', 2, 'expired: from the cache');
is($invalidations, 0, 'expired: nothing was invalidated');

# The extension is dropped and made again by this session.
sub make_key { return q{SELECT apikey_import(digest('test-key', 'sha256'), 'test', 'test-...')} }
my @again = ('DROP EXTENSION apikeys', 'CREATE EXTENSION apikeys');

$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET expires_at = NULL');
warm_up('own DROP EXTENSION');
$session->query_safe($_) foreach @again;
is($session->query_safe($verify), 'NOT_FOUND', 'own DROP EXTENSION: after');
$session->query_safe(make_key());
is($session->query_safe($verify), 'VALID', 'own DROP EXTENSION: a new key');

# The same in a transaction
warm_up('own DROP EXTENSION in a transaction');
$session->query_safe($_) foreach 'BEGIN', @again;
is($session->query_safe($verify), 'NOT_FOUND', 'own DROP EXTENSION in a transaction: in it');
$session->query_safe(make_key());
is($session->query_safe($verify), 'VALID', 'own DROP EXTENSION in a transaction: a new key in it');
$session->query_safe('DELETE FROM apikeys_data.key');
is($session->query_safe($verify), 'NOT_FOUND', 'own DROP EXTENSION in a transaction: and it is gone');
$session->query_safe('ROLLBACK');
is($session->query_safe($verify), 'VALID', 'own DROP EXTENSION in a transaction: undone');
is($session->query_safe($verify), 'VALID', 'own DROP EXTENSION in a transaction: undone, again');
$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET enabled = false');
is($session->query_safe($verify), 'DISABLED', 'own DROP EXTENSION in a transaction: undone, and the triggers are trusted');
$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET enabled = true');

# By another session, while this one is in a transaction.  To make it anew the
# other has to wait until nobody has the tables open: hits do not open them.
foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	warm_up("DROP EXTENSION, $level");
	$session->query_safe("BEGIN ISOLATION LEVEL $level");
	is($session->query_safe($verify), 'VALID', "DROP EXTENSION, $level: in the transaction");
	$node->safe_psql('postgres', join ';', "SET lock_timeout = '10s'", @again);
	is($session->query_safe($verify), 'NOT_FOUND', "DROP EXTENSION, $level: after");
	$session->query_safe('COMMIT');
	is($session->query_safe($verify), 'NOT_FOUND', "DROP EXTENSION, $level: after the transaction");
	$node->safe_psql('postgres', make_key());
	is($session->query_safe($verify), 'VALID', "DROP EXTENSION, $level: a new key");
	$node->safe_psql('postgres', "SELECT apikey_revoke(${\id_of('test')})");
	is($session->query_safe($verify), 'REVOKED', "DROP EXTENSION, $level: the new triggers are trusted");
	$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET revoked_at = NULL');
}

# The table is altered, or written anew.
foreach my $ddl (
	'VACUUM FULL apikeys_data.key',
	'CLUSTER apikeys_data.key USING key_pkey',
	'REINDEX TABLE apikeys_data.key',
	'ALTER TABLE apikeys_data.key SET (fillfactor = 90)')
{
	warm_up($ddl);
	$node->safe_psql('postgres', "$ddl");
	is($session->query_safe($verify), 'VALID', "$ddl: after");
	$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET enabled = false');
	is($session->query_safe($verify), 'DISABLED', "$ddl: and a change");
	$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET enabled = true');
}

# Triggers that do not fire ALWAYS are not trusted: ENABLE TRIGGER ALL, which
# pg_restore --disable-triggers ends with, turns ENABLE ALWAYS into ENABLE.
sub change_past_the_triggers
{
	my ($prefix, $table, $change, $code, $undo) = @_;

	warm_up("${prefix}ENABLE TRIGGER ALL");
	$node->safe_psql('postgres', "ALTER TABLE $table $_ TRIGGER ALL") foreach qw(DISABLE ENABLE);
	$session->query_safe($verify) foreach 1 .. 2;
	$node->safe_psql('postgres', "SET session_replication_role = replica; $change");
	is($session->query_safe($verify), $code, "${prefix}ENABLE TRIGGER ALL: and a change as a replica");
	$node->safe_psql('postgres', qq{
		ALTER TABLE $table ENABLE ALWAYS TRIGGER invalidate_row;
		ALTER TABLE $table ENABLE ALWAYS TRIGGER invalidate_truncate;
		$undo});
	warm_up("${prefix}ENABLE ALWAYS TRIGGER");
	return;
}
change_past_the_triggers('', 'apikeys_data.key', 'UPDATE apikeys_data.key SET enabled = false', 'DISABLED',
	'UPDATE apikeys_data.key SET enabled = true');

# Nor are such triggers of budgets.
$node->safe_psql('postgres', q{
	UPDATE apikeys_data.key SET budget_id = apikey_budget_create('test', 1) WHERE name = 'test'});
change_past_the_triggers('budgets, ', 'apikeys_data.budget', 'UPDATE apikeys_data.budget SET max_cost = 0', 'BUDGET_EXCEEDED',
	'UPDATE apikeys_data.key SET budget_id = NULL; DELETE FROM apikeys_data.budget');

# A table that inherits from the keys has no such triggers.
$node->safe_psql('postgres', q{
	CREATE TABLE heirs () INHERITS (apikeys_data.key);
	INSERT INTO heirs (id, root_id, key_hash, key_prefix, name)
		SELECT id, id, digest('heir-key', 'sha256'), '...', 'heir' FROM gen_random_uuid() id});
$session->query_safe(q{SELECT code FROM apikey_verify('heir-key')}) foreach 1 .. 2;
$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'heir'});
isnt($session->query_safe(q{SELECT code FROM apikey_verify('heir-key')}), 'VALID', 'an heir that is disabled');
$node->safe_psql('postgres', 'DROP TABLE heirs');

# Triggers of somebody's own: of a column that names no key, everything is forgotten.
$node->safe_psql('postgres', q{CREATE TABLE mine (n int, b bytea); INSERT INTO mine VALUES (1, '\x01')});
foreach my $case ([ 'b', 'n = 2', 1 ], [ 'n', 'n = 3', 0 ], [ 'none', 'n = 4', 0 ], [ 'b', 'b = NULL', 1 ], [ 'b', 'n = 5', 0 ])
{
	my ($column, $change, $hits) = @$case;

	warm_up("a trigger on $column");
	$node->safe_psql('postgres', qq{
		CREATE OR REPLACE TRIGGER mine BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION apikeys.invalidate_caches('$column');
		UPDATE mine SET $change});
	is($session->query_safe($verify), 'VALID', "a trigger on $column, $change: after");
	is((counted())[0], $hits, "a trigger on $column, $change: " . ($hits ? 'a key is' : 'all are') . ' forgotten');
}
is($node->safe_psql('postgres', 'SELECT n, b IS NULL FROM mine'), '5|t', 'a trigger of its own changes no row');

# What a session forgets or becomes is no matter.
foreach my $sql ('DISCARD ALL', 'SET ROLE pg_monitor; RESET ROLE', 'LISTEN here')
{
	warm_up($sql);
	$session->query_safe($sql);
	is($session->query_safe($verify), 'VALID', "$sql: after");
	$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET enabled = false');
	is($session->query_safe($verify), 'DISABLED', "$sql: and a change");
	$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET enabled = true');
}

# So many messages that the queue runs over, while a statement of the session
# is busy: it hears that everything may have changed, and not of the key.
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION dblink;
	CREATE FUNCTION twice() RETURNS text LANGUAGE plpgsql AS
	$$
	DECLARE
		before text := (SELECT code FROM apikey_verify('test-key'));
	BEGIN
		PERFORM pg_advisory_xact_lock(1);
		RETURN before || ' ' || (SELECT code FROM apikey_verify('test-key'));
	END
	$$;
	CREATE FUNCTION flood() RETURNS int LANGUAGE sql AS 'SELECT 0'});
my $strings = $node->background_psql('postgres');
$strings->query_safe(sprintf "SELECT dblink_connect('reader', 'host=%s port=%s dbname=postgres')",
	$node->host, $node->port);
foreach my $change ('nothing', 'revoke')
{
	$strings->query_safe($_) foreach
	  "SELECT dblink_exec('reader', 'BEGIN ISOLATION LEVEL REPEATABLE READ')",
	  "SELECT * FROM dblink('reader', 'SELECT code FROM apikey_verify(''test-key'')') d(code text)",
	  'SELECT pg_advisory_lock(1)',
	  "SELECT dblink_send_query('reader', 'SELECT twice()')";
	wait_for($node, 'postgres', q{
		SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted},
		"flood, $change: the reader waits");
	counted();
	$node->safe_psql('postgres', "SELECT apikey_revoke(${\id_of('test')})") if $change eq 'revoke';
	$node->safe_psql('postgres', q{
		DO $$
		BEGIN
			FOR i IN 1 .. 5000 LOOP
				EXECUTE format('CREATE OR REPLACE FUNCTION flood() RETURNS int LANGUAGE sql AS %L', 'SELECT ' || i);
			END LOOP;
		END $$});
	$strings->query_safe('SELECT pg_advisory_unlock(1)');
	is($strings->query_safe(q{SELECT * FROM dblink_get_result('reader') d(answers text)}),
		$change eq 'revoke' ? 'VALID REVOKED' : 'VALID VALID', "flood, $change: the answers");
	is((counted())[1], $change eq 'revoke' ? 1 : 0, "flood, $change: what has changed was forgotten");
	$strings->query_safe(q{SELECT * FROM dblink_get_result('reader') d(answers text)});
	$strings->query_safe(q{SELECT dblink_exec('reader', 'COMMIT')});
}
$strings->quit;
$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET revoked_at = NULL');

# Another database has the same key, id and all, and a life of its own.
$node->safe_psql('postgres', 'CREATE DATABASE other');
add_extension($node, 'other');
$node->safe_psql('postgres', sprintf q{COPY apikeys_data.key TO '%s/keys'}, $node->basedir);
$node->safe_psql('other', sprintf q{COPY apikeys_data.key FROM '%s/keys'}, $node->basedir);
my $other = $node->background_psql('other');

$other->query_safe($verify);
$session->query_safe($verify);
counted();
is($session->query_safe($verify) . ' ' . $other->query_safe($verify), 'VALID VALID', 'two databases: before');
is((counted())[0], 2, 'two databases: both caches are warm');
$node->safe_psql('other', "SELECT apikey_revoke(${\id_of('test')})");
is($session->query_safe($verify) . ' ' . $other->query_safe($verify), 'VALID REVOKED', 'two databases: revoked in one');
is(join(' ', counted()), '1 1', 'two databases: and invalidated in that one alone');
$node->safe_psql('postgres', 'TRUNCATE apikeys_data.key');
is($session->query_safe($verify) . ' ' . $other->query_safe($verify), 'NOT_FOUND REVOKED', 'two databases: truncated in the other');
$other->quit;

$session->quit;
$node->stop;
done_testing();
