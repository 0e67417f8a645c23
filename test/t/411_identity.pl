
# The identity where it could be seen too far or too late: in parallel
# queries, in prepared transactions, on a standby, in a session that is used
# again; and what a login takes from the limits of its key.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $nrows = 30_000;

my $node = new_node('main', 'max_prepared_transactions = 5', 'max_worker_processes = 16',
	'wal_level = replica', 'max_wal_senders = 5', 'hot_standby = on');
$node->start;
add_extension($node, 'postgres');
$node->safe_psql(
	'postgres', qq{
	SELECT apikey_import(digest(name || '-key', 'sha256'), name, name || '-...', external_id => name, rate_limits => limits)
	FROM (VALUES ('alice', '{}'::jsonb), ('bob', '{}'), ('limited', '{"requests_per_minute": 1, "max_concurrent_requests": 1}')) k(name, limits);

	CREATE ROLE reader;
	GRANT EXECUTE ON FUNCTION apikey_login, apikey_current_external_id, apikey_current_has_permission TO reader;
	CREATE TABLE bare AS
	SELECT i, CASE WHEN i % 3 = 0 THEN 'alice' ELSE 'bob' END AS owner FROM generate_series(1, $nrows) i;
	CREATE TABLE wrapped AS TABLE bare;
	ALTER TABLE bare ENABLE ROW LEVEL SECURITY;
	ALTER TABLE wrapped ENABLE ROW LEVEL SECURITY;
	CREATE POLICY tenant ON bare USING (owner = apikey_current_external_id());
	CREATE POLICY tenant ON wrapped USING (owner = (SELECT apikey_current_external_id()));
	GRANT SELECT ON bare, wrapped TO reader;
	ANALYZE bare, wrapped});

# ------------------------------------------------------- parallel queries

