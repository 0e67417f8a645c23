
# Olga has the level own, may create what she likes in the schema public, and
# knows one key, that of Ann.  She tries to reach Bob's keys, or to make of Ann's
# what hers is not.  And applications that restrict themselves.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $ann = '00000000-0000-0000-0000-0000000000a1';
my $bob = '00000000-0000-0000-0000-0000000000b0';
my $node = start_node('main', 'max_prepared_transactions = 5', 'apikeys.max_own_keys = 20');

$node->safe_psql('postgres', qq{
	CREATE ROLE olga LOGIN;
	CREATE ROLE max LOGIN;
	CREATE ROLE nora LOGIN;
	GRANT CREATE ON SCHEMA public TO olga, nora;
	SELECT apikey_grant('olga', 'own'), apikey_grant('max', 'manage'), apikey_grant('nora', 'verify')});
add_keys($node, 'postgres', 'anns', 'annas', 'bobs', 'bobsother');
$node->safe_psql('postgres', qq{
	SELECT apikey_update(id, jsonb_build_object('user_id', CASE WHEN name LIKE 'ann%' THEN '$ann' ELSE '$bob' END,
		'permissions', CASE WHEN name = 'anns' THEN '{"custom_permissions": ["read"]}'::jsonb ELSE '{"is_admin": true}' END))
	FROM apikeys_data.key});
my %id = map { $_ => $node->safe_psql('postgres', 'SELECT ' . id_of($_)) } 'anns', 'annas', 'bobs', 'bobsother';

# The keys and events that are not Ann's, which nothing here may change.
sub fingerprint
{
	return $node->safe_psql('postgres', qq{
		SELECT md5(string_agg(line, '' ORDER BY line)) FROM (
			SELECT k::text FROM apikeys_data.key k WHERE user_id <> '$ann'
			UNION ALL SELECT e::text FROM apikeys_data.event e WHERE key_id IN ('$id{bobs}', '$id{bobsother}')
			UNION ALL SELECT concat(proname, proacl) FROM pg_proc WHERE proname LIKE 'apikey%') all_lines(line)});
}
my $before = fingerprint();

# A transaction of a role; logged in with Ann's key unless it is said otherwise.
sub attempt
{
	my ($role, $sql, $login) = @_;
	my ($stdout, $stderr);

	$login //= q{SELECT count(*) FROM apikey_login('anns-key');};
	$node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN;\n$login\n$sql;\nCOMMIT;",
		extra_params => [ '-U', $role ], on_error_stop => 1, stdout => \$stdout, stderr => \$stderr);
	$stdout =~ s/^1\n?// if $login ne '';
	return ($stdout, $stderr);
}

