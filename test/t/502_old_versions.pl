
# Each version of the extension works with this library: who has installed the
# new package keeps the old SQL until ALTER EXTENSION UPDATE.  The scripts of
# released versions lie in sql/released/.  After the update all is as in a new
# installation; also with that to "next", a version that is yet to come, which
# test/update/ makes up.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main');
my $default = $node->safe_psql('postgres', "SELECT extversion FROM pg_extension WHERE extname = 'apikeys'");
my @versions = split /\n/, $node->safe_psql('postgres',
	"SELECT version FROM pg_available_extension_versions WHERE name = 'apikeys' ORDER BY version");

ok((grep { $_ eq $default } @versions), "version $default can be installed");
foreach my $file (glob "$FindBin::RealBin/../../sql/released/apikeys--*.sql")
{
	my ($released) = $file =~ /apikeys--(.*)\.sql$/;

	ok((grep { $_ eq $released } @versions), "version $released can be installed")
	  unless $released =~ /--/;
}
$node->safe_psql('postgres', 'CREATE ROLE app; CREATE ROLE reader; CREATE ROLE manager; CREATE ROLE stranger');

# Under default privileges that give everything to somebody, which must not count.
sub install
{
	my ($dbname, $version) = @_;

	$node->safe_psql('postgres', qq{CREATE DATABASE "$dbname"});
	$node->safe_psql($dbname, qq{
		ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO stranger;
		ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO stranger;
		ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO stranger;
		SET client_min_messages = warning;
		CREATE EXTENSION apikeys VERSION '$version' CASCADE});
}

# What everybody calls, in a database that has a version.
sub try_life
{
	my ($dbname, $what) = @_;
	my ($id, $raw_key) = split /\|/, $node->safe_psql($dbname,
		qq{SELECT * FROM apikey_generate('$what', rate_limits => '{"requests_per_minute": 2}')});

	is($node->safe_psql($dbname, "SELECT string_agg(v.code, ' ') FROM generate_series(1, 3) n, LATERAL apikey_verify('$raw_key', model => n::text) v"),
		'VALID VALID RATE_LIMITED', "$what: verify, up to a limit");
	is($node->safe_psql($dbname, "SELECT apikey_record_usage('$id', 3, 0.5); SELECT total_tokens, total_cost FROM apikey_usage('$id')"),
		"t\n3|0.5", "$what: usage");
	my $next = $node->safe_psql($dbname, "SELECT raw_key FROM apikey_rotate('$id')");
	is($node->safe_psql($dbname, "SELECT apikey_check('$raw_key'), apikey_check('$next')"),
		'REVOKED|RATE_LIMITED', "$what: rotate");
	is($node->safe_psql($dbname, "SELECT (apikey_update(id, '{\"name\": \"other\"}')).name, apikey_revoke(id) FROM apikeys.info WHERE rotated_from = '$id'; SELECT apikey_check('$next')"),
		"other|\nREVOKED", "$what: update and revoke");
	is($node->safe_psql($dbname, "SELECT count(*) FROM apikeys.info"), $node->safe_psql($dbname, 'SELECT apikey_count()'), "$what: count");
	$node->safe_psql($dbname, 'SELECT apikey_flush()');
	is_sound($node, $dbname, $what);
}

