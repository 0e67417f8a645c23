
# Nothing that a server leaves behind shows a raw key: every function is
# called with a key in the text of the statement and in a bind parameter, so
# that it works and so that it fails, and every kind of statement and error
# that puts a text into the log is provoked, while the server logs all it can.
# The same without apikeys.redact_log shows that the search finds keys.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use LeakTest;
use SecretsTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Each function, with arguments that work and some that fail.  {key} is a key,
# {id} its id.  A new function takes a line here.  What works must not store
# the key: that would be found, rightly.
my @calls = (
	[ 'apikey_generate', q('n'), 'prefix => {key}, name => {key}' ],
	[ 'apikey_generate', q('n', prefix => 'zz_'), q('n', rate_limits => {key}) ],
	[ 'apikey_generate_many', q(3, 'n'), '3, {key}', '{key}, {key}', 'count => -1, name => {key}' ],
	[ 'apikey_import_many', q(ARRAY[digest({key}::text || clock_timestamp(), 'sha256')], '{n}', '{gw-a...wxyz}'), 'ARRAY[{key}::bytea], ARRAY[{key}], ARRAY[{key}]', q(ARRAY[digest({key}::text, 'sha256')], ARRAY[{key}], '{x}') ],
	[ 'apikey_rotate', '{id}', '{key}' ],
	[ 'apikey_revoke', '{id}', '{key}', '{id}, {key}' ],
	[ 'apikey_revoke_raw', '{key}', '{key}, {key}' ],
	[ 'apikey_revoke_where', 'user_id => {id}', '{key}', '{id}, reason => {key}', 'plan => {key}' ],
	[ 'apikey_update', q({id}, '{"enabled": false}'), '{id}, {key}' ],
	[ 'apikey_delete', '{id}', '{key}' ],
	[ 'apikey_cleanup_expired', q('1 day'), '{key}' ],
	[ 'apikey_cleanup_events', q('1 day'), '{key}' ],
	[ 'apikey_cleanup_usage', q('1 day'), '{key}' ],
	[ 'apikey_import', q(digest({key}::text || clock_timestamp(), 'sha256'), 'n', 'gw-a...wxyz'), 'key_hash => {key}, name => {key}, key_prefix => {key}' ],
	[ 'apikey_verify', '{key}', '{key}, tokens => -1' ],
	[ 'apikey_verify', '{key}, model => {key}, client_ip => {key}', '{key}, tokens => {key}' ],
	[ 'apikey_check', '{key}, model => {key}, client_ip => {key}', '{key}, tokens => -1' ],
	[ 'apikey_derive', q({key}, '1 hour'), q({key}, '-1 hour'), q({key}, '1 hour', {key}) ],
	[ 'apikey_permissions_preset', q('admin'), '{key}' ],
	[ 'apikey_rate_limits_preset', q('standard'), '{key}' ],
	[ 'apikey_model_allowed', q('{}', {key}), '{key}, {key}' ],
	[ 'apikey_endpoint_allowed', q('{}', {key}), '{key}, {key}' ],
	[ 'apikey_get', '{id}', '{key}' ],
	[ 'apikey_list', 'external_id => {key}', '{key}', 'name_like => {key}', 'plan => {key}', 'metadata => {key}', q(name_like => {key} || '\\\\') ],
	[ 'apikey_identify', '{key}', '{key}, {key}' ],
	[ 'apikey_scan', q('a log: ' || {key} || {key}), '{key}, {key}' ],
	[ 'apikey_count', q('active'), '{key}', 'name_like => {key}', 'plan => {key}', q(metadata => jsonb_build_object('k', {key}::text)) ],
	[ 'apikey_record_usage', '{id}, 1', '{key}', '{id}, 1, request_id => {key}', '{id}, 1, model => {key}' ],
	[ 'apikey_void_usage', q({id}, 'request'), '{key}', '{id}, {key}' ],
	[ 'apikey_usage', '{id}', '{key}' ],
	[ 'apikey_usage_history', '{id}', '{key}' ],
	[ 'apikey_flush', '', '{key}' ],
	[ 'apikey_flush_node', '9', '{key}' ],
	[ 'apikey_login', '{key}', '{key}, tokens => -1', q({key} || 'x') ],
	[ 'apikey_logout', '', '{key}' ],
	[ 'apikey_current_id', '', '{key}' ],
	[ 'apikey_current_root_id', '', '{key}' ],
	[ 'apikey_current_user_id', '', '{key}' ],
	[ 'apikey_current_team_id', '', '{key}' ],
	[ 'apikey_current_external_id', '', '{key}' ],
	[ 'apikey_current_has_permission', '{key}', '{key}, {key}' ],
	[ 'apikey_pre_request', '', '{key}' ],
	[ 'apikey_grant', q('postgres_reader', 'read'), '{key}, {key}', q('postgres_reader', {key}) ],
	[ 'apikey_revoke_grant', q('postgres_reader', 'read'), '{key}, {key}', q('postgres_reader', {key}) ],
	[ 'apikey_events', '{id}', '{key}' ],
	[ 'apikey_release', 'gen_random_uuid()', '{key}' ],
	[ 'apikey_limits', '{id}', '{key}' ],
	[ 'apikey_budget_create', q('b', 1), '{key}, {key}', q('b', time_zone => {key}) ],
	[ 'apikey_budget_update', q(apikey_budget_create('b', 1), '{"max_cost": 2}'), '{id}, {key}', q({id}, '{}') ],
	[ 'apikey_budget_add', q(apikey_budget_create('b', 1), 1), '{id}, {key}', q(apikey_budget_create('b', 1), 1, {key}) ],
	[ 'apikey_budget_delete', q(apikey_budget_create('b', 1)), '{key}', '{id}' ],
	[ 'apikey_plan_set', q('p'), '{key}, {key}', '{key}', q('p', description => {key}) ],
	[ 'apikey_plan_delete', q((SELECT 'p' FROM apikey_plan_set('p'))), '{key}, {key}', '{key}' ]);

