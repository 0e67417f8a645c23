
# Behind a real pgbouncer in transaction mode, twenty clients with different
# keys on two server connections: no transaction ever sees another's identity.
#
# Violations are counted by a sequence, which no rollback takes back.  A
# control, an identity that is kept in a setting of the session, shows that the
# test would see them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($program) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'pgbouncer is not installed' unless $program;

my ($nclients, $ntransactions) = (20, 10_000);
my $nconnections = 2;

my $node = start_node('main');
$node->safe_psql(
	'postgres', qq{
	SELECT apikey_import(digest('client ' || i, 'sha256'), 'client ' || i, i || '-...', external_id => i::text,
	                     user_id => md5(i::text)::uuid)
	FROM generate_series(0, $nclients - 1) i;

	CREATE ROLE app LOGIN;
	GRANT EXECUTE ON FUNCTION apikey_login, apikey_logout, apikey_current_external_id, apikey_current_user_id TO app;
	CREATE TABLE note (owner uuid, body text);
	INSERT INTO note SELECT md5(i::text)::uuid, i FROM generate_series(0, $nclients - 1) i, generate_series(1, 3);
	ALTER TABLE note ENABLE ROW LEVEL SECURITY;
	CREATE POLICY tenant ON note USING (owner = (SELECT apikey_current_user_id()));
	GRANT SELECT, INSERT ON note TO app;

	CREATE SEQUENCE checks MINVALUE 0 START 0;
	CREATE SEQUENCE violations MINVALUE 0 START 0;
	CREATE TABLE served (pid integer DEFAULT pg_backend_pid(), client text);
	GRANT ALL ON SEQUENCE checks, violations TO app;
	GRANT INSERT ON served TO app;

	-- Is this transaction the client's, and are these his rows?  NULL: nobody's.
	CREATE FUNCTION check_identity(client text) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		PERFORM nextval('checks');
		IF apikey_current_external_id() IS DISTINCT FROM client
			OR apikey_current_user_id() IS DISTINCT FROM md5(client)::uuid
			OR (SELECT count(*) FROM note WHERE body IS DISTINCT FROM client) <> 0
			OR ((SELECT count(*) FROM note) > 0) <> (client IS NOT NULL)
		THEN
			PERFORM nextval('violations');
		END IF;
	END \$\$;

	-- The control asks the same of the session's setting.
	CREATE FUNCTION check_setting(client text) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		PERFORM nextval('checks');
		IF nullif(current_setting('app.client', true), '') IS DISTINCT FROM client THEN
			PERFORM nextval('violations');
		END IF;
	END \$\$;

	-- A serialization failure is an error that pgbench goes on after.
	CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS \$\$BEGIN RAISE SQLSTATE '40001'; END\$\$});

# --------------------------------------------------------------- pgbouncer

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $port = PostgreSQL::Test::Cluster::get_free_port();
append_to_file("$dir/pgbouncer.ini", qq{
[databases]
postgres = host=${\$node->host} port=${\$node->port} user=app
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = any
pool_mode = transaction
default_pool_size = $nconnections
max_client_conn = 100
ignore_startup_parameters = extra_float_digits
});

my ($out, $err) = ('', '');
my $bouncer = IPC::Run::start([ $program, "$dir/pgbouncer.ini" ], '<', \undef, '>', \$out, '2>', \$err);

END
{
	my $status = $?;
	$bouncer->kill_kill if $bouncer;
	$? = $status;
}

sub through_bouncer
{
	my ($query) = @_;
	my ($stdout, $stderr) = ('', '');

	IPC::Run::run(
		[
			$node->installed_command('psql'), '-X', '-A', '-t', '-q',
			'-d', "host=$dir port=$port dbname=postgres", '-c', $query
		],
		'<', \undef, '>', \$stdout, '2>', \$stderr);
	chomp $stdout;
	return $stdout;
}
wait_until('pgbouncer answers', sub { through_bouncer('SELECT current_user') eq 'app' });

# -------------------------------------------------------------------- load

