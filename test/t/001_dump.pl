
# A dump holds every key, import and event, and no raw key.  What is restored
# from it is the same, and life goes on there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest qw(is_sound);
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# One of the keys has rate limits.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'apikeys'\napikeys.flush_interval = '1h'");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app');

# What verify shall say to each key, before the dump and after.
my %codes = (
	plain => 'VALID',
	full => 'VALID',
	disabled => 'DISABLED',
	expired => 'EXPIRED',
	revoked => 'REVOKED',
	rotated => 'REVOKED',
	successor => 'VALID',
	in_grace => 'VALID',
	next => 'VALID',
	deleted => 'NOT_FOUND',
	derived => 'VALID',
	imported => 'VALID');

# Makes a database with keys in every state; returns what => raw key.
sub make_source
{
	my ($dbname, $schema) = @_;
	my %raw = (imported => 'made-elsewhere');

	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	$node->safe_psql(
		$dbname, qq{
		CREATE SCHEMA IF NOT EXISTS $schema;
		CREATE EXTENSION pgcrypto SCHEMA $schema;
		CREATE EXTENSION apikeys SCHEMA $schema;
		ALTER DATABASE $dbname SET search_path = $schema;
		GRANT USAGE ON SCHEMA $schema TO app});

	foreach my $what (qw(plain full disabled expired revoked rotated in_grace deleted))
	{
		my $arguments = $what ne 'full' ? '' : q{,
			description => E'a ''quoted''\ttext\nof \\\\ two lines',
			user_id => gen_random_uuid(), team_id => gen_random_uuid(),
			budget_id => apikey_budget_create('pool', 10, '1 month'),
			permissions => '{"allowed_models": ["gpt-*"], "is_admin": false}',
			rate_limits => '{"requests_per_minute": 60}',
			expires_at => now() + interval '1 year',
			metadata => '{"nested": {"null": null}}', external_id => 'customer 1',
			allowed_ips => '{10.0.0.0/8,::1}', prefix => 'other_'};

		$raw{$what} = $node->safe_psql($dbname,
			"SELECT raw_key FROM apikey_generate('$what'$arguments)");
	}

	my $id = q{(SELECT id FROM apikeys_data.key WHERE name = '%s')};
	$raw{successor} = $node->safe_psql($dbname,
		sprintf("SELECT raw_key FROM apikey_rotate($id)", 'rotated'));
	$raw{next} = $node->safe_psql($dbname,
		sprintf("SELECT raw_key FROM apikey_rotate($id, '1 day')", 'in_grace'));
	# Its parent is changed below, so that it comes before it in the dump.
	$raw{derived} = $node->safe_psql($dbname,
		"SELECT raw_key FROM apikey_derive('$raw{full}', '1 day', 'derived')");
	$node->safe_psql(
		$dbname,
		join ";\n",
		sprintf("SELECT apikey_update($id, '{\"enabled\": false}')", 'disabled'),
		sprintf("SELECT apikey_revoke($id)", 'revoked'),
		sprintf("SELECT apikey_delete($id)", 'deleted'),
		"SELECT apikey_import(digest('made-elsewhere', 'sha256'), 'imported', 'made...here', created_at => '2001-02-03', plan => 'full_access')",
		"UPDATE apikeys_data.key SET created_at = now() - interval '2 days', expires_at = now() - interval '1 day' WHERE name = 'expired'",
		# A plan of the user's, and of those that CREATE EXTENSION makes one that
		# is changed, one that is changed by hand, and one that is not.
		"SELECT apikey_plan_set('mine', '{\"is_admin\": true}')",
		"SELECT apikey_plan_set('standard', '{\"allowed_models\": [\"gpt-4\"]}', '{\"requests_per_day\": 5}', 'Changed.')",
		"UPDATE apikeys_data.plan SET permissions = '{\"max_tokens_per_request\": 7}' WHERE name = 'premium'",
		sprintf("SELECT apikey_update($id, '{\"plan\": \"mine\"}')", 'full'),
		sprintf("SELECT apikey_update($id, '{\"plan\": \"standard\"}')", 'plain'),
		sprintf("SELECT apikey_update($id, '{\"plan\": \"premium\"}')", 'in_grace'),
		"SELECT apikey_grant('app', 'read')");

	return %raw;
}