# Statements that log their text, or part of it, in some other way.  KEY is
# the key without quotes.
my @statements = (
	'SELECT {key}::int',
	'SELECT * FROM no_such_table WHERE k = {key}',
	'SELECT {key} {key} FROM FROM',
	'SELECT "KEY"',
	'SELECT KEY',
	'SELECT count(*) FROM apikey_verify({key}) -- KEY',
	q(/* a comment: KEY */ SELECT 1),
	q(SELECT 'xKEYy', 'key=KEY&more', 'KEYKEY', 'https://host/KEY/x'),
	q(SELECT 'Bearer KEY'::jsonb),
	q(SELECT '["KEY", ]'::jsonb),
	q(SELECT E'KEY\\x'::bytea),
	q(SELECT 1 / length(replace({key}, {key}, ''))),
	# temporary tables, whose pages go with them
	'CREATE TEMPORARY TABLE leak (k text UNIQUE CHECK (length(k) > 1), i int)',
	'INSERT INTO leak VALUES ({key}, 1)',
	'INSERT INTO leak VALUES ({key}, 2)',
	q(INSERT INTO leak VALUES ({key} || 'x', 1), ('', 2)),
	q(UPDATE leak SET k = '' WHERE k = {key}),
	'SET enable_seqscan = off; SELECT i FROM leak WHERE k = {key}; RESET enable_seqscan',
	'COPY (SELECT 1 FROM leak WHERE k = {key}) TO STDOUT',
	'CREATE TEMPORARY TABLE leak_2 AS SELECT code FROM apikey_verify({key})',
	'CREATE TEMPORARY TABLE leak_3 (k text DEFAULT {key})',

	# utility statements
	'PREPARE p AS SELECT code FROM apikey_verify($1)',
	'EXECUTE p({key})',
	'PREPARE q AS SELECT code FROM apikey_verify({key})',
	'EXECUTE q',
	'SELECT statement FROM pg_prepared_statements',
	'BEGIN; DECLARE c CURSOR FOR SELECT code FROM apikey_verify({key}); FETCH c; COMMIT',
	'EXPLAIN (ANALYZE, VERBOSE) SELECT code, {key} FROM apikey_verify({key})',
	'SET leak.key = {key}; RESET leak.key',
	q(SELECT set_config('leak.key', {key}, false)),
	'SET log_min_messages = {key}',
	'SET ROLE "KEY"',
	'CALL leak_call({key})',

	# what PL/pgSQL says
	q(DO $$ BEGIN RAISE WARNING 'KEY' USING DETAIL = 'KEY', HINT = 'KEY'; END $$),
	q(DO $$ BEGIN RAISE LOG 'KEY %', {key}; END $$),
	q(DO $$ BEGIN RAISE EXCEPTION 'no' USING DETAIL = 'KEY', HINT = 'KEY', COLUMN = 'KEY', TABLE = 'KEY'; END $$),
	q(DO $$ BEGIN EXECUTE 'SELECT code FROM apikey_verify($1)' USING {key}; END $$),
	q(DO $$ BEGIN EXECUTE 'SELECT ''KEY'' FROM apikey_verify(''KEY'')'; END $$),
	q(DO $$ BEGIN EXECUTE 'SELECT ''KEY''::int'; END $$),
	q(DO $$ BEGIN EXECUTE 'SELECT ''KEY'' FROM FROM'; END $$),
	q(DO $$ BEGIN EXECUTE 'SELECT leak_raise($1)' USING {key}; END $$),
	q(DO $$ BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN RAISE WARNING '% KEY', SQLERRM; END $$),
	'SELECT leak_raise({key})',
	'SELECT leak_sql({key})',
	q(SELECT leak_cast({key}) FROM generate_series(1, 3)));