# Runs a mix of scripts; returns how many transactions were done, how many of
# them failed on purpose, how many checks were made, and how many were
# violated.
sub run_mix
{
	my ($name, $n, %scripts) = @_;
	my @files;

	$node->safe_psql('postgres', q{SELECT setval('checks', 0, false), setval('violations', 0, false)});
	foreach my $script (sort keys %scripts)
	{
		my $file = $node->basedir . "/$name.$script.sql";

		append_to_file($file, $scripts{$script});
		push @files, '--file', $file;
	}
	my ($stdout, $stderr) = ('', '');
	my $ok = IPC::Run::run(
		[
			$node->installed_command('pgbench'), '--no-vacuum', @files,
			'--client', $nclients,
			'--jobs', 2,
			'--transactions', $n / $nclients,
			'--protocol', 'simple',
			'--random-seed', 4711,
			'--host', $dir,
			'--port', $port, 'postgres'
		],
		'<', \undef, '>', \$stdout, '2>', \$stderr);
	ok($ok, "$name: no client broke off") or diag $stderr;

	my ($done) = $stdout =~ m{transactions actually processed: (\d+)/};
	my ($failed) = $stdout =~ /number of failed transactions: (\d+)/;
	return ($done, $failed // 0, split /\|/, $node->safe_psql('postgres',
			q{SELECT c.last_value + c.is_called::int, v.last_value + v.is_called::int
			  FROM checks c, violations v}));
}

my $login = q{SELECT code FROM apikey_login('client ' || :client_id);};
my $me = q{SELECT check_identity(:client_id::text);};
my $nobody = q{SELECT check_identity(NULL);};

my ($done, $failed, $checks, $violations) = run_mix(
	'login', $ntransactions,
	commit => "BEGIN; $login $me INSERT INTO served (client) VALUES (:client_id); $me COMMIT;",
	rollback => "BEGIN; $login $me INSERT INTO note VALUES (md5(:client_id::text)::uuid, :client_id); $me ROLLBACK;",
	error => "BEGIN; $login $me SELECT fail(); COMMIT;",
	nobody => "BEGIN; $nobody SELECT 1; $nobody COMMIT;",
	autocommit => "$login $nobody",
	savepoint => "BEGIN; SAVEPOINT s; $login $me ROLLBACK TO s; $nobody $login RELEASE s; $me COMMIT;",
	twice => "BEGIN; SELECT code FROM apikey_login('client ' || (:client_id + 1) % $nclients); $login $me COMMIT;",
	logout => "BEGIN; $login $me SELECT apikey_logout(); $nobody COMMIT;",
	chain => "BEGIN; $login $me COMMIT AND CHAIN; $nobody $login $me ROLLBACK AND CHAIN; $nobody COMMIT;",
	statement => "$nobody");

is($done + $failed, $ntransactions, "$ntransactions transactions");
cmp_ok($failed, '>', $ntransactions / 20, 'some of them failed, as they should');
cmp_ok($checks, '>', $ntransactions, 'each was checked');
is($violations, 0, 'none saw another identity');
note "$done done, $failed failed on purpose, $checks checks, $violations violations";

is($node->safe_psql('postgres', 'SELECT count(DISTINCT pid) FROM served'), $nconnections, 'on two server connections');
cmp_ok($node->safe_psql('postgres', 'SELECT min(n) FROM (SELECT count(DISTINCT client) AS n FROM served GROUP BY pid) s'),
	'>', $nclients / 2, 'each of which served most clients');

# ----------------------------------------------------------------- control

($done, $failed, $checks, $violations) = run_mix(
	'setting', $ntransactions / 10,
	commit => q{BEGIN; SELECT set_config('app.client', :client_id::text, false); SELECT check_setting(:client_id::text); COMMIT;},
	nobody => 'BEGIN; SELECT check_setting(NULL); COMMIT;');
cmp_ok($violations, '>', 0, 'control: an identity in a setting of the session is seen by others');
note "control: $done transactions, $checks checks, $violations violations";

$bouncer->signal('INT');
$bouncer->finish;
undef $bouncer;
$node->stop;
done_testing();
