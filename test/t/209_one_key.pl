
# What changes is forgotten, and nothing else: a key alone, the keys of a plan,
# a budget.  Everything, and once, if it is too much to name.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', 'max_prepared_transactions = 2', "apikeys.flush_interval = '1h'");
$node->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect');

# Some keys have a plan or a budget, one has a budget that is missing.
my @names = qw(alone gold silver rich poor lost);
my %plan = (gold => 'gold', silver => 'silver');
my $missing = '11111111-1111-1111-1111-111111111111';
add_keys($node, 'postgres', @names, map "other$_", 1 .. 300);
$node->safe_psql('postgres', qq{
	SELECT apikey_plan_set(plan, '{"max_tokens_per_request": 1}') FROM unnest('{gold,silver}'::text[]) plan;
	UPDATE apikeys_data.key SET plan = name WHERE name IN ('gold', 'silver');
	UPDATE apikeys_data.key SET budget_id = apikey_budget_create(name, 10) WHERE name IN ('rich', 'poor');
	UPDATE apikeys_data.key SET budget_id = '$missing' WHERE name = 'lost'});

# Which keys are not found in the cache, with what they say, and whether budgets
# are read.
$node->safe_psql('postgres', q{
	CREATE FUNCTION misses(names text[]) RETURNS text LANGUAGE plpgsql AS
	$$
	DECLARE
		scans CONSTANT text := 'SELECT pg_stat_get_xact_numscans(oid) FROM pg_class WHERE oid = ''apikeys_data.budget_pkey''::regclass';
		name text;
		answer text;
		found text[];
		before bigint;
		scans_before bigint;
		scans_after bigint;
	BEGIN
		EXECUTE scans INTO scans_before;
		FOREACH name IN ARRAY names LOOP
			before := (SELECT cache_misses FROM apikeys.stats);
			answer := (SELECT concat_ws('/', code, permissions->>'max_tokens_per_request') FROM apikey_verify(name || '-key'));
			IF (SELECT cache_misses FROM apikeys.stats) > before THEN
				found := found || concat_ws(' ', name, answer);
			END IF;
		END LOOP;
		EXECUTE scans INTO scans_after;
		RETURN concat_ws(', ', array_to_string(found, ', '), CASE WHEN scans_after > scans_before THEN 'budgets' END);
	END
	$$});

my $session = $node->background_psql('postgres');

sub misses
{
	return $session->query_safe("SELECT misses('{${\join ',', @names}}')") =~ s/^, //r;
}

# What a change makes the session read again; it must be warm after that.
sub forgets
{
	my ($name, $sql, $expected) = @_;

	$node->safe_psql('postgres', $sql);
	is(misses(), $expected, $name);
	is(misses(), '', "$name: and is warm again");
}

my $disable = q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'alone'};
my $enable = q{UPDATE apikeys_data.key SET enabled = true WHERE name = 'alone'};

# Changes so many other keys, each in a statement of its own.
sub change_others
{
	my ($n) = @_;

	return qq{
		DO \$\$
		BEGIN
			FOR i IN 1 .. $n LOOP
				UPDATE apikeys_data.key SET description = clock_timestamp()::text WHERE name = 'other' || i;
			END LOOP;
		END \$\$};
}

misses();
is(misses(), '', 'all is in memory');

# One key
foreach my $way (
	[ 'a change', $disable, $enable ],
	[ 'by a function', "SELECT apikey_update(${\id_of('alone')}, '{\"enabled\": false}')", "SELECT apikey_update(${\id_of('alone')}, '{\"enabled\": true}')" ],
	[ 'in a savepoint', "BEGIN; SAVEPOINT s; $disable; RELEASE s; COMMIT", "BEGIN; SAVEPOINT s; $enable; RELEASE s; COMMIT" ],
	[ 'prepared', "BEGIN; $disable; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'", "BEGIN; $enable; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'" ],
	[ 'as a replica', "SET session_replication_role = replica; $disable", "SET session_replication_role = replica; $enable" ])
{
	my ($name, $change, $undo) = @$way;

	forgets($name, $change, 'alone DISABLED');
	forgets("$name, undone", $undo, 'alone VALID');
}
forgets('rolled back', "BEGIN; $disable; ROLLBACK", '');
forgets('rolled back to a savepoint', "BEGIN; SAVEPOINT s; $disable; ROLLBACK TO s; COMMIT", '');
forgets('a new key', q{SELECT apikey_import(digest('new-key', 'sha256'), 'new', 'new-...')}, '');
forgets('other keys', change_others(64), '');
my $invalidations = stats($node, 'cache_invalidations');
forgets('a hash that is exchanged for another', q{
	UPDATE apikeys_data.key SET key_hash = digest('x', 'sha256') WHERE name = 'alone';
	UPDATE apikeys_data.key SET key_hash = digest('alone-key', 'sha256') WHERE name = 'alone'}, 'alone VALID');