# All that a database has of the extension, in lines.
sub objects
{
	my ($dbname) = @_;

	return $node->safe_psql($dbname, q{
		WITH member AS (
			SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS name
			FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
			WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'apikeys')
		SELECT m.name, obj_description(m.objid, m.classid::regclass::name) FROM member m
		UNION ALL SELECT m.name || ' is', pg_get_functiondef(p.oid)
			FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
		UNION ALL SELECT m.name || ' is', pg_get_viewdef(c.oid)
			FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'v'
		UNION ALL SELECT m.name || ' may be used', a.acl::text
			FROM member m, LATERAL (
				SELECT p.proacl FROM pg_proc p WHERE m.classid = 'pg_proc'::regclass AND p.oid = m.objid
				UNION ALL SELECT c.relacl FROM pg_class c WHERE m.classid = 'pg_class'::regclass AND c.oid = m.objid
				UNION ALL SELECT t.typacl FROM pg_type t WHERE m.classid = 'pg_type'::regclass AND t.oid = m.objid
				UNION ALL SELECT n.nspacl FROM pg_namespace n WHERE m.classid = 'pg_namespace'::regclass AND n.oid = m.objid) a(acl)
		UNION ALL SELECT m.name || ' was to be used', i.initprivs::text
			FROM member m JOIN pg_init_privs i ON i.classoid = m.classid AND i.objoid = m.objid AND i.objsubid = 0
		UNION ALL SELECT format('column %s of %s', row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), m.name),
				format('%s %s %s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
					pg_get_expr(d.adbin, d.adrelid), a.attacl, col_description(c.oid, a.attnum))
			FROM member m
			JOIN pg_class c ON c.oid = CASE m.classid WHEN 'pg_class'::regclass THEN m.objid
				WHEN 'pg_type'::regclass THEN (SELECT t.typrelid FROM pg_type t WHERE t.oid = m.objid) END
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		UNION ALL SELECT m.name || ' has', format('%s %s', o.conname, pg_get_constraintdef(o.oid))
			FROM member m JOIN pg_constraint o ON m.classid = 'pg_class'::regclass AND o.conrelid = m.objid
		UNION ALL SELECT m.name || ' has', pg_get_indexdef(x.indexrelid)
			FROM member m JOIN pg_index x ON m.classid = 'pg_class'::regclass AND x.indrelid = m.objid
		UNION ALL SELECT m.name || ' has', format('%s %s', t.tgenabled, pg_get_triggerdef(t.oid))
			FROM member m JOIN pg_trigger t ON m.classid = 'pg_class'::regclass AND t.tgrelid = m.objid AND NOT t.tgisinternal
		UNION ALL SELECT m.name || ' has', string_agg(n.enumlabel, ' ' ORDER BY n.enumsortorder)
			FROM member m JOIN pg_enum n ON m.classid = 'pg_type'::regclass AND n.enumtypid = m.objid GROUP BY m.name
		UNION ALL SELECT 'dumped', format('%s %s', t.id::regclass, t.condition)
			FROM pg_extension e, unnest(e.extconfig, e.extcondition) t(id, condition) WHERE e.extname = 'apikeys'
		UNION ALL SELECT 'check: ' || object, property || ' ' || value FROM apikeys_data.installed_state
		ORDER BY 1, 2});
}

# Passes if two databases have the same of the extension; shows the first that differ.
sub same_objects
{
	my ($got, $expected, $test_name) = @_;
	my @got = split /\n/, objects($got);
	my @expected = split /\n/, objects($expected);
	my (%got, %expected);
	@got{@got} = @expected{@expected} = ();
	my @differ = (map({ "missing: $_" } grep { !exists $got{$_} } @expected), map({ "too much: $_" } grep { !exists $expected{$_} } @got));

	cmp_ok(scalar @expected, '>', 1000, "control: $test_name");
	is(join("\n", splice @differ, 0, 10), '', $test_name);
}

# ------------------------------------------------------------------ versions

foreach my $version (@versions)
{
	install("version $version", $version);
	try_life("version $version", $version);
}

# ------------------------------------------------------------------- updates

my $grants = q{SELECT apikey_grant('app', 'verify'), apikey_grant('reader', 'read'), apikey_grant('manager', 'manage')};