my $force = $node->safe_psql('postgres',
	q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') LIMIT 1});
my $parallel = q{
	SET max_parallel_workers_per_gather = 3;
	SET min_parallel_table_scan_size = 0;
	SET parallel_setup_cost = 0;
	SET parallel_tuple_cost = 0;
	SET ROLE reader;};

# Says what a query gives to who logs in: the lines of its answer.
sub ask_as
{
	my ($name, $settings, $query) = @_;
	my $login = $name eq '' ? 'SELECT 1' : "SELECT code FROM apikey_login('$name-key')";
	my @lines = split /\n/, $node->safe_psql('postgres', "$settings BEGIN; $login; $query; COMMIT");

	shift @lines;
	return join "\n", @lines;
}

my %rows = ('' => 0, alice => $nrows / 3, bob => $nrows * 2 / 3);
my %queries = (
	'a count' => 'SELECT count(*) FROM %s',
	'a filter' => 'SELECT count(*) FROM %s WHERE i > 0',
	'groups' => 'SELECT coalesce(sum(n), 0) FROM (SELECT owner, count(*) AS n FROM %s GROUP BY owner) g',
	'a join' => 'SELECT count(*) FROM %1$s a JOIN %1$s b USING (i)',
	'a sub-query' => 'SELECT count(*) FROM %1$s a WHERE EXISTS (SELECT FROM %1$s b WHERE a.i = b.i)',
	'the function in the query' =>
	  q{SELECT count(*) FROM %s WHERE apikey_current_external_id() = owner AND NOT apikey_current_has_permission('x')});

foreach my $mode ('off', 'on', 'regress')
{
	foreach my $table ('bare', 'wrapped')
	{
		my @what = sort keys %queries;
		my $all = join ';', map { sprintf $queries{$_}, $table } @what;

		foreach my $name (sort keys %rows)
		{
			my @seen = split /\n/, ask_as($name, "SET $force = $mode; $parallel", $all);
			my %seen;

			@seen{@what} = @seen;
			is_deeply(\%seen, { map { $_ => $rows{$name} } @what },
				"$force = $mode, $table: the rows of " . ($name || 'nobody'));
		}
	}
}

# That has not been tested unless workers were there.
my $explain = 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT count(*) FROM';
like(ask_as('alice', $parallel, "$explain wrapped"), qr/Workers Launched: [1-9]/,
	'a sub-select in the policy: workers scan');
unlike(ask_as('alice', $parallel, "$explain bare"), qr/Gather/, 'the bare function: the leader scans');
like(ask_as('alice', "SET $force = on; $parallel", "$explain bare"),
	qr/\A(?!.*Gather)/s, 'the bare function: also where workers are wanted');

# ------------------------------------- prepared transactions and sessions

my $session = $node->background_psql('postgres');
my $who = q{SELECT coalesce(apikey_current_external_id(), 'nobody')};

$session->query_safe('BEGIN');
is($session->query_safe(q{SELECT external_id FROM apikey_login('alice-key')}), 'alice', 'logged in');
$session->query_safe(q{CREATE TABLE prepared (); DECLARE held CURSOR WITH HOLD FOR SELECT count(*) FROM wrapped});
$session->query_safe('CLOSE held');
$session->query_safe(q{PREPARE TRANSACTION 'of alice'});
is($session->query_safe($who), 'nobody', 'PREPARE TRANSACTION ends it');
$session->query_safe('BEGIN');
is($session->query_safe($who), 'nobody', 'PREPARE TRANSACTION: in the next one');
$session->query_safe('COMMIT');
$session->query_safe(q{COMMIT PREPARED 'of alice'});
is($session->query_safe($who), 'nobody', 'COMMIT PREPARED does not bring it back');

# The rows of a cursor WITH HOLD are those of who made it: they are kept at
# the commit, with the identity still there.
$session->query_safe('SET ROLE reader; BEGIN');
$session->query_safe(q{SELECT external_id FROM apikey_login('alice-key')});
$session->query_safe('DECLARE held CURSOR WITH HOLD FOR SELECT count(*), min(owner), max(owner) FROM bare');
$session->query_safe('COMMIT');
is($session->query_safe($who), 'nobody', 'a cursor WITH HOLD does not prolong it');
is($session->query_safe('FETCH held'), $nrows / 3 . '|alice|alice', 'a cursor WITH HOLD has the rows of who made it');
$session->query_safe('DISCARD ALL');
is($session->query_safe($who), 'nobody', 'DISCARD ALL');
$session->quit;

# -------------------------------------------------------------- its limits

my $refused = sub {
	my ($login) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\n$login");

	return $stderr;
};

is($node->safe_psql('postgres',
		q{SELECT external_id, reservation IS NOT NULL FROM apikey_login('limited-key', reserve => true)}),
	'limited|t', 'a login reserves');
my $error = $refused->(q{SELECT apikey_login('limited-key')});
like($error, qr/ERROR:  28000: login refused: requests_per_minute limit of 1 is reached\nDETAIL:  RATE_LIMITED\nHINT:  Retry after \d+ seconds\.\n/,
	'a login takes a request, and the second is refused');
unlike($error, qr/limited-key.*login refused|login refused.*limited-key/, 'the error does not tell the key');
$error = $refused->(q{BEGIN; SET LOCAL "request.headers" = '{"x-api-key": "limited-key"}'; SELECT apikey_pre_request()});
like($error, qr/ERROR:  PGRST: \{"code": "PT429", "message": "Too Many Requests", "details": "RATE_LIMITED", "hint": "requests_per_minute limit of 1 is reached; retry after \d+ seconds"\}\nDETAIL:  \{"status": 429, "headers": \{"RateLimit-Limit": "1", "RateLimit-Remaining": "0", "RateLimit-Reset": "\d+", "Retry-After": "\d+"\}\}\n/,
	'a request of PostgREST is refused likewise');
unlike($error, qr/limited-key/, 'its error does not tell the key either');
is($node->safe_psql('postgres',
		q{SELECT count(*) FROM apikeys.info WHERE external_id = 'alice' AND last_used_at IS NOT NULL}),
	1, 'a login is a use');
like($refused->(q(BEGIN; SET LOCAL "request.headers" = '{"x-api-key": "sesame'; SELECT apikey_pre_request())),
	qr/ERROR:  22023: request\.headers is not valid JSON\n(?!.*sesame)/s, 'headers that are not JSON');

# ------------------------------------------------- what the page says, runs

my $page = slurp_file("$FindBin::RealBin/../../doc/row-level-security.md");
my @blocks = map { /```sql\n(.*?)```/gs } $page =~ /^## An example\n(.*?)^## What to know/ms;

$node->safe_psql('postgres', 'CREATE DATABASE page');
add_extension($node, 'page');
is($node->safe_psql('page', join "\n", @blocks),
	"alice\na note of alice\nbob\na note of bob\n0", 'the example of row-level-security.md');

# ----------------------------------------------------------------- standby

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', qq{
		$parallel
		BEGIN;
		SELECT external_id FROM apikey_login('bob-key');
		SELECT count(*), min(owner), max(owner) FROM bare;
		SELECT count(*), min(owner), max(owner) FROM wrapped;
		COMMIT;
		SELECT count(*) FROM wrapped}),
	join("\n", 'bob', ($nrows * 2 / 3 . '|bob|bob') x 2, 0), 'standby: a login');
$node->safe_psql('postgres', q{SELECT apikey_revoke(id) FROM apikeys_data.key WHERE name = 'bob'});
$node->wait_for_catchup($standby);
my ($ret, $stdout, $stderr) = $standby->psql('postgres', q{SELECT apikey_login('bob-key')});
like($stderr, qr/DETAIL:  REVOKED/, 'standby: a key that was revoked on the primary');
is_sound($standby, 'postgres', 'in the end');

$standby->stop;
$node->stop;
done_testing();