is(stats($node, 'cache_invalidations') - $invalidations, 1, 'the invalidation of a key is counted');

# A plan, however it changes
forgets('a plan', q{SELECT apikey_plan_set('gold', '{"max_tokens_per_request": 2}')}, 'gold VALID/2');
forgets('a plan, prepared', q{
	BEGIN; SELECT apikey_plan_set('gold', '{"max_tokens_per_request": 3}'); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'}, 'gold VALID/3');
forgets('a new plan', q{SELECT apikey_plan_set('bronze', '{"max_tokens_per_request": 4}')}, '');
forgets('plans that change names', q{
	BEGIN;
	UPDATE apikeys_data.plan SET name = 'tin' WHERE name = 'gold';
	UPDATE apikeys_data.plan SET name = 'gold' WHERE name = 'bronze';
	COMMIT}, 'gold VALID/4');

# A budget
forgets('a budget', q{SELECT apikey_budget_update(id, '{"max_cost": 20}') FROM apikeys_data.budget WHERE name = 'rich'}, 'budgets');
forgets('a budget, prepared', q{
	BEGIN; UPDATE apikeys_data.budget SET max_cost = 30 WHERE name = 'rich'; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'}, 'budgets');
forgets('another budget', q{SELECT apikey_budget_create('new', 0)}, '');

# A budget that was missing, however it comes to be there.
sub says
{
	my ($name) = @_;

	return $session->query_safe("SELECT code FROM apikey_verify('$name-key')");
}
$node->safe_psql('postgres', qq{
	CREATE FUNCTION set_id() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN NEW.id := '$missing'; RETURN NEW; END \$\$});
my $trigger = 'CREATE TRIGGER last BEFORE INSERT OR UPDATE ON apikeys_data.budget FOR EACH ROW EXECUTE FUNCTION set_id()';
my $columns = 'INSERT INTO apikeys_data.budget (id, name, max_cost)';
my $id = '22222222-2222-2222-2222-222222222222';
foreach my $way (
	[ 'made', '', "$columns VALUES ('$missing', 'found', 0)" ],
	[ 'given its id', "$columns VALUES ('$id', 'found', 0)", "UPDATE apikeys_data.budget SET id = '$missing' WHERE name = 'found'" ],
	[ 'made with the id of a trigger', $trigger, "$columns VALUES ('$id', 'found', 0)" ],
	[ 'given its id by a trigger', "$columns VALUES ('$id', 'found', 0); $trigger", "UPDATE apikeys_data.budget SET metadata = '{}' WHERE name = 'found'" ])
{
	my ($name, $given, $sql) = @$way;

	$node->safe_psql('postgres', $given);
	misses();
	is(says('lost'), 'VALID', "a budget, $name: before");
	$node->safe_psql('postgres', $sql);
	is(says('lost'), 'BUDGET_EXCEEDED', "a budget, $name: after");
	$node->safe_psql('postgres', q{
		DROP TRIGGER IF EXISTS last ON apikeys_data.budget; DELETE FROM apikeys_data.budget WHERE name = 'found'});
	is(says('lost'), 'VALID', "a budget, $name: gone");
}

# Two keys have the same number, and so have two budgets, one above the other.
# Each is itself.
my ($one, $two) = qw(same-21815 same-37913);
$node->safe_psql('postgres', qq{
	SELECT apikey_import(digest('$one', 'sha256'), 'one', 'one'), apikey_import(digest('$two', 'sha256'), 'two', 'two');
	CREATE TABLE twins AS
		SELECT (array_agg(id))[1:2] AS ids
		FROM (SELECT md5('budget ' || i)::uuid AS id FROM generate_series(1, 100000) i) new
		GROUP BY uuid_hash(id) & 536870911 HAVING count(*) > 1 LIMIT 1;
	INSERT INTO apikeys_data.budget (id, name, max_cost) SELECT ids[1], 'above', 0 FROM twins;
	INSERT INTO apikeys_data.budget (id, name, max_cost, parent_id) SELECT ids[2], 'below', 10, ids[1] FROM twins});
my $names = qq{SELECT string_agg(concat_ws(' ', v.name, v.code), ', ') FROM unnest('{$one,$two,$one}'::text[]) k, apikey_verify(k) v};
is($session->query_safe($names), 'one VALID, two VALID, one VALID', 'two keys with one number') foreach 1 .. 2;
$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'two'});
is($session->query_safe($names), 'one VALID, two DISABLED, one VALID', 'one of them has changed');
$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET budget_id = ids[2] FROM twins WHERE name = 'one'});
is($session->query_safe($names), 'one BUDGET_EXCEEDED, two DISABLED, one BUDGET_EXCEEDED', 'two budgets with one number') foreach 1 .. 2;
$node->safe_psql('postgres', q{UPDATE apikeys_data.budget SET max_cost = 10 WHERE name = 'above'});
is($session->query_safe($names), 'one VALID, two DISABLED, one VALID', 'the upper one has changed') foreach 1 .. 2;
$node->safe_psql('postgres', q{UPDATE apikeys_data.budget SET max_cost = 0 WHERE name = 'below'});
is($session->query_safe($names), 'one BUDGET_EXCEEDED, two DISABLED, one BUDGET_EXCEEDED', 'the lower one has changed') foreach 1 .. 2;

