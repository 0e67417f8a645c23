# make installcheck on somebody's server: whatever is set there, it passes, and
# nothing is changed but the databases that it makes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use Cwd;
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
my $isolation_regress = dirname(dirname($ENV{PG_REGRESS})) . '/isolation/pg_isolation_regress';
my @specs = map { basename($_, '.spec') } sort glob 'test/specs/*.spec';

# A language that is not English, if one can be made without installing it.
my $locales = PostgreSQL::Test::Utils::tempdir();
my $locale = 'de_DE.UTF-8';
$locale = 'C'
  if system("localedef --inputfile=de_DE --charmap=UTF-8 $locales/$locale >$locales/log 2>&1") != 0;
$ENV{LOCPATH} = $locales if $locale ne 'C';

# The superuser is called neither postgres nor as the system's user.
$ENV{PGUSER} = 'The Owner';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ "--username=$ENV{PGUSER}", '--encoding=UTF8', "--locale=$locale" ]);
my $data = $node->data_dir;
my $secret_file = "$data/secrets";
append_to_file($secret_file, "theirs:a-secret-of-at-least-32-characters\n");
chmod 0600, $secret_file or die "$secret_file: $!";

# What a server may have set, with values that nobody else would choose.
$node->append_conf('postgresql.conf', qq{
	shared_preload_libraries = 'apikeys'
	fsync = off
	max_prepared_transactions = 0
	apikeys.hmac_secret_file = 'secrets'
	apikeys.last_used_throttle = '1h'
	apikeys.flush_interval = '10ms'
	apikeys.max_tracked_keys = 2000
	apikeys.redact_log = off
	apikeys.notify_channel = 'keys'
	apikeys.key_prefix = 'theirs_'
	apikeys.request_header = 'x-theirs'
	apikeys.cache = off
	TimeZone = 'Asia/Kathmandu'
	DateStyle = 'German'
	IntervalStyle = 'iso_8601'
	lc_messages = '$locale'
	standard_conforming_strings = off
	backslash_quote = off
	quote_all_identifiers = on
	transform_null_equals = on
	array_nulls = off
	bytea_output = escape
	extra_float_digits = -5
	xmloption = document
	client_min_messages = error
	default_transaction_isolation = 'repeatable read'
	default_transaction_deferrable = on
	check_function_bodies = off
	row_security = off
	synchronous_commit = off
	plan_cache_mode = force_custom_plan
	plpgsql.variable_conflict = use_column
	plpgsql.extra_errors = 'all'
	session_preload_libraries = 'auto_explain'});
$node->start;

# What is theirs: the role that the documentation's example makes, a key with
# a reservation that is held, and settings of the server, of the role, and of a
# database.
add_extension($node, 'postgres');
add_keys($node, 'postgres', 'theirs');
$node->safe_psql('postgres', qq{
	CREATE ROLE tenant LOGIN;
	CREATE ROLE mallory;
	GRANT mallory TO tenant;
	CREATE DATABASE app OWNER tenant;
	ALTER DATABASE app SET work_mem = '5MB';
	ALTER ROLE tenant SET work_mem = '6MB';
	SELECT apikey_update(${\id_of('theirs')}, '{"rate_limits": {"max_concurrent_requests": 1}}');
	SELECT code FROM apikey_verify('theirs-key', reserve => true)});
wait_for($node, 'postgres', q{SELECT hash_secret = 'theirs' FROM apikeys_data.key}, 'their key is hashed with their secret');
$node->safe_psql('postgres', q{ALTER SYSTEM SET apikeys.reservation_timeout = '2h'});
$node->reload;
$node->safe_psql('postgres', qq{
	ALTER ROLE "$ENV{PGUSER}" SET search_path = 'nowhere';
	ALTER ROLE "$ENV{PGUSER}" SET lc_messages = '$locale';
	ALTER ROLE "$ENV{PGUSER}" SET standard_conforming_strings = off});

my $ours = q{('contrib_regression', 'isolation_regression')};

