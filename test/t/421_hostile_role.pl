
# Roles that are up to no good try, one way after the other, to read keys, to
# change them, to become somebody else, or to get in the way.  Each attempt is
# refused or has no effect: nothing of another's key is in the answer, and
# what belongs to the extension is as it was.
#
# Mallory has the level verify, may create objects in the schema public and
# temporary ones, and knows one key.  Where it tells more, Rita with the level
# read tries, Max with manage, or Nora with none.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $channel = 'events_6f1e0c3b';
my $secret_file = PostgreSQL::Test::Utils::tempdir . '/secret';
my $node = new_node('main',
	'max_prepared_transactions = 5',
	'apikeys.last_used_throttle = -1',
	"apikeys.notify_channel = '$channel'");

open my $file, '>', $secret_file or die "$secret_file: $!";
print $file "a secret that nobody reads\n";
close $file;

$node->start;
$node->safe_psql('postgres', q{
	CREATE SCHEMA keys;
	SET client_min_messages = warning;
	CREATE EXTENSION apikeys SCHEMA keys CASCADE;
	ALTER DATABASE postgres SET search_path = keys, public;
	CREATE ROLE mallory LOGIN;
	CREATE ROLE rita LOGIN;
	CREATE ROLE max LOGIN;
	CREATE ROLE nora LOGIN;
	CREATE ROLE app LOGIN;
	GRANT USAGE ON SCHEMA keys TO nora;
	GRANT CREATE ON SCHEMA public TO mallory, rita, max, nora;
	CREATE TABLE public.notes (note text);
	GRANT INSERT ON public.notes TO PUBLIC;
});
$node->safe_psql('postgres', q{
	SELECT apikey_grant('mallory', 'verify'), apikey_grant('app', 'verify'),
		   apikey_grant('rita', 'read'), apikey_grant('max', 'manage');
});
add_keys($node, 'postgres', 'own', 'theirs');
$node->safe_psql('postgres', q{
	SELECT apikey_update(id, '{"description": "Theirs, Incorporated", "external_id": "theirs-4711",
		"rate_limits": {"max_concurrent_requests": 3}}') FROM apikeys_data.key WHERE name = 'theirs';
	SELECT apikey_budget_create('their budget', 1000);
	ANALYZE;
});

# What nobody may learn: of the key, for those who may not read, and of its
# hash and of the file.
my ($id, $hash) = split /\|/,
  $node->safe_psql('postgres', "SELECT id, encode(key_hash, 'hex') FROM apikeys_data.key WHERE name = 'theirs'");
my %hidden = (
	mallory => qr/$id|$hash|Incorporated|4711|theirs-\.\.\.|their budget|nobody reads/,
	nora => qr/$id|$hash|Incorporated|4711|theirs-\.\.\.|their budget|nobody reads/,
	rita => qr/$hash|nobody reads/,
	max => qr/$hash|nobody reads/);

# Everything that is ours: rows, objects, their owners and rights, triggers.
my $fingerprint = q{
	SELECT md5(string_agg(line, E'\n' ORDER BY line)) FROM (
		SELECT k::text FROM apikeys_data.key k
		UNION ALL SELECT e::text FROM apikeys_data.event e
		UNION ALL SELECT b::text FROM apikeys_data.budget b
		UNION ALL SELECT u::text FROM apikeys_data.usage_entry u
		UNION ALL SELECT u::text FROM apikeys_data.usage u
		UNION ALL SELECT last_value::text FROM apikeys_data.event_id_seq
		UNION ALL SELECT d::text FROM pg_depend d WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'apikeys')
		UNION ALL SELECT concat(p.oid, proname, pronamespace, proowner, proacl, proconfig, prosecdef, prosrc, probin)
			FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
		UNION ALL SELECT concat(c.oid, relname, relnamespace, relowner, relacl, relchecks, relhastriggers, relhasrules, relrowsecurity, relfilenode)
			FROM pg_class c WHERE relnamespace IN ('apikeys'::regnamespace, 'apikeys_data'::regnamespace)
		UNION ALL SELECT concat(tgrelid, tgname, tgenabled) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid AND relnamespace IN ('apikeys'::regnamespace, 'apikeys_data'::regnamespace)
		UNION ALL SELECT concat(nspname, nspowner, nspacl) FROM pg_namespace WHERE nspname IN ('apikeys', 'apikeys_data', 'keys')
		UNION ALL SELECT concat(rolname, rolsuper, rolcreaterole, rolreplication, rolbypassrls) FROM pg_authid
		UNION ALL SELECT m::text FROM pg_auth_members m
		UNION ALL SELECT s::text FROM pg_db_role_setting s
		UNION ALL SELECT t::text FROM pg_event_trigger t
		UNION ALL SELECT concat(name, setting) FROM pg_settings WHERE name LIKE 'apikeys.%'
		UNION ALL SELECT n::text FROM public.notes n
		UNION ALL SELECT s.code FROM apikey_verify('theirs-key') s) all_lines(line)
};
my $watcher = $node->background_psql('postgres');
sub fingerprint { return $watcher->query_safe($fingerprint) }
my $before = fingerprint();

# Everybody has one session, which is made new after each attempt.
my %session;

sub try
{
	my ($role, $sql) = @_;

	$session{$role} //= $node->background_psql('postgres', on_error_stop => 0,
		extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
	$session{$role}->{stderr} = '';
	my $stdout = $session{$role}->query($sql);
	my $stderr = $session{$role}->{stderr};
	$session{$role}->query('ROLLBACK; DISCARD ALL');
	return ($stdout, $stderr);
}