# Keys, rights, a policy and a function of the user's, from before the update.
sub use_it
{
	my ($dbname) = @_;

	return split /\|/, $node->safe_psql($dbname, qq{
		CREATE TABLE note (owner_id uuid, body text);
		ALTER TABLE note ENABLE ROW LEVEL SECURITY;
		CREATE POLICY tenant ON note USING (owner_id = (SELECT apikey_current_user_id()));
		CREATE VIEW expiring AS SELECT * FROM apikeys.info WHERE expires_at < now() + interval '7 days';
		CREATE FUNCTION is_valid(key text) RETURNS boolean BEGIN ATOMIC SELECT v.valid FROM apikey_verify(key) v; END;
		$grants \\gset
		GRANT SELECT ON note TO app;
		INSERT INTO note SELECT gen_random_uuid(), 'of somebody else';
		SELECT gen_random_uuid() AS owner \\gset
		INSERT INTO note VALUES (:'owner', 'mine');
		SELECT raw_key, id, :'owner' FROM apikey_generate('before', user_id => :'owner', plan => 'standard',
			budget_id => apikey_budget_create('before', 10), expires_at => now() + interval '1 day')});
}

# The rights of others than the owner.
sub rights
{
	my ($dbname) = @_;

	return $node->safe_psql($dbname, q{
		SELECT o.oid::regproc::text, a.grantee::regrole, a.privilege_type
		FROM pg_proc o, aclexplode(o.proacl) a WHERE a.grantee <> o.proowner AND o.proname ~ 'apikey'
		UNION ALL
		SELECT o.oid::regclass::text, a.grantee::regrole, a.privilege_type
		FROM pg_class o, aclexplode(o.relacl) a WHERE a.grantee <> o.relowner AND o.relnamespace::regnamespace::text ~ 'apikeys'
		ORDER BY 1, 2, 3});
}

my $keys = 'SELECT id, key_prefix, name, status, user_id, plan, budget_id, expires_at, created_at FROM apikeys.info';
my @paths = split /\n/, $node->safe_psql('postgres', qq{
	SELECT source || ' ' || target FROM pg_extension_update_paths('apikeys')
	WHERE path IS NOT NULL AND target IN ('$default', 'next') ORDER BY 1});

ok((grep { $_ eq "$default next" } @paths), 'control: there is an update to the next version');
foreach my $path (@paths)
{
	my ($from, $to) = split / /, $path;
	my $dbname = "from $from to $to";

	install($dbname, $from);
	my ($raw_key, $id, $owner) = use_it($dbname);
	my $rights = rights($dbname);
	my $info = $node->safe_psql($dbname, $keys);

	# In a session that has plans and cached keys.
	like($rights, qr/^apikey_plan_delete\|manager\|EXECUTE$/m, "control: $dbname: a role has rights");
	is($node->safe_psql($dbname, qq{
			SELECT is_valid('$raw_key'), apikey_check('$raw_key'), name FROM apikey_get('$id');
			BEGIN;
			ALTER EXTENSION apikeys UPDATE TO '$to';
			$grants \\gset
			COMMIT;
			SELECT is_valid('$raw_key'), apikey_check('$raw_key'), name FROM apikey_get('$id')}),
		"t|VALID|before\nt|VALID|before", "$dbname: a session goes on");
	is(rights($dbname), $rights, "$dbname: rights stay");
	is($node->safe_psql($dbname, $keys), $info, "$dbname: ... and keys");
	is($node->safe_psql($dbname, qq{SET ROLE app; BEGIN; SELECT name FROM apikey_login('$raw_key'); SELECT body FROM note}),
		"before\nmine", "$dbname: policies work");
	try_life($dbname, $dbname);
	$node->safe_psql($dbname, q{
		SELECT apikey_revoke_grant('app', 'verify'), apikey_revoke_grant('reader', 'verify'), apikey_revoke_grant('manager', 'verify')});
	same_objects($dbname, "version $to", "$dbname: all is as in a new installation");
}

# What was broken before is not forgotten.
install('broken', $default);
$node->safe_psql('broken', q{ALTER TABLE apikeys_data.key DISABLE TRIGGER ALL});
my $problems = $node->safe_psql('broken', 'SELECT count(*) FROM apikeys.check()');
cmp_ok($problems, '>', 0, 'control: triggers are switched off');
$node->safe_psql('broken', "ALTER EXTENSION apikeys UPDATE TO 'next'");
is($node->safe_psql('broken', 'SELECT count(*) FROM apikeys.check()'), $problems, 'an update does not forget what was broken before');

$node->stop;
done_testing();