sub refused
{
	my ($name, $sqlstate, $sql, $role, $login) = @_;
	my ($stdout, $stderr) = attempt($role // 'olga', $sql, $login);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($stderr, qr/ERROR:  (?:$sqlstate):/, "refused: $name");
	unlike($stdout . $stderr =~ s/^(?:psql.*)?LINE \d.*$//gmr, qr/bobs(?:other)?-\.\.\./, "tells nothing: $name");
}

sub gives
{
	my ($name, $answer, $sql, $role, $login) = @_;
	my ($stdout, $stderr) = attempt($role // 'olga', $sql, $login);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($stdout . $stderr, $answer, $name);
}

my $none = '';

# ------------------------------------------------------------- in the statement

gives('her list', "annas\nanns", q{SELECT name FROM apikey_list() ORDER BY name});
gives('filters', '0|0', qq{SELECT apikey_count(user_id => '$bob'), apikey_count(name_like => 'bob%')});
gives('a foreign key and none look the same', "t",
	qq{SELECT (SELECT count(*) FROM apikey_get('$id{bobs}')) = (SELECT count(*) FROM apikey_get(gen_random_uuid()))});
gives('identify', '0', q{SELECT count(*) FROM apikey_identify('bobs-key')});
foreach my $call ("apikey_revoke('%s')", "apikey_revoke('%s', 'x')", "apikey_delete('%s')", "apikey_rotate('%s')",
	"apikey_rotate('%s', '1 day')", "apikey_update('%s', '{}')", "apikey_update('%s', '{\"user_id\": \"$ann\"}')",
	"apikey_usage('%s')", "apikey_limits('%s')", "apikey_list(after => '%s')")
{
	refused(sprintf($call, 'bobs'), 'P0002', sprintf "SELECT $call", $id{bobs});
}
refused('all of them in one', 'P0002', qq{SELECT apikey_revoke(v::uuid) FROM (VALUES ('$id{annas}'), ('$id{bobs}')) v(v)});
is(verify($node, 'postgres', 'annas'), 'VALID', 'and what came before is undone');

# Serializable and old snapshots are no way round.
refused("repeatable read: $_", 'P0002', "SELECT apikey_revoke('$id{bobs}')", 'olga',
	"SET TRANSACTION ISOLATION LEVEL $_; SELECT count(*) FROM apikey_login('anns-key');") foreach 'REPEATABLE READ', 'SERIALIZABLE';

# ---------------------------------------------------------------- other roles

# What she makes for others has her level, and that needs a login.
$node->safe_psql('postgres', q{
	CREATE FUNCTION lend() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT apikey_count()';
	CREATE FUNCTION lend_plpgsql() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT count(*) FROM apikey_list()); END';
	CREATE FUNCTION lend_parallel() RETURNS bigint LANGUAGE sql SECURITY DEFINER PARALLEL SAFE AS 'SELECT apikey_count()';
	CREATE PROCEDURE lend_proc(id uuid) LANGUAGE sql SECURITY DEFINER AS 'SELECT apikey_revoke(id)';
	CREATE FUNCTION lend_trigger() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN NEW.n := apikey_count(); RETURN NEW; END';
	CREATE TABLE lent (n bigint);
	GRANT INSERT, SELECT ON lent TO PUBLIC;
	CREATE TRIGGER lend BEFORE INSERT ON lent FOR EACH ROW EXECUTE FUNCTION lend_trigger()},
	extra_params => [ '-U', 'olga' ]);
foreach my $role ('nora', 'max', 'olga')
{
	refused("$role: $_", '28000', $_, $role, $none)
	  foreach 'SELECT lend()', 'SELECT lend_plpgsql()', 'INSERT INTO lent DEFAULT VALUES';
	gives("$role, logged in", "2|2\n2", 'SELECT lend(), lend_plpgsql(); INSERT INTO lent DEFAULT VALUES RETURNING n', $role);
	refused("$role: a procedure", 'P0002', "CALL lend_proc('$id{bobs}')", $role);
}
gives('her own function, and the manager', '4|2', 'SELECT apikey_count(), lend()', 'max');

# The superuser puts on her role, and takes it off; what was prepared follows.
gives('SET ROLE', "4\n2\n2\n4", q{PREPARE n AS SELECT apikey_count(); EXECUTE n; SET LOCAL ROLE olga; EXECUTE n;
	SELECT apikey_count(); RESET ROLE; EXECUTE n}, 'postgres');
gives('SET SESSION AUTHORIZATION', "2", q{SET LOCAL SESSION AUTHORIZATION olga; SELECT apikey_count()}, 'postgres');
gives('a view of the manager\'s', '2', 'SELECT count(*) FROM maxs_view', 'olga',
	q{SELECT count(*) FROM apikey_login('anns-key');})
  if $node->safe_psql('postgres', q{CREATE VIEW maxs_view AS SELECT name FROM apikey_list(); ALTER VIEW maxs_view OWNER TO max; GRANT SELECT ON maxs_view TO PUBLIC; SELECT 1}) =~ /1/;
refused('a cursor of before the login', '28000', 'DECLARE c CURSOR FOR SELECT name FROM apikey_list(); FETCH c', 'olga', $none);
refused('a role that she cannot be', '42501', 'SET ROLE max');
refused('the markers', '42501', 'GRANT EXECUTE ON FUNCTION apikeys.changes_all_keys() TO olga');
refused('what is behind', '42501', "SELECT apikeys_data.restricted_get(NULL, '$id{bobs}')");
refused('the owner\'s settings', '42501', 'SET apikeys.max_own_keys = 1000');
gives('the setting narrows alone', '2', "SET LOCAL apikeys.restrict_to_user = '$ann'; SELECT apikey_count()");
refused('the setting is no login', '28000', "SET LOCAL apikeys.restrict_to_user = '$bob'; SELECT apikey_count()");
refused('without one', '28000', "SET LOCAL apikeys.restrict_to_user = '$bob'; SELECT apikey_count()", 'olga', $none);

# Identity.
refused('after logout', '28000', 'SELECT apikey_logout(); SELECT apikey_count()');
refused('after a login that fails', '28000', q{DO $$ BEGIN PERFORM apikey_login('nonsense'); EXCEPTION WHEN OTHERS THEN NULL; END $$; SELECT apikey_logout(); SELECT apikey_count()});
refused('in the next transaction', '28000', 'COMMIT; SELECT apikey_count()');
gives('savepoints', "2\n2\n2", q{SAVEPOINT s; SELECT apikey_count() FROM apikey_login('bobs-key'); ROLLBACK TO s; SELECT apikey_count();
	SAVEPOINT t; SELECT count(*) FROM apikey_list() WHERE user_id = } . "'$ann'");
refused('an id of before the savepoint', 'P0002', qq{SAVEPOINT s; SELECT apikey_login('bobs-key') IS NULL; ROLLBACK TO s; SELECT apikey_revoke('$id{bobs}')});

# Parallel workers know no login, and do not go without.
gives('parallel query', '2', q{SET LOCAL force_parallel_mode = on; SELECT count(*) FROM apikey_list()}) if $node->pg_version < 16;
refused('in a worker', '28000', q{SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
	SELECT DISTINCT lend_parallel() FROM big}, 'olga')
  if $node->safe_psql('postgres', q{CREATE TABLE big AS SELECT n FROM generate_series(1, 100000) n; ANALYZE big; GRANT SELECT ON big TO PUBLIC; SELECT 1}) =~ /1/;

# ------------------------------------------------------- no more than her key

refused("more by $_", '22023', "SELECT apikey_generate('x', $_)")
  foreach q{permissions => '{"is_admin": true}'}, q{permissions => '{"custom_permissions": ["read", "write"]}'},
  q{permissions => '{"custom_permissions": ["*"]}'}, "user_id => '$bob'", "team_id => '$bob'", q{external_id => 'x'}, q{plan => 'admin'};
refused("more by an update, $_", '22023', "SELECT apikey_update('$id{anns}', '$_')")
  foreach '{"permissions": {"is_admin": true}}', '{"permissions": {"custom_permissions": ["write"]}}', '{"plan": "admin"}',
  qq({"user_id": "$bob"}), '{"user_id": null}', qq({"team_id": "$bob"});
refused('the raw key of a stronger one', '22023', "SELECT apikey_rotate('$id{annas}')");
refused('a stronger one that was disabled', '22023', "SELECT apikey_update('$id{annas}', '{\"enabled\": true}')", 'olga',
	qq{SELECT count(*) FROM apikey_login('anns-key'); SELECT count(*) FROM apikey_update('$id{annas}', '{"enabled": false}');});
gives('narrow, then wide', '{"custom_permissions": []}',
	qq{SELECT permissions FROM apikey_update('$id{anns}', '{"permissions": {"custom_permissions": []}}'); ROLLBACK; BEGIN});
refused('narrow, then wide again', '22023', qq{SELECT name FROM apikey_update('$id{anns}', '{"permissions": {}}');
	SELECT name FROM apikey_update('$id{anns}', '{"permissions": {"custom_permissions": ["read"]}}')});

# What is taken from her key while she is logged in cannot be passed on, however old her snapshot.
my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'olga', '-v', 'VERBOSITY=verbose' ]);
$session->query_safe(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM apikey_login('anns-key'); SELECT apikey_count()});
$node->safe_psql('postgres', "SELECT apikey_update('$id{anns}', '{\"permissions\": {\"custom_permissions\": [\"write\"]}}')");
$session->query(q{SAVEPOINT s; SELECT apikey_generate('x', permissions => '{"custom_permissions": ["read"]}')});
like($session->{stderr}, qr/22023: permissions must be/, 'a permission that was taken away');
$node->safe_psql('postgres', "SELECT apikey_update('$id{anns}', '{\"permissions\": {\"custom_permissions\": [\"read\"]}, \"enabled\": false}')");
$session->{stderr} = '';
$session->query(q{ROLLBACK TO s; SELECT apikey_generate('x')});
like($session->{stderr}, qr/28000: the key that is logged in cannot be used/, 'a key that was disabled');
$session->query('ROLLBACK');
$session->quit;
$node->safe_psql('postgres', "SELECT apikey_update('$id{anns}', '{\"enabled\": true}')");