# True if an attempt has given nothing away and changed nothing.
sub harmless
{
	my ($role, $stdout, $stderr) = @_;
	my $after = fingerprint();
	my $said = "$stdout\n$stderr";

	# psql shows the statement that failed; what the attacker has put into it is no news.
	$said =~ s/^(?:psql:.*LINE \d+:|LINE \d+:).*$//mg;
	diag("given away: $said") if $said =~ $hidden{$role};
	diag('planted code has run') if $said =~ /fired/;
	diag('something has changed') if $after ne $before;
	return $said !~ $hidden{$role} && $said !~ /fired/ && $after eq $before;
}

# The attempt ends with an error of this SQLSTATE, a pattern.
sub refused
{
	my ($name, $role, $sqlstate, $sql) = @_;
	my ($stdout, $stderr) = try($role, $sql);
	my ($last) = reverse($stderr =~ /ERROR:  (\w{5}):/g);
	my $right_error = (defined $last && $last =~ /^(?:$sqlstate)$/);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(harmless($role, $stdout, $stderr) && $right_error, "$role: $name")
	  or diag("answer: $stdout\n$stderr");
}

# The attempt goes through, and its answer shows that it was in vain.
sub in_vain
{
	my ($name, $role, $answer, $sql) = @_;
	my ($stdout, $stderr) = try($role, $sql);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(harmless($role, $stdout, $stderr) && $stderr !~ /ERROR:/ && $stdout eq $answer, "$role: $name")
	  or diag("answer: $stdout\n$stderr");
}

my $denied = '42501';

# The harness does notice: what may be read is found, what is changed is seen.
ok(!do { local $hidden{rita} = $hidden{mallory}; my ($out, $err) = try('rita', 'SELECT * FROM apikeys.info'); $out !~ $hidden{rita} },
	'the search finds what is there');
$node->safe_psql('postgres', 'GRANT SELECT ON apikeys.stats TO nora');
ok(fingerprint() ne $before, 'a change is seen');
$node->safe_psql('postgres', 'REVOKE SELECT ON apikeys.stats FROM nora');
is(fingerprint(), $before, 'and that it has been undone');

# Tables, directly.  Nobody may use their schema.
foreach my $table (qw(key key_notice event budget usage usage_day ledger budget_credit budget_warning usage_entry usage_request budget_period cache_invalidation))
{
	refused("SELECT from $table", 'mallory', $denied, "SELECT * FROM apikeys_data.$table");
	refused("SELECT from $table", 'max', $denied, "SELECT * FROM apikeys_data.$table");
	refused("COPY $table", 'max', $denied, "COPY apikeys_data.$table TO STDOUT");
	refused("LOCK $table", 'max', $denied, "BEGIN; LOCK TABLE apikeys_data.$table IN ACCESS SHARE MODE");
	refused("TRUNCATE $table", 'max', $denied, "TRUNCATE apikeys_data.$table");
	refused("DELETE from $table", 'max', $denied, "DELETE FROM apikeys_data.$table");
	refused("INSERT into $table", 'max', $denied, "INSERT INTO apikeys_data.$table DEFAULT VALUES");
	refused("DROP $table", 'max', $denied, "DROP TABLE apikeys_data.$table");
}
refused('UPDATE a key', 'max', $denied, q{UPDATE apikeys_data.key SET enabled = true, revoked_at = NULL});
refused('UPDATE the log', 'max', $denied, q{UPDATE apikeys_data.event SET acting_role = 'rita'});
refused('MERGE', 'max', $denied, q{MERGE INTO apikeys_data.key k USING (VALUES (1)) v ON true WHEN MATCHED THEN DELETE});
# By the rights, or by the planner, which 16 asks first.
refused('SELECT FOR UPDATE through a view', 'rita', "$denied|0A000", 'SELECT id FROM apikeys.info FOR UPDATE');
refused('UPDATE of a view', 'rita', '42501|55000', q{UPDATE apikeys.info SET name = 'mine'});
refused('LOCK of a view', 'rita', $denied, 'BEGIN; LOCK TABLE apikeys.info IN ACCESS EXCLUSIVE MODE');
refused('sequence, set', 'max', $denied, q{SELECT setval('apikeys_data.event_id_seq', 1)});
refused('sequence, read', 'max', $denied, 'SELECT last_value FROM apikeys_data.event_id_seq');

# Tables, by what is made on them.
refused('CREATE TRIGGER', 'max', $denied, q{
	CREATE FUNCTION public.fire_max() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'fired as %', current_user; RETURN NEW; END$$;
	CREATE TRIGGER t BEFORE INSERT ON apikeys_data.event FOR EACH ROW EXECUTE FUNCTION public.fire_max()});
refused('CREATE TRIGGER on a view', 'max', $denied,
	'CREATE TRIGGER t INSTEAD OF UPDATE ON apikeys.info FOR EACH ROW EXECUTE FUNCTION public.fire_max()');