# Newer releases of psql read no further after a COPY that fails.
my @copies = (
	"COPY leak (i) FROM STDIN;\nKEY\n\\.\n",
	"COPY leak (k, i) FROM STDIN;\nKEY\tKEY\n\\.\n");

sub setup
{
	my ($name, @settings) = @_;
	my $node = new_node($name, @talkative, @settings);

	# Keys are signed with one secret, and later with another.
	write_secrets($node, 'first');
	add_secret(secret_of($_)) foreach 'first', 'second';
	$node->append_conf('postgresql.conf',
		"apikeys.hmac_secret_file = '" . secret_file($node) . "'");

	# PostgreSQL 16 and later
	$node->append_conf('postgresql.conf', 'auto_explain.log_parameter_max_length = -1')
	  if $node->pg_version >= 16;
	$node->start;
	add_extension($node, 'postgres');
	$node->safe_psql(
		'postgres', q{
		CREATE EXTENSION pg_stat_statements;
		CREATE ROLE postgres_reader;
		CREATE PROCEDURE leak_call(key text) LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM code FROM apikey_verify(key);
			COMMIT;
			RAISE WARNING 'called with %', key;
		END $$;
		CREATE FUNCTION leak_raise(key text) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			RAISE EXCEPTION 'raised' USING DETAIL = key;
		END $$;
		CREATE FUNCTION leak_sql(key text) RETURNS text LANGUAGE sql AS 'SELECT leak_raise(key)';
		CREATE FUNCTION leak_cast(key text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN key; END'});
	return $node;
}

# Makes n keys and returns them, each as [id, raw key].  The statement that
# hands keys out is not among what is logged without its result.
sub make_keys
{
	my ($node, $n) = @_;

	my @keys = map [ split /\|/ ],
	  split /\n/, $node->safe_psql('postgres', "SELECT g.* FROM generate_series(1, $n) i, apikey_generate('leak ' || i) g");

	add_secret($_->[1]) foreach @keys;
	return @keys;
}

# Returns the errors, of a script that goes on after them to its end.
sub run_psql
{
	my ($node, $sql) = @_;
	my ($stdout, $stderr);

	$node->psql('postgres', "$sql; SELECT 'the end'", on_error_stop => 0, stdout => \$stdout, stderr => \$stderr);
	die $stderr unless $stdout =~ /the end$/;
	return $stderr;
}

# Runs one statement with bind parameters; true if it worked.
sub run_pgbench
{
	my ($node, $mode, $sql, $key) = @_;
	my $load = start_load($node, 'postgres', "$sql;\n", '-M', $mode, '-t', 1,
		'-D', "id=$key->[0]", '-D', "key=$key->[1]");

	return end_load($load);
}

sub statement
{
	my ($function, $arguments) = @_;

	return "SELECT {key}::text AS key, f.* FROM $function($arguments) f";
}

sub fill
{
	my ($sql, $key) = @_;

	return $sql =~ s/\{key\}/'$key->[1]'/gr =~ s/\{id\}/'$key->[0]'/gr =~ s/KEY/$key->[1]/gr;
}

# What a session sends as text.
sub in_the_text
{
	my ($node) = @_;
	my @all = ((map { statement($_->[0], $_->[1]), statement($_->[0], $_->[2]) } @calls), @statements);
	my @keys = make_keys($node, scalar @all);
	my $sql = join '', map { "$_;\n" } map { fill($_, shift @keys) } @all;
	my $errors = run_psql($node, $sql);

	foreach my $copy (map { fill($_, (make_keys($node, 1))[0]) } @copies)
	{
		my $stderr;

		$node->psql('postgres', "CREATE TEMPORARY TABLE leak (k text, i int);\n$copy", on_error_stop => 0, stderr => \$stderr);
		like($stderr, qr/ERROR:.*integer/, 'a COPY that fails');
		$errors .= $stderr;
	}
	return $errors;
}

# What it sends to be executed with other values.
sub with_execute
{
	my ($node) = @_;
	my @keys = make_keys($node, 2 * @calls);
	my $sql = '';
	my $n = 0;

	foreach my $call (@calls)
	{
		foreach my $arguments (@$call[ 1, 2 ])
		{
			my ($id, $raw_key) = @{ shift @keys };
			my @values;
			my $statement = statement($call->[0], $arguments) =~
			  s/\{(key|id)\}/push @values, $1 eq 'key' ? "'$raw_key'" : "'$id'"; '$' . @values/ger;

			$n++;
			$sql .= sprintf "PREPARE s%d AS %s;\nEXECUTE s%d(%s);\n", $n, $statement, $n, join ', ', @values;
		}
	}
	return run_psql($node, $sql);
}

# What it sends apart from the text.  Returns what did not work and should
# have, and what worked and should not.
sub as_parameters
{
	my ($node, $mode) = @_;
	my @keys = make_keys($node, 2 * @calls);
	my @wrong;

	foreach my $call (@calls)
	{
		my ($good, $bad) = map { statement($call->[0], $_) =~ s/\{(key|id)\}/:$1/gr } @$call[ 1, 2 ];

		push @wrong, "fails: $good" unless run_pgbench($node, $mode, $good, shift @keys);
		push @wrong, "works: $bad" if run_pgbench($node, $mode, $bad, shift @keys);
	}
	return @wrong;
}

# All of it on one server; returns it, and what the search finds.
sub run
{
	my ($name, $modes, @settings) = @_;
	my $node = setup($name, @settings);
	my ($key) = make_keys($node, 1);
	my $errors = in_the_text($node) . with_execute($node);

	# What psql would not send from a script.
	$node->command_fails([ 'psql', '--no-psqlrc', '--command', "SELECT 'unterminated $key->[1]", 'postgres' ], "$name: unterminated");

	cmp_ok(scalar(() = $errors =~ /^psql.*ERROR:/mg), '>=', 2 * @calls, "$name: enough of it fails");
	is_deeply([ as_parameters($node, $_) ], [], "$name: calls with bind parameters, $_") foreach @$modes;

	write_secrets($node, 'second', 'first');
	$node->reload;
	wait_until('the second secret is_current', sub {
		$node->safe_psql('postgres', q{SELECT secret FROM apikeys.secret_usage WHERE is_current}) eq 'second' });
	($key) = make_keys($node, 1);
	is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('$key->[1]')"), 'VALID', "$name: two secrets");
	$node->safe_psql('postgres', 'SELECT apikey_flush()');

	return ($node, search($node));
}

my ($node, $count) = run('redacted', [ 'extended', 'prepared' ]);

# Nobody is left out.
my %called = map { $_->[0] => 1 } @calls;
my @functions = split /\n/, $node->safe_psql(
	'postgres', q{
	SELECT DISTINCT proname FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
	WHERE extname = 'apikeys' AND proname LIKE 'apikey\_%'});
is_deeply([ grep !$called{$_}, @functions ], [], 'every function is called');

is(leaks($count), '', 'no key in any place') or diag leaking_messages($node);

# That search can read tables and WAL: two keys and a secret that are in both,
# and so many keys in one message of the WAL that some go on from one page to
# the next, and one from one segment to the next.  The server puts each
# together, so the text of the statement is none.
$node->safe_psql('postgres', sprintf q{CREATE TABLE decoy AS SELECT left(k, 9) || substr(k, 10) AS key FROM %s},
	q{(SELECT raw_key FROM apikey_generate('decoy 1') UNION ALL SELECT raw_key FROM apikey_generate('decoy 2', prefix => 'zz_')
		UNION ALL SELECT 's3cr3t-of-fi' || 'rst-0123456789') d(k)});
$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(false, 'filler', repeat(' ',
		(16777216 - (pg_walfile_name_offset(pg_current_wal_insert_lsn())).file_offset) / 8192 * 8168 - 16384)),
	pg_logical_emit_message(false, 'decoys', string_agg(left(k, 9) || substr(k, 10), ''))
	FROM (SELECT raw_key FROM generate_series(1, 1000) i, apikey_generate('decoy ' || i)) d(k)});
$count = search($node);
is(leaks({ map { $_ => $count->{$_} } 'WAL', 'pages' }), 'WAL: 1003, pages: 3', 'keys and secrets in a table would be found');

# What was masked is there: the log is no less talkative.
foreach my $format ([ log => qr/STATEMENT:  / ], [ csv => qr/,"/ ], [ json => qr/"statement":"/ ])
{
	my ($suffix, $mark) = @$format;
	my $log = slurp_file($node->data_dir . "/log/server.$suffix");

	like($log, $mark, "server.$suffix has statements");
	cmp_ok(scalar(() = $log =~ /gw-\w\*{27}\w{4}/g), '>', 500, "server.$suffix has masked keys");
}
$node->stop;

# The control.
($node, $count) = run('control', ['extended'], 'apikeys.redact_log = off');
cmp_ok($count->{$_}, '>', 100, "control: $count->{$_} keys in $_") foreach 'stderr', 'csvlog', 'jsonlog';
cmp_ok($count->{statements}, '>', 5, "control: $count->{statements} keys in pg_stat_statements");
$node->stop;

done_testing();