# "what code" for each raw key, sorted.
sub verify
{
	my ($dbname, %raw) = @_;
	my $values = join ', ', map { "('$_', '$raw{$_}')" } sort keys %raw;

	return $node->safe_psql($dbname,
		"SELECT k.what, v.code FROM (VALUES $values) k (what, raw), apikey_verify(k.raw, client_ip => '10.0.0.1') v ORDER BY k.what COLLATE \"C\""
	);
}

# All rows of all tables of the extension, and where its sequences stand.
sub contents
{
	my ($dbname) = @_;
	my @tables = split /\n/, $node->safe_psql($dbname,
		"SELECT relname FROM pg_class WHERE relnamespace = 'apikeys_data'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1"
	);
	my %contents;

	foreach my $table (@tables)
	{
		$contents{$table} = $node->safe_psql($dbname,
			"SELECT t FROM apikeys_data.$table t ORDER BY t::text COLLATE \"C\"");
	}
	$contents{sequences} = $node->safe_psql($dbname,
		"SELECT sequencename, last_value FROM pg_sequences WHERE schemaname LIKE 'apikeys%' ORDER BY 1"
	);
	$contents{rights} = $node->safe_psql($dbname,
		"SELECT oid::regprocedure::text COLLATE \"C\" FROM pg_proc WHERE proacl::text LIKE '%app=X/%' ORDER BY 1"
	);
	$contents{statuses} =
	  $node->safe_psql($dbname, 'SELECT id, status FROM apikeys.info ORDER BY id');
	return \%contents;
}

# Dumps and restores; each takes the names of the source, the copy and a file.
my %ways = (
	plain => sub {
		my ($source, $copy, $file) = @_;
		$node->command_ok([ 'pg_dump', '--file', $file, $source ], 'pg_dump');
		$node->safe_psql('postgres', "CREATE DATABASE $copy");
		$node->command_ok(
			[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $file, $copy ], 'psql');
	},
	custom => sub {
		my ($source, $copy, $file) = @_;
		$node->command_ok([ 'pg_dump', '--format=custom', '--file', $file, $source ],
			'pg_dump');
		$node->safe_psql('postgres', "CREATE DATABASE $copy");
		$node->command_ok(
			[ 'pg_restore', '--exit-on-error', '--single-transaction', '--dbname', $copy, $file ],
			'pg_restore');
	},
	directory => sub {
		my ($source, $copy, $file) = @_;
		$node->command_ok(
			[ 'pg_dump', '--format=directory', '--jobs=2', '--file', $file, $source ],
			'pg_dump');
		$node->safe_psql('postgres', "CREATE DATABASE $copy");
		$node->command_ok(
			[ 'pg_restore', '--exit-on-error', '--jobs=2', '--dbname', $copy, $file ],
			'pg_restore');
	});

my %sources = (public => 'public', elsewhere => '"My Keys"');