refused('CREATE RULE', 'max', $denied, 'CREATE RULE r AS ON INSERT TO apikeys_data.event DO INSTEAD NOTHING');
refused('CREATE RULE on a view', 'max', $denied, 'CREATE RULE r AS ON UPDATE TO apikeys.info DO INSTEAD NOTHING');
refused('CREATE POLICY', 'max', $denied, 'CREATE POLICY p ON apikeys_data.key USING (true)');
refused('ROW LEVEL SECURITY', 'max', $denied, 'ALTER TABLE apikeys_data.key ENABLE ROW LEVEL SECURITY');
refused('CREATE INDEX, whose function its owner would run', 'max', $denied, 'CREATE INDEX i ON apikeys_data.key (name)');
refused('CREATE STATISTICS', 'max', $denied, 'CREATE STATISTICS public.s ON name, key_prefix FROM apikeys_data.key');
refused('ALTER TABLE', 'max', $denied, 'ALTER TABLE apikeys_data.key ADD COLUMN mine text');
refused('DISABLE TRIGGER', 'max', $denied, 'ALTER TABLE apikeys_data.key DISABLE TRIGGER invalidate_row');
refused('OWNER TO himself', 'max', $denied, 'ALTER TABLE apikeys_data.key OWNER TO max');
refused('DROP CONSTRAINT', 'max', $denied, 'ALTER TABLE apikeys_data.key DROP CONSTRAINT key_is_valid');
refused('COMMENT', 'max', $denied, q{COMMENT ON TABLE apikeys_data.key IS 'mine'});
refused('REINDEX', 'max', $denied, 'REINDEX TABLE apikeys_data.key');
refused('CLUSTER', 'max', $denied, 'CLUSTER apikeys_data.key USING key_pkey');
refused("$_ of the table", 'max', $denied, "$_ apikeys_data.key") foreach 'VACUUM FULL', 'ANALYZE';
refused('a child of the table', 'max', $denied, 'CREATE TABLE public.child () INHERITS (apikeys_data.key)');
refused('CREATE TABLE LIKE', 'max', $denied, 'CREATE TABLE public.likeness (LIKE apikeys_data.key INCLUDING ALL)');
refused('a foreign key, whose check tells what exists', 'max', $denied,
	'CREATE TABLE public.child (id uuid REFERENCES apikeys_data.key)');
refused('a view on the table', 'max', $denied, 'CREATE VIEW public.peek AS SELECT * FROM apikeys_data.key');
refused('a materialized view', 'max', $denied, 'CREATE MATERIALIZED VIEW public.peek_mat AS SELECT * FROM apikeys_data.key');
refused('a publication', 'max', $denied, 'CREATE PUBLICATION p FOR TABLE apikeys_data.key');
refused('a table in our schema', 'max', $denied, 'CREATE TABLE apikeys.mine ()');
refused('a function in the schema of ours', 'max', $denied, q{CREATE FUNCTION keys.apikey_verify(text) RETURNS text LANGUAGE sql AS 'SELECT $1'});
refused('DROP SCHEMA', 'max', $denied, 'DROP SCHEMA apikeys CASCADE');
refused('a value for our type', 'max', $denied, q{ALTER TYPE apikeys.key_status ADD VALUE 'mine'});

# What the server keeps about the tables, or does with them for others.
in_vain('pg_stats', 'rita', '0', q{SELECT count(*) FROM pg_stats WHERE schemaname LIKE 'apikeys%'});
refused('pg_statistic', 'mallory', $denied, 'SELECT * FROM pg_statistic');
refused('pg_statistic_ext_data', 'mallory', $denied, 'SELECT * FROM pg_statistic_ext_data');
in_vain('pg_stats_ext', 'mallory', '0', 'SELECT count(*) FROM pg_stats_ext');
in_vain('a selectivity function of one\'s own', 'rita', '0', q{
	CREATE FUNCTION public.leak_rita(bytea, bytea) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$BEGIN RAISE WARNING 'fired: %', $1; RETURN true; END$$;
	CREATE OPERATOR public.<<<< (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = public.leak_rita, RESTRICT = eqsel);
	SELECT count(*) FROM apikeys.info i WHERE i.name = 'nobody' AND decode(md5(i.name), 'hex') <<<< '\x00'});