# As many keys as a user may have, whoever makes them at the same time.
my $load = start_load($node, 'postgres', q{
	BEGIN;
	SET LOCAL ROLE olga;
	SELECT count(*) FROM apikey_login('anns-key');
	DO $$
	BEGIN
		PERFORM apikey_generate('many');
	EXCEPTION WHEN configuration_limit_exceeded THEN
		NULL;
	END $$;
	COMMIT;
}, '-c', 8, '-j', 2, '-t', 10);
end_load($load);
is($node->safe_psql('postgres', "SELECT count(*) FROM apikeys_data.key WHERE user_id = '$ann'"), 20, 'eight at once make no more keys than one');
$node->safe_psql('postgres', q{SELECT count(apikey_delete(id)) FROM apikeys_data.key WHERE name = 'many'});

# Two users at once: each has his own.
my %user = map { $_ => $node->background_psql('postgres', extra_params => [ '-U', 'olga' ]) } 'anns', 'bobs';
$user{$_}->query_safe("BEGIN; SELECT count(*) FROM apikey_login('$_-key')") foreach sort keys %user;
is($user{anns}->query_safe(q{SELECT string_agg(name, ' ' ORDER BY name) FROM apikey_list()}), 'annas anns', 'one has his own');
is($user{bobs}->query_safe(q{SELECT string_agg(name, ' ' ORDER BY name) FROM apikey_list()}), 'bobs bobsother', 'the other his');
$user{$_}->quit foreach sort keys %user;