foreach my $source (sort keys %sources)
{
	my %raw = make_source("from_$source", $sources{$source});
	my $expected_codes = join "\n", map { "$_|$codes{$_}" } sort keys %codes;

	is(verify("from_$source", %raw), $expected_codes, "$source: keys in every state");
	is( $node->safe_psql("from_$source",
			'SELECT DISTINCT action FROM apikeys_data.event ORDER BY 1'),
		join("\n", qw(budget_create delete derive generate grant import plan_set revoke rotate update)),
		"$source: events of every kind");

	# Bring to the tables what is only recorded yet.
	$node->safe_psql("from_$source", q{
		SELECT apikey_record_usage(id, 10, 0.5, NULL, 'request 1', 'gpt-4o') FROM apikeys_data.key WHERE name = 'full';
		SELECT apikey_flush()});
	my $before = contents("from_$source");
	isnt($before->{usage}, '', "$source: a last use");
	isnt($before->{rights}, '', "$source: a role with a level of access");
	isnt($before->{budget_period}, '', "$source: a budget that was spent from");
	isnt($before->{usage_request}, '', "$source: the id of a request");

	foreach my $way (sort keys %ways)
	{
		my $test = "$source, $way";
		my $copy = "from_${source}_$way";
		my $file = $node->basedir . "/$copy.dump";

		$ways{$way}->("from_$source", $copy, $file);
		$node->safe_psql('postgres',
			"ALTER DATABASE $copy SET search_path = $sources{$source}");

		is_deeply(contents($copy), $before, "$test: tables, sequences, statuses");
		is_sound($node, $copy, $test);
		is( $node->safe_psql($copy, q{SELECT used FROM apikeys_data.key k, apikey_limits(k.id) l WHERE k.name = 'plain'}),
			1, "$test: limits go on from where they were");
		is(verify($copy, %raw), $expected_codes, "$test: raw keys verify as before");
		is( $node->safe_psql($copy, join ' UNION ALL ',
				map { "SELECT permissions FROM apikey_verify('$raw{$_}', client_ip => '10.0.0.1')" } qw(full imported in_grace plain)),
			join("\n",
				'{"is_admin": false, "allowed_models": ["gpt-*"]}',
				'{"allowed_models": ["*"], "allowed_endpoints": ["*"]}',
				'{"max_tokens_per_request": 7}',
				'{"allowed_models": ["gpt-4"]}'),
			"$test: and may do what they and their plans say");

		if ($way eq 'plain')
		{
			my $dump = slurp_file($file);

			like($dump, qr/^COPY apikeys_data\.key /m, "$test: the dump has the keys");
			is_deeply([ grep { index($dump, $raw{$_}) >= 0 } sort keys %raw ],
				[], "$test: no raw key in the dump");
		}

		# Life goes on.
		is( $node->safe_psql($copy, q{
				WITH before AS MATERIALIZED (SELECT max(id) AS id FROM apikeys_data.event),
				new AS MATERIALIZED (SELECT before.id FROM before, apikey_generate('new'))
				SELECT count(*) FROM new}),
			1,
			"$test: a new key");
		is( $node->safe_psql($copy, q{
				SELECT key.name, event.id > ALL (SELECT id FROM apikeys_data.event e WHERE e.key_id <> key.id)
				FROM apikeys_data.event JOIN apikeys_data.key ON key.id = event.key_id WHERE key.name = 'new'}),
			'new|t',
			"$test: event numbers go on");
		$node->safe_psql($copy,
			"SELECT apikey_revoke(id) FROM apikeys_data.key WHERE name = 'plain'");
		is(verify($copy, plain => $raw{plain}), 'plain|REVOKED', "$test: a restored key is revoked");
		is( verify("from_$source", plain => $raw{plain}),
			'plain|VALID', "$test: the source is another database");

		my ($ret, $stdout, $stderr) = $node->psql($copy,
			"SELECT apikey_import(digest('made-elsewhere', 'sha256'), 'again', 'made...here')",
			extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
		like($stderr, qr/ERROR:  23505/, "$test: a restored hash is taken");

		is_sound($node, $copy, "$test, after all that");

		# So do the grants.
		is( $node->safe_psql($copy,
				"SET ROLE app; SELECT code FROM apikey_verify('$raw{full}', client_ip => '10.0.0.1')"),
			'VALID',
			"$test: a role that may verify");
		($ret, $stdout, $stderr) = $node->psql($copy,
			"SET ROLE app; SELECT apikey_generate('forbidden')",
			extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
		like($stderr, qr/ERROR:  42501/, "$test: and no more");

		$node->safe_psql($copy, "SELECT apikey_revoke(id) FROM apikeys_data.key WHERE name = 'full'");
		is(verify($copy, derived => $raw{derived}), 'derived|REVOKED', "$test: a restored key ends with its parent");
	}
}

# Nobody is warned of anything.
$node->command_checks_all([ 'pg_dump', '--file', $node->basedir . '/quiet.dump', 'from_public' ], 0, [qr/^$/], [qr/^$/], 'pg_dump has nothing to say');

# Who may not read the tables may not dump them; doc/operations.md says what
# it takes.
$node->safe_psql('postgres', 'CREATE ROLE dumper LOGIN; CREATE DATABASE owned OWNER dumper');
$node->safe_psql('owned', 'CREATE EXTENSION apikeys CASCADE; SELECT count(*) FROM apikey_generate($$owned$$)');
my $no_sequences = qr/permission denied for sequence|lack SELECT privilege on the sequence/;
my @dump = ('pg_dump', '--username=dumper', '--file', $node->basedir . '/owned.dump', 'owned');
$node->command_fails_like([@dump], qr/permission denied for (?:schema|table)|$no_sequences/, 'the owner of the database: no right on the tables');
$node->safe_psql('owned', q{
	GRANT USAGE ON SCHEMA apikeys, apikeys_data TO dumper;
	GRANT SELECT ON ALL TABLES IN SCHEMA apikeys_data TO dumper});
$node->command_fails_like([@dump], $no_sequences, 'with the tables alone: none on the sequences');
$node->safe_psql('owned', 'GRANT SELECT ON ALL SEQUENCES IN SCHEMA apikeys_data TO dumper');
$node->command_ok([@dump], 'with both');
like(slurp_file($node->basedir . '/owned.dump'), qr/^COPY apikeys_data\.key .*\n.*\towned\t/m, 'the key is in the dump');
$node->safe_psql('owned', q{
	REVOKE ALL ON ALL SEQUENCES IN SCHEMA apikeys_data FROM dumper;
	REVOKE ALL ON ALL TABLES IN SCHEMA apikeys_data FROM dumper;
	REVOKE ALL ON SCHEMA apikeys, apikeys_data FROM dumper;
	GRANT pg_read_all_data TO dumper});
$node->command_ok([@dump], 'or as a member of pg_read_all_data');

# Into a database where the extension stands in another schema come the rows,
# and of the rights those on views alone.
$node->safe_psql('postgres', 'CREATE DATABASE moved');
$node->safe_psql('moved', 'CREATE SCHEMA ext; CREATE EXTENSION pgcrypto; CREATE EXTENSION apikeys SCHEMA ext');
$node->command_ok([ 'pg_dump', '--file', $node->basedir . '/moved.dump', 'from_public' ], 'pg_dump');
my $errors = '';
IPC::Run::run([ 'psql', '-Xq', '-h', $node->host, '-p', $node->port, '-f', $node->basedir . '/moved.dump', 'moved' ],
	'>', \my $ignored, '2>', \$errors);
like($errors, qr/function public\.apikey_verify\(.*\) does not exist/, 'another schema: GRANT on a function fails');
is($node->safe_psql('moved', 'SELECT count(*) FROM apikeys_data.key'),
	$node->safe_psql('from_public', q{SELECT count(*) FROM apikeys_data.key}), 'another schema: the rows are there');
my $rights = q{SELECT has_table_privilege('app', 'apikeys.info', 'SELECT'), has_function_privilege('app', 'ext.apikey_get(uuid)', 'EXECUTE')};
is($node->safe_psql('moved', $rights), 't|f', 'another schema: the rights on functions are not');
$node->safe_psql('moved', q{SET search_path = ext; SELECT apikey_grant('app', 'read')});
is($node->safe_psql('moved', $rights), 't|t', 'another schema: they are to be granted again');

$node->stop;
done_testing();