refused('pg_largeobject', 'mallory', $denied, 'SELECT * FROM pg_largeobject');
SKIP:
{
	skip 'the server is built without XML', 3 if $node->psql('postgres', q{SELECT xml '<a/>'}) != 0;

	refused('table_to_xml by oid', 'mallory', $denied,
		q{SELECT table_to_xml(c.oid, true, false, '') FROM pg_class c WHERE relname = 'key' AND relkind = 'r'});
	refused('query_to_xml', 'mallory', $denied, q{SELECT query_to_xml('SELECT * FROM apikeys_data.key', true, false, '')});
	in_vain('database_to_xml', 'mallory', '0', q{SELECT (xpath('count(//key)', database_to_xml(true, false, '')))[1]});
}
refused('ts_stat', 'mallory', $denied, q{SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM apikeys_data.key')});
refused('pg_sequence_last_value', 'mallory', $denied,
	q{SELECT pg_sequence_last_value(c.oid) FROM pg_class c WHERE relname = 'event_id_seq'}) if $node->pg_version < 17;
in_vain('error texts of casts by name', 'mallory', '', q{
	DO $$
	BEGIN
		PERFORM 'apikeys_data.key'::regclass;
		RAISE 'fired';
	EXCEPTION WHEN insufficient_privilege THEN
		NULL;
	END $$});
in_vain('EXPLAIN', 'mallory', '1', q{
	CREATE TEMPORARY TABLE plan (line text);
	DO $$
	DECLARE
		line text;
	BEGIN
		FOR line IN EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT code FROM apikey_verify('theirs') LOOP
			INSERT INTO plan VALUES (line);
		END LOOP;
	END $$;
	SELECT count(*) FROM plan WHERE line ~ 'Function Scan' AND line !~ 'Index'});
{
	# The server prints plans for whoever asks; his own are of no use to him.
	my ($stdout, $stderr) = try('mallory', q{
		SET debug_print_parse = on; SET debug_print_rewritten = on; SET debug_print_plan = on; SET client_min_messages = log;
		SELECT code FROM apikey_verify('theirs');});
	ok($stdout eq 'NOT_FOUND' && $stderr =~ /plan/ && harmless('mallory', $stdout, $stderr), 'mallory: debug_print_plan');
}

# Files and settings.
refused('pg_read_file', 'mallory', $denied, "SELECT pg_read_file('$secret_file')");
refused('pg_read_binary_file', 'mallory', $denied, "SELECT pg_read_binary_file('$secret_file')");
refused('pg_stat_file', 'mallory', $denied, "SELECT pg_stat_file('$secret_file')");
refused('pg_ls_dir', 'mallory', $denied, q{SELECT pg_ls_dir('.')});
refused('pg_ls_logdir', 'mallory', $denied, 'SELECT pg_ls_logdir()');
refused('COPY FROM a file', 'mallory', $denied, "CREATE TEMPORARY TABLE t (x text); COPY t FROM '$secret_file'");
refused('COPY TO a program', 'mallory', $denied, q{COPY (SELECT 1) TO PROGRAM 'cat'});
refused('COPY FROM a program', 'mallory', $denied, "CREATE TEMPORARY TABLE t (x text); COPY t FROM PROGRAM 'cat $secret_file'");
refused('lo_import', 'mallory', $denied, "SELECT lo_import('$secret_file')");
refused('lo_export', 'mallory', $denied, "SELECT lo_export(1, '$secret_file')");
refused('pg_file_settings', 'mallory', $denied, 'SELECT * FROM pg_file_settings');
refused('pg_show_all_file_settings', 'mallory', $denied, 'SELECT pg_show_all_file_settings()');
refused('pg_hba_file_rules', 'mallory', $denied, 'SELECT * FROM pg_hba_file_rules');
refused("CREATE EXTENSION $_", 'mallory', '42501|0A000|58P01', "CREATE EXTENSION $_") foreach qw(dblink file_fdw adminpack pageinspect);
refused('CREATE FOREIGN DATA WRAPPER', 'mallory', $denied, 'CREATE FOREIGN DATA WRAPPER w');
refused('SHOW notify_channel', 'mallory', $denied, 'SHOW apikeys.notify_channel');
refused('current_setting', 'mallory', $denied, q{SELECT current_setting('apikeys.notify_channel')});
in_vain('pg_settings', 'mallory', '0', q{SELECT count(*) FROM pg_settings WHERE name IN ('apikeys.notify_channel', 'apikeys.hmac_secret_file')});
refused('SHOW hmac_secret_file', 'mallory', '42501', 'SHOW apikeys.hmac_secret_file');
refused("SHOW $_", 'mallory', '42704', "SHOW apikeys.$_") foreach qw(hmac_secret hmac_secrets);
refused("SET apikeys.$_", 'mallory', '42501|55P02', "SET apikeys.$_ = 'off'")
  foreach qw(notify_channel hmac_secret_file redact_log request_header flush_interval reservation_timeout);
refused('set_config for one transaction', 'mallory', '55P02', q{SELECT set_config('apikeys.notify_channel', '', true)});
refused('ALTER ROLE SET', 'mallory', '42501|55P02', q{ALTER ROLE mallory SET apikeys.notify_channel = ''});
refused('ALTER DATABASE SET', 'mallory', $denied, q{ALTER DATABASE postgres SET apikeys.cache = off});
refused('ALTER SYSTEM', 'mallory', $denied, q{ALTER SYSTEM SET apikeys.notify_channel = ''});
refused('a function with the setting', 'mallory', '42501|55P02', q{
	CREATE FUNCTION public.quiet_mallory() RETURNS void LANGUAGE sql SET apikeys.notify_channel = '' AS 'SELECT'});
refused('GRANT SET ON PARAMETER', 'mallory', $denied, 'GRANT SET ON PARAMETER apikeys.notify_channel TO mallory');
refused('session_replication_role', 'max', $denied, 'SET session_replication_role = replica');
refused('log_statement', 'mallory', $denied, q{SET log_statement = 'all'});
refused('pg_reload_conf', 'mallory', $denied, 'SELECT pg_reload_conf()');

# Becoming somebody else.
refused('SET ROLE', 'mallory', $denied, 'SET ROLE postgres');
refused('SET ROLE to another level', 'mallory', $denied, 'SET ROLE max');
refused('set_config of role', 'mallory', $denied, q{SELECT set_config('role', 'max', false)});
refused('SET SESSION AUTHORIZATION', 'mallory', $denied, 'SET SESSION AUTHORIZATION postgres');
refused('a superuser of himself', 'mallory', $denied, 'ALTER ROLE mallory SUPERUSER');
refused('CREATE ROLE', 'mallory', $denied, 'CREATE ROLE helper IN ROLE max');
refused('member of the owner', 'mallory', $denied, 'GRANT postgres TO mallory');
refused('member of who manages', 'mallory', $denied, 'GRANT max TO mallory');
refused('member of pg_read_server_files', 'mallory', $denied, 'GRANT pg_read_server_files TO mallory');
refused('GRANT on a function', 'mallory', $denied, 'GRANT EXECUTE ON FUNCTION apikey_list TO mallory');
refused('GRANT on a table', 'max', $denied, 'GRANT ALL ON apikeys_data.key TO max');
refused('apikey_grant', 'mallory', $denied, q{SELECT apikey_grant('mallory', 'manage')});
refused('apikey_grant', 'max', $denied, q{SELECT apikey_grant('mallory', 'manage')});
refused('apikey_revoke_grant', 'max', $denied, q{SELECT apikey_revoke_grant('app', 'verify')});
refused('GRANT of all that he has', 'max', $denied, q{GRANT ALL ON ALL FUNCTIONS IN SCHEMA keys TO mallory});
refused('default privileges of the owner', 'mallory', $denied, 'ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT SELECT ON TABLES TO mallory');
in_vain('default privileges of his own', 'mallory', '', 'ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO mallory');
refused('DROP OWNED', 'mallory', $denied, 'DROP OWNED BY postgres');
refused('REASSIGN OWNED', 'mallory', $denied, 'REASSIGN OWNED BY postgres TO mallory');
refused('an identity by set_config', 'mallory', '42602', q{SELECT set_config('apikeys.current_id', '1', false)});
refused('an identity by SET', 'mallory', '42602', q{SET apikeys.user_id = '00000000-0000-0000-0000-000000000001'});

# No identity before a login; where there are no such functions yet, that is an answer as well.
foreach my $function (qw(apikey_current_id apikey_current_root_id apikey_current_user_id apikey_current_team_id apikey_current_external_id))
{
	my ($stdout, $stderr) = try('mallory', qq{
		SELECT set_config('request.headers', '{"x-api-key": "theirs"}', false) \\g /dev/null
		SELECT set_config('request.jwt.claims', '{"sub": "$id"}', false) \\g /dev/null
		SELECT coalesce($function()::text, 'nobody')});
	ok($stdout eq 'nobody' && harmless('mallory', $stdout, $stderr), "mallory: $function by request.*");
}
refused('apikey_login with what is known of a key', 'mallory', '28000', qq{SELECT apikey_login('theirs')});

# Code of his own.
refused('our C under his own name', 'mallory', $denied, q{
	CREATE FUNCTION public.mine(text) RETURNS void LANGUAGE c AS '$libdir/apikeys', 'apikey_generate'});
refused('C that does not exist', 'mallory', $denied, q{CREATE FUNCTION public.mine() RETURNS void LANGUAGE c AS '/tmp/mine.so', 'mine'});
refused('LANGUAGE internal', 'mallory', $denied, q{CREATE FUNCTION public.mine() RETURNS void LANGUAGE internal AS 'pg_reload_conf'});
refused('an untrusted language', 'mallory', '42501|0A000|58P01', 'CREATE EXTENSION plperlu');
refused('LOAD', 'mallory', $denied, q{LOAD 'apikeys'});
refused('session_preload_libraries', 'mallory', $denied, q{ALTER ROLE mallory SET session_preload_libraries = 'apikeys'});
refused('an event trigger', 'mallory', $denied, q{
	CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'fired'; END$$;
	CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION public.on_ddl()});
refused('SECURITY DEFINER of his own', 'mallory', $denied, q{
	CREATE FUNCTION public.as_mallory() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM keys.apikey_list()'; SELECT public.as_mallory()});
refused('SECURITY DEFINER around a function', 'mallory', $denied, q{
	CREATE FUNCTION public.count_mallory() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN keys.apikey_count(); END'; SELECT public.count_mallory()});
refused('CREATE OR REPLACE of ours', 'mallory', $denied, q{
	CREATE OR REPLACE FUNCTION keys.apikey_release(reservation uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true'});
refused('ALTER FUNCTION OWNER', 'mallory', $denied, 'ALTER FUNCTION apikey_release OWNER TO mallory');
refused('ALTER FUNCTION SET', 'mallory', $denied, 'ALTER FUNCTION apikey_release SET search_path = public');
refused('ALTER FUNCTION RENAME', 'mallory', $denied, 'ALTER FUNCTION apikey_release RENAME TO apikey_old');
refused('ALTER FUNCTION SECURITY DEFINER', 'mallory', $denied, 'ALTER FUNCTION apikey_list SECURITY DEFINER');
refused('DROP FUNCTION', 'mallory', $denied, 'DROP FUNCTION apikey_release');
refused('ALTER EXTENSION ADD', 'mallory', $denied, q{
	CREATE FUNCTION public.member_mallory() RETURNS void LANGUAGE sql AS ''; ALTER EXTENSION apikeys ADD FUNCTION public.member_mallory()});
refused('ALTER EXTENSION DROP', 'mallory', $denied, 'ALTER EXTENSION apikeys DROP FUNCTION apikey_release(uuid)');
refused('ALTER EXTENSION UPDATE', 'mallory', $denied, 'ALTER EXTENSION apikeys UPDATE');
refused('DROP EXTENSION', 'mallory', $denied, 'DROP EXTENSION apikeys CASCADE');
refused('DROP EXTENSION pgcrypto', 'mallory', $denied, 'DROP EXTENSION pgcrypto CASCADE');
refused('another digest()', 'mallory', $denied, q{
	CREATE OR REPLACE FUNCTION keys.digest(bytea, text) RETURNS bytea LANGUAGE sql AS $$SELECT ''::bytea$$});
refused('a cast', 'mallory', $denied, q{CREATE CAST (text AS json) WITH INOUT AS IMPLICIT});
refused('a base type', 'mallory', $denied, q{CREATE TYPE public.evil (INPUT = textin, OUTPUT = textout)});
refused('an operator class', 'mallory', $denied, q{
	CREATE OPERATOR CLASS public.evil DEFAULT FOR TYPE uuid USING btree AS STORAGE uuid});

# What is inside, directly.
foreach my $call ('read_stats()', "last_use('$id')", "last_used_ip('$id', now(), NULL)", "try_lock_use('$id')", "check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, '', NULL, 'x', now(), NULL, NULL)",
	'utc_today()', 'effective_status(NULL, NULL, true)', 'ends_at(now(), NULL, NULL)', "period_at(now(), NULL, now())", "check_budget('x', 1, NULL, NULL, '{}', NULL, now(), 'UTC', '{}')",
	"check_plan('x', '{}', '{}', NULL)",
	'check_usage_entry(NULL, 1, 1, 1, NULL, NULL)', "check_usage_request('r', 1, 1, NULL, NULL, NULL)")
{
	refused("apikeys.$call", 'mallory', $denied, "SELECT apikeys.$call");
}
refused('check_key', 'max', $denied, q{SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, '', NULL, 'x', now(), NULL, NULL)});
refused('try_lock_use', 'max', $denied, "SELECT apikeys.try_lock_use('$id')");
refused('invalidate_caches as a trigger of his own', 'max', $denied, q{
	CREATE TABLE public.mine (x int); CREATE TRIGGER t BEFORE UPDATE ON public.mine FOR EACH ROW EXECUTE FUNCTION apikeys.invalidate_caches()});
refused('replace_installed_plan as a trigger of his own', 'max', $denied, q{
	CREATE TABLE public.my_plans (name text, installed bool); CREATE TRIGGER t BEFORE INSERT ON public.my_plans FOR EACH ROW EXECUTE FUNCTION apikeys.replace_installed_plan()});
refused('notify_event as a trigger of his own', 'max', $denied, q{
	CREATE TABLE public.mine_too (x int); CREATE TRIGGER t AFTER INSERT ON public.mine FOR EACH ROW EXECUTE FUNCTION apikeys.notify_event()});
refused('plan_notices as a trigger of his own', 'max', $denied, q{
	CREATE TABLE public.mine_also (x int); CREATE TRIGGER t AFTER INSERT ON public.mine_also FOR EACH ROW EXECUTE FUNCTION apikeys.plan_notices()});
foreach my $call ('apikey_list()', "apikey_get('$id')", 'apikey_count()', "apikey_usage('$id')", "apikey_usage_history('$id')", "apikey_limits('$id')",
	'apikey_events()', "apikey_generate('mine')", "apikey_rotate('$id')", "apikey_revoke('$id')", "apikey_update('$id', '{}')", "apikey_delete('$id')",
	"apikey_identify('own-key')", "apikey_scan('own-key')", "apikey_revoke_raw('own-key')",
	"apikey_record_usage('$id')", 'apikey_flush()', 'apikey_cleanup_expired()', "apikey_budget_create('x', 1)",
	"apikey_plan_set('admin')", "apikey_plan_delete('admin')")
{
	refused("$call", 'mallory', $denied, "SELECT $call");
}
refused('apikey_verify without a level', 'nora', $denied, q{SELECT apikey_verify('own-key')});
refused('a view of his own on a reader', 'mallory', $denied, 'CREATE VIEW public.v_mallory AS SELECT * FROM keys.apikey_count(); SELECT * FROM public.v_mallory');
refused('a policy of his own on a reader', 'mallory', $denied, q{
	CREATE TABLE public.rls (id int);
	ALTER TABLE public.rls ENABLE ROW LEVEL SECURITY; ALTER TABLE public.rls FORCE ROW LEVEL SECURITY;
	CREATE POLICY p ON public.rls USING (keys.apikey_count() > 0);
	INSERT INTO public.rls VALUES (1);
	SELECT * FROM public.rls});
refused('COPY of a reader', 'mallory', $denied, 'COPY (SELECT * FROM apikey_list()) TO STDOUT');
refused('members that an update does not have', 'max', '22023', qq{SELECT apikey_update('$id', '{"$_": null}')})
  foreach qw(id root_id key_hash hash_secret revoked_at created_at key_prefix);
refused('a row that fails its checks', 'max', '22023', qq{SELECT apikey_update('$id', '{"permissions": {"is_admin": "x"}}')});
refused('NaN', 'max', '22023', "SELECT apikey_record_usage('$id', 1, 'NaN')");
refused('infinity', 'max', '22023', "SELECT apikey_record_usage('$id', 1, '-infinity')");
refused('a hash that is known', 'max', '23505', "SELECT apikey_import('\\x$hash', 'x', 'x')");

# Objects in the way of names.
in_vain('temporary objects and a search_path', 'mallory', 'VALID', q{
	SET client_min_messages = warning;
	CREATE TEMPORARY TABLE key (id uuid);
	CREATE TEMPORARY TABLE event (id bigint);
	CREATE TEMPORARY VIEW info AS SELECT 1 AS id;
	CREATE FUNCTION public.fire_mallory(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'fired as %', current_user; INSERT INTO public.notes VALUES ($1); RETURN true; END$$;
	CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (public.fire_mallory('text'));
	CREATE DOMAIN pg_temp.uuid AS pg_catalog.uuid CHECK (public.fire_mallory('uuid'));
	CREATE DOMAIN pg_temp.jsonb AS pg_catalog.jsonb CHECK (public.fire_mallory('jsonb'));
	CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN PERFORM public.fire_mallory('now'); RETURN NULL; END$$;
	CREATE FUNCTION pg_temp.digest(bytea, pg_catalog.text) RETURNS bytea LANGUAGE plpgsql AS $$BEGIN PERFORM public.fire_mallory('digest'); RETURN NULL; END$$;
	CREATE FUNCTION public.equal_mallory(bytea, bytea) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RETURN public.fire_mallory('='); END$$;
	CREATE OPERATOR public.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = public.equal_mallory);
	SET search_path = pg_temp, public, pg_catalog;
	SELECT code FROM keys.apikey_verify('own-key'::pg_catalog.text)});
in_vain('a planted function of our name, against a caller who looks into keys first', 'mallory', '', q{
	CREATE FUNCTION public.apikey_verify(raw_key text, OUT code text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.notes VALUES (raw_key); code := 'VALID'; END$$});
is($node->safe_psql('postgres', q{SELECT code FROM apikey_verify('theirs-key')}, extra_params => [ '-U', 'app' ]), 'VALID', 'app: is answered');
is($node->safe_psql('postgres', 'SELECT count(*) FROM public.notes'), '0', 'app: its key has not been taken down');
my (undef, undef, $warning) = $node->psql('postgres', q{
	BEGIN; GRANT CREATE ON SCHEMA keys TO PUBLIC; SELECT apikey_grant('app', 'verify'); ROLLBACK});
like($warning, qr/WARNING:  role app may create functions in schema keys/, 'the owner is warned of who could plant a function before ours');
$before = fingerprint();

# What is known of a key opens nothing, and is answered like nonsense.
{
	my $nonsense = $node->safe_psql('postgres', q{SELECT v FROM apikey_verify('nonsense') v});
	foreach my $known ($id, 'theirs', 'theirs-...', $hash, "\\x$hash", "gw-$hash", "theirs-key\n", ' theirs-key', 'THEIRS-KEY', '', 'x' x 1_000_000)
	{
		(my $shown = substr $known, 0, 12) =~ s/\W/./g;
		in_vain("apikey_verify of '$shown'", 'mallory', $nonsense, "SELECT v FROM apikey_verify('$known') v");
	}
	in_vain('apikey_verify of NULL', 'mallory', $nonsense, 'SELECT v FROM apikey_verify(NULL) v');
}
$before = fingerprint();

# Reservations of others: the first eight digits of an id say where it is held.
{
	my $reservation = $node->safe_psql('postgres', q{SELECT reservation FROM apikey_verify('theirs-key', reserve => true)});
	my ($where, $random) = $reservation =~ /^(.{8})(.*)$/;

	in_vain('10,000 ids guessed', 'mallory', '0', qq{
		SELECT count(*) FILTER (WHERE apikey_release(id)) FROM (
			SELECT ('$where' || substr(gen_random_uuid()::text, 9))::uuid FROM generate_series(1, 5000)
			UNION ALL SELECT gen_random_uuid() FROM generate_series(1, 5000)) g(id)});
	in_vain('the right digits in another place', 'mallory', '0', qq{
		SELECT count(*) FILTER (WHERE apikey_release((lpad(to_hex(n), 8, '0') || '$random')::uuid))
		FROM generate_series(0, 1000) n WHERE lpad(to_hex(n), 8, '0') <> '$where'});
	in_vain('one digit is wrong', 'mallory', '0', qq{
		SELECT count(*) FILTER (WHERE apikey_release(overlay('$reservation' placing to_hex(d) from p)::uuid))
		FROM generate_series(1, 36) p, generate_series(0, 15) d
		WHERE substr('$reservation', p, 1) NOT IN ('-', to_hex(d))});
	in_vain('edges', 'mallory', 'f|f|f', qq{
		SELECT apikey_release('00000000-0000-0000-0000-000000000000'),
		       apikey_release('ffffffff-ffff-ffff-ffff-ffffffffffff'), apikey_release('7fffffff$random')});
	is($node->safe_psql('postgres', "SELECT apikey_release('$reservation')"), 't', 'it was held all the time');
}

# In the way of others.
{
	my $held = $node->background_psql('postgres', extra_params => [ '-U', 'mallory' ], on_error_stop => 0);
	$held->query_safe(q{BEGIN; SELECT pg_advisory_xact_lock(0), pg_advisory_xact_lock(0, 0), pg_advisory_xact_lock(169), pg_advisory_xact_lock(0, 169)});
	$held->query_safe(q{SELECT code FROM apikey_verify('own-key')});
	my $work = q{
		SET lock_timeout = '10s';
		SELECT apikey_flush() >= 0 AND (apikey_update(id, '{"enabled": true}')).name = 'own' FROM apikeys_data.key WHERE name = 'own'};

	is($node->safe_psql('postgres', $work), 't', 'mallory: neither advisory locks nor an open transaction keep anybody');
	$held->query_safe('COMMIT');
	$held->quit;

	try('mallory', q{BEGIN; SELECT code FROM apikey_verify('own-key'); SELECT pg_advisory_xact_lock(0); PREPARE TRANSACTION 'mallory'});
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '1', 'mallory: a prepared transaction');
	is($node->safe_psql('postgres', $work), 't', 'mallory: it keeps nobody');
	$node->safe_psql('postgres', q{ROLLBACK PREPARED 'mallory'});
}
$before = fingerprint();
{
	my $other = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $other->query_safe(q{SELECT 'Theirs, Incorporated' \g /dev/null
		SELECT pg_backend_pid()});

	in_vain('queries of others', 'mallory', '<insufficient privilege>', "SELECT query FROM pg_stat_activity WHERE pid = $pid");
	in_vain('queries of others, by function', 'mallory', '<insufficient privilege>', "SELECT query FROM pg_stat_get_activity($pid)");
	refused('pg_terminate_backend', 'mallory', $denied, "SELECT pg_terminate_backend($pid)");
	refused('pg_cancel_backend', 'mallory', $denied, "SELECT pg_cancel_backend($pid)");
	refused('pg_terminate_backend of our worker', 'mallory', $denied, sprintf 'SELECT pg_terminate_backend(%d)',
		$node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'apikeys launcher'}));
	refused('pg_log_backend_memory_contexts', 'mallory', $denied, "SELECT pg_log_backend_memory_contexts($pid)");
	refused('pg_backend_memory_contexts', 'mallory', $denied, 'SELECT * FROM pg_backend_memory_contexts');
	refused('pg_shmem_allocations', 'mallory', $denied, 'SELECT * FROM pg_shmem_allocations');
	refused('a replication slot', 'mallory', '42501|55000', q{SELECT pg_create_logical_replication_slot('s', 'test_decoding')});
	$other->quit;
}

# Whoever knows the channel hears; nobody is told its name.
{
	my $listener = $node->background_psql('postgres', extra_params => [ '-U', 'mallory' ], on_error_stop => 0);
	$listener->query_safe(qq{LISTEN "$_"}) foreach qw(apikeys apikeys_data.event apikeys_event apikeys_events events event apikeys.notify_channel);
	my $owner = $node->background_psql('postgres', on_error_stop => 0);
	$owner->query_safe(qq{LISTEN $channel});
	$node->safe_psql('postgres', q{SELECT apikey_update(id, '{"name": "theirs"}') FROM apikeys_data.key WHERE name = 'theirs'});
	like($owner->query('SELECT 1'), qr/Asynchronous notification "$channel"/, 'who knows the channel hears of a change');
	unlike($listener->query('SELECT 1'), qr/Asynchronous notification/, 'mallory: hears nothing');
	$owner->quit;
	$listener->quit;
}
$before = fingerprint();
in_vain('NOTIFY of his own makes no event', 'mallory', '', qq{NOTIFY "$channel", '{"action": "revoke"}'});

# Default privileges of the owner, made for other things, give no rights here.
{
	my ($db, $gone) = ('defaults', 'apikeys_test_"defaults"');

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	(my $role = $gone) =~ s/"/""/g;
	$node->safe_psql($db, "CREATE ROLE \"$role\"");
	foreach my $to ('PUBLIC', 'mallory WITH GRANT OPTION', "\"$role\"")
	{
		$node->safe_psql($db, join ';', map { "ALTER DEFAULT PRIVILEGES $_ TO $to" }
			'GRANT EXECUTE ON FUNCTIONS', 'GRANT ALL ON TABLES', 'GRANT ALL ON SEQUENCES', 'GRANT ALL ON SCHEMAS',
			'IN SCHEMA public GRANT EXECUTE ON FUNCTIONS');
	}
	add_extension($node, $db);
	is($node->safe_psql($db, q{
		WITH member AS (SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
						WHERE d.deptype = 'e' AND e.extname = 'apikeys'),
			 object AS (SELECT p.oid::regprocedure::text AS name, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl, p.proowner AS owner
						FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
						UNION ALL
						SELECT c.relname, c.relacl, c.relowner FROM pg_class c WHERE c.relnamespace IN ('apikeys'::regnamespace, 'apikeys_data'::regnamespace)
						UNION ALL
						SELECT n.nspname, n.nspacl, n.nspowner FROM pg_namespace n WHERE n.nspname IN ('apikeys', 'apikeys_data'))
		SELECT count(DISTINCT o.name) > 60, string_agg(o.name, ' ') FILTER (WHERE a.grantee NOT IN (o.owner, 'pg_monitor'::regrole)),
			   string_agg(o.name, ' ' ORDER BY o.name) FILTER (WHERE a.grantee = 'pg_monitor'::regrole)
		FROM object o LEFT JOIN LATERAL aclexplode(o.acl) a ON true}),
		't||apikeys apikeys.read_feed() apikeys.read_servers() apikeys.read_stats() servers stats', 'default privileges of the owner give no right on what apikeys makes');
	$node->safe_psql('postgres', "DROP DATABASE $db");
}

# Who owns what apikeys depends on can drop it, and apikeys with it: the owner
# is told when it is made.
{
	$node->safe_psql('postgres', 'CREATE DATABASE depends; GRANT CREATE ON DATABASE depends TO mallory');
	$node->safe_psql('depends', 'CREATE SCHEMA hers; CREATE EXTENSION pgcrypto SCHEMA hers', extra_params => [ '-U', 'mallory' ]);
	(undef, undef, $warning) = $node->psql('depends', 'CREATE EXTENSION apikeys');
	is(join(' ', $warning =~ /WARNING:  role mallory owns (.*)/g), 'extension pgcrypto schema hers',
		'the owner is warned of who could drop the extension');
	(undef, undef, $warning) = $node->psql('depends', q{
		DROP EXTENSION pgcrypto CASCADE; CREATE EXTENSION apikeys CASCADE});
	unlike($warning, qr/WARNING/, 'but not of superusers and the owner of the database');
	$node->safe_psql('postgres', 'DROP DATABASE depends');
}

# After all this the rightful go on as before.
is(verify($node, 'postgres', 'theirs'), 'VALID', 'the key of others is good');
is($node->safe_psql('postgres', q{SELECT count(*) FROM apikey_events() WHERE acting_role IN ('mallory', 'nora')}), '0', 'and no event is hers');

$_->quit foreach $watcher, values %session;
$node->stop;
done_testing();