is(fingerprint(), $before, 'nothing of anybody else has changed');

# ------------------------------------------- an application that restricts itself

gives('the owner, too', '2', "SET LOCAL apikeys.restrict_to_user = '$bob'; SELECT apikey_count()", 'postgres', $none);
gives('in a worker', '2', qq{SET LOCAL apikeys.restrict_to_user = '$bob'; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0;
	SET LOCAL min_parallel_table_scan_size = 0; SELECT DISTINCT counted() FROM big}, 'postgres', $none)
  if $node->safe_psql('postgres', q{CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql PARALLEL SAFE AS 'SELECT apikey_count()'; SELECT 1}) =~ /1/;
gives('and no longer than that', '4', 'SELECT apikey_count()', 'max', "SET LOCAL apikeys.restrict_to_user = '$bob'; COMMIT; BEGIN;");
$node->append_conf('postgresql.conf', "apikeys.restrict_to_user = 'nobody'");
$node->reload;
gives('the server refuses a bad value', '4', 'SELECT apikey_count()', 'max', $none);
$node->stop;

# A server that loads the library only when it is used: what was set before holds.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\napikeys.restrict_to_user = ''");
$node->start;
gives('set before the library was loaded', '2', 'SELECT apikey_count()', 'max', "SET LOCAL apikeys.restrict_to_user = '$bob';");
refused('to what is no user', '22023', 'SELECT apikey_count()', 'max', "SET LOCAL apikeys.restrict_to_user = 'nobody';");
refused('and is not taken for none', '22023', "SELECT apikey_revoke('$id{bobs}')", 'postgres', "SET apikeys.restrict_to_user = '*';");
$node->stop;

done_testing();