# Too much: everything is forgotten, and once.
sub forgets_all
{
	my ($name, $sql, $answer) = @_;

	misses();
	is(misses(), '', "$name: before");
	$invalidations = stats($node, 'cache_invalidations');
	$node->safe_psql('postgres', $sql);
	is(says('alone'), $answer, "$name: after");
	like(misses(), qr/gold VALID/, "$name: others are forgotten");
	is(stats($node, 'cache_invalidations') - $invalidations, 1, "$name: once");
}
$node->safe_psql('postgres', $enable);
forgets_all('more than 64 keys', "BEGIN; ${\change_others(64)}; $disable; COMMIT", 'DISABLED');
forgets_all('many keys in a statement', "UPDATE apikeys_data.key SET enabled = true", 'VALID');
forgets_all('many keys, and one again', "BEGIN; ${\change_others(300)}; SAVEPOINT s; $disable; RELEASE s; COMMIT", 'DISABLED');
forgets_all('many keys that are undone, and one', "BEGIN; SAVEPOINT s; ${\change_others(300)}; ROLLBACK TO s; $enable; COMMIT", 'VALID');
forgets_all('many keys, prepared', "BEGIN; ${\change_others(300)}; $disable; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'", 'DISABLED');
forgets_all('TRUNCATE of plans', 'CREATE TABLE plans AS TABLE apikeys_data.plan; BEGIN; TRUNCATE apikeys_data.plan; INSERT INTO apikeys_data.plan TABLE plans; COMMIT', 'DISABLED');

# A commit never has more messages than that, so that no queue runs over.
foreach my $sql (change_others(300), 'UPDATE apikeys_data.key SET description = NULL', "SELECT apikey_revoke(id) FROM apikeys_data.key")
{
	my $from = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');

	$node->safe_psql('postgres', $sql);
	cmp_ok($node->safe_psql('postgres', qq{
		SELECT max(regexp_count(description, 'relcache'))
		FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn()) WHERE record_type LIKE 'COMMIT%'}),
		'<=', 65, 'the messages of a commit are few');
}
is(says('alone'), 'REVOKED', 'and yet all is known');

$session->quit;
$node->stop;
done_testing();