# What is theirs, as text.
sub state
{
	my $state = $node->safe_psql('postgres', qq{
		SELECT 'role', r::text FROM pg_authid r
		UNION ALL SELECT 'member', m::text FROM pg_auth_members m
		UNION ALL SELECT 'database', format('%s %s %s %s', oid, datname, datdba, datacl) FROM pg_database WHERE datname NOT IN $ours
		UNION ALL SELECT 'default', s::text FROM pg_db_role_setting s
			WHERE setdatabase NOT IN (SELECT oid FROM pg_database WHERE datname IN $ours)
		UNION ALL SELECT 'tablespace', t::text FROM pg_tablespace t
		UNION ALL SELECT 'prepared', gid FROM pg_prepared_xacts
		UNION ALL SELECT 'slot', slot_name FROM pg_replication_slots
		UNION ALL SELECT 'setting', format('%s %s %s', name, setting, source) FROM pg_settings
		UNION ALL SELECT 'key', k::text FROM apikeys_data.key k
		UNION ALL SELECT 'event', max(id)::text FROM apikeys_data.event
		ORDER BY 1, 2});
	my @files = grep { -f && !/postmaster/ } glob "$data/*";

	return join "\n", $state, map { "file $_: " . slurp_file($_) } @files;
}

# Passes if a driver of tests does; shows the differences if not.
sub passes
{
	my ($name, $test_name, @command) = @_;
	my $output = "$PostgreSQL::Test::Utils::tmp_check/$name";
	my $log = "$output.log";

	mkdir $output or die "$output: $!";
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port,
		PGOPTIONS => '-c standard_conforming_strings=off');
	delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};
	local $ENV{OUTPUT} = $output;
	ok(system("@command >'$log' 2>&1") == 0, $test_name)
	  or diag slurp_file(-s "$output/regression.diffs" ? "$output/regression.diffs" : $log);
	return;
}

sub installcheck
{
	my ($name, $test_name, @arguments) = @_;

	passes($name, $test_name, 'make', 'installcheck', "PG_CONFIG='$pg_config'",
		q{EXTRA_REGRESS_OPTS="--outputdir=$OUTPUT"}, @arguments);
}

SKIP:
{
	skip 'there is no other language', 1 if $locale eq 'C' || `$pg_config --configure` !~ /--enable-nls/;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', 'SELECT 1/0');
	like($stderr, qr/FEHLER/, 'control: the server speaks another language');
}

my $before = state();
my $held = "SELECT used FROM public.apikey_limits(${\id_of('theirs')})";
is($node->safe_psql('postgres', $held), 1, 'control: a reservation is held');
installcheck('preloaded', 'all pass on a server with settings and a secret of its own');
is($node->safe_psql('postgres', $held), 1, '... and the reservation still is');
is(state(), $before, '... and nothing is changed');

# A server without the library, that has prepared transactions and lets in
# nobody but its owner.
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = ''
	max_prepared_transactions = 2
	apikeys.hmac_secret_file = ''});
unlink "$data/pg_hba.conf";
append_to_file("$data/pg_hba.conf", qq{local all "$ENV{PGUSER}" trust\n});
$node->restart;
$before = state();
installcheck('plain', 'those that differ pass without the library, with nobody but the owner let in',
	q{REGRESS='init verify limits secrets redact usage tenants'});
is(state(), $before, '... and change nothing');

# The isolation tests are no part of make installcheck; what a session reads
# when, and says, is theirs to set.
$node->safe_psql('postgres', qq{
	ALTER ROLE "$ENV{PGUSER}" RESET ALL;
	ALTER ROLE "$ENV{PGUSER}" SET default_transaction_isolation = 'read committed';
	ALTER ROLE "$ENV{PGUSER}" SET apikeys.cache = on});
my $inputs = "$PostgreSQL::Test::Utils::tmp_check/inputs";
mkdir $inputs or die "$inputs: $!";
symlink "${\getcwd()}/test/specs", "$inputs/specs";
symlink "${\getcwd()}/test/specs/expected", "$inputs/expected";
$before = state();
passes('isolation', 'the isolation tests pass there', $isolation_regress, "--inputdir=$inputs",
	'--outputdir="$OUTPUT"', "--bindir=" . `$pg_config --bindir` =~ s/\s+$//r,
	'--dbname=isolation_regression', @specs);
is(state(), $before, '... and change nothing');
is($node->safe_psql('postgres', "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname IN $ours"),
	'contrib_regression isolation_regression', '... but their databases');

# One that lets others in.
unlink "$data/pg_hba.conf";
append_to_file("$data/pg_hba.conf", "local all all trust\n");
$node->reload;
$before = state();
installcheck('prepared', 'the tenants pass with prepared transactions', q{REGRESS='init tenants'});
is(state(), $before, '... and change nothing');

$node->stop;
done_testing();
