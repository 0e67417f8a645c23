
# A table of 16 entries and 1,000 live keys: nothing fails, what finds no room
# is counted, and what is in the table is not lost.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node(
	'main',
	'apikeys.max_tracked_keys = 16',
	"apikeys.flush_interval = '1h'",
	'apikeys.last_used_throttle = 0');
add_keys($node, 'postgres', map { "k$_" } 1 .. 1000);

# Nothing is persisted until we say so.
my $launcher = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'apikeys launcher'});
kill 'STOP', $launcher;

sub verify_range
{
	my ($first, $last) = @_;

	return $node->safe_psql('postgres', qq{
		SELECT count(*) FROM generate_series($first, $last) n,
		LATERAL apikey_verify('k' || n || '-key') v WHERE v.valid});
}

sub names
{
	my ($condition) = @_;

	return $node->safe_psql('postgres', "SELECT array_agg(name ORDER BY name) FROM apikeys.info WHERE $condition");
}

is(stats($node, 'entries_used, entries_free'), '0|16', 'the table is empty');
is(verify_range(1, 16), 16, 'as many keys as the table holds');
is(stats($node, 'entries_used, entries_free, pending, evictions, dropped'), '16|0|16|0|0', 'each has its entry');
is(verify_range(17, 1000), 984, 'more keys than the table holds: all are verified');
wait_for($node, 'postgres', 'SELECT dropped = 984 FROM apikeys.stats', 'what found no room was counted');
is(stats($node, 'entries_used, entries_free, pending, evictions'), '16|0|16|0',
	'nothing pending had to make room');
wait_for($node, 'postgres', 'SELECT valid = 1000 FROM apikeys.stats', 'all verifies were counted');

my $first = names('last_used_at IS NOT NULL');
is(names('substr(name, 2)::int <= 16'), $first, 'the first 16 uses are seen');
is($node->safe_psql('postgres', 'SELECT apikey_flush()'), 16, 'they are flushed');
is(names('id IN (SELECT key_id FROM apikeys_data.usage)'), $first, 'and written');
is(stats($node, 'entries_used, pending'), '16|0', 'nothing is pending');

# Now there is nothing pending, and each new key takes the place of another.
is(verify_range(101, 116), 16, 'another 16 keys');
is(stats($node, 'entries_used, pending, evictions'), '16|16|16', 'they take the places of the first');
is(names('last_used_at IS NOT NULL AND substr(name, 2)::int <= 16'), $first, 'whose last use is in its table');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage'), 32, 'all are written');

# Of those with nothing pending the one least recently used goes first.  Uses
# are told apart by the second.
wait_until('a later second', sub {
	verify_range(101, 108);
	return $node->safe_psql('postgres', q{
		SELECT min(last_used_at) FILTER (WHERE substr(name, 2)::int BETWEEN 101 AND 108)
		     > max(last_used_at) FILTER (WHERE substr(name, 2)::int BETWEEN 109 AND 116)
		FROM apikeys.info}) eq 't';
});
$node->safe_psql('postgres', 'SELECT apikey_flush()');
my $stored = $node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage');
is(verify_range(201, 208), 8, 'eight more keys');
is(stats($node, 'evictions, pending'), '24|8', 'eight had to go');
my $recent = names('substr(name, 2)::int BETWEEN 101 AND 108');
$node->safe_psql('postgres', 'SELECT apikey_flush(); UPDATE apikeys_data.usage SET last_used_at = NULL');
is(names('last_used_at IS NOT NULL AND substr(name, 2)::int BETWEEN 101 AND 116'), $recent,
	'those used last are still in memory');

# A key loses its place while it is being deleted: then nobody loses his with it.
add_keys($node, 'postgres', 'brief');
verify($node, 'postgres', 'brief');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
my $deleter = $node->background_psql('postgres');
$deleter->query_safe("BEGIN; SELECT apikey_delete(${\id_of('brief')})");
is(verify_range(301, 316), 16, 'another 16 keys, one in place of a key that is being deleted');
$deleter->query_safe('COMMIT');
$deleter->quit;
is(stats($node, 'entries_used, pending'), '16|16', '... and all keep their places');

# Many at once, with the flush worker at work
kill 'CONT', $launcher;
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '10ms'");
$node->reload;
my $load = start_load($node, 'postgres', q{
\set n random(1, 1000)
SELECT 1 / v.valid::int FROM apikey_verify('k:n-key') v;
}, '--client', 8, '--jobs', 2, '--transactions', 2000);
ok(end_load($load), 'many sessions at once: no error') or diag $load->{err};
unlike($load->{err}, qr/error/i, 'many sessions at once: nothing to complain of');
wait_for($node, 'postgres', 'SELECT pending = 0 FROM apikeys.stats', 'all that is in the table is written');
is($node->safe_psql('postgres', q{
		SELECT entries_used BETWEEN 1 AND 16 AND entries_used + entries_free = 16
		       AND evictions > 24 AND flush_errors = 0
		FROM apikeys.stats}),
	't', 'the table stays in its bounds');
wait_for($node, 'postgres', 'SELECT valid > 17000 FROM apikeys.stats', 'all verifies were counted');

# Room for each key in turn: the last use of every key gets to its table.
foreach my $n (1 .. 20)
{
	verify($node, 'postgres', "k$n");
	wait_for($node, 'postgres', "SELECT last_used_at IS NOT NULL FROM apikeys_data.usage WHERE key_id = ${\id_of(qq{k$n})}",
		"k$n, one at a time: written");
}

# A key that reserves and gives nothing back gets half of the reservations, and
# leaves the others to others.
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest(name || '-key', 'sha256'), name, name,
		rate_limits => '{"max_concurrent_requests": 12}')
	FROM unnest('{greedy,modest}'::text[]) name});
my $take = q{
	DO $$
	BEGIN
		FOR i IN 1 .. %d LOOP
			PERFORM apikey_verify('%s-key', reserve => true);
		END LOOP;
	END $$};
my ($ret, $stdout, $stderr);
is($node->psql('postgres', sprintf $take, 8, 'greedy'), 0, 'half of the reservations');
($ret, $stdout, $stderr) = $node->psql('postgres', sprintf($take, 1, 'greedy'),
	extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($stderr, qr/53400:.*HINT:  .*max_tracked_keys/s, 'not one more');
is($node->psql('postgres', sprintf $take, 8, 'modest'), 0, 'the other half is there for another key');

# What has timed out goes to whoever needs it.
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('late-key', 'sha256'), 'late', 'late', rate_limits => '{"max_concurrent_requests": 8}')});
isnt($node->psql('postgres', sprintf $take, 1, 'late'), 0, 'all are taken');
$node->append_conf('postgresql.conf', "apikeys.reservation_timeout = '1s'");
$node->reload;
wait_for($node, 'postgres', q{SELECT current_setting('apikeys.reservation_timeout') = '1s'}, 'the timeout is short');
my $taken = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
wait_for($node, 'postgres', "SELECT clock_timestamp() > '$taken'::timestamptz + interval '1 s'", '... and over');
is($node->psql('postgres', sprintf $take, 1, 'late'), 0, 'another key gets one');
is($node->psql('postgres', sprintf $take, 7, 'late'), 0, '... and as many as it may');

# A key and its budget both need an entry: neither gets that of the other.  From
# here on there is no worker but the launcher, so that no windows are stored.
$node->append_conf('postgresql.conf', "apikeys.last_used_throttle = -1\nmax_worker_processes = 2");
$node->restart;
$node->safe_psql('postgres', q{
	SELECT apikey_budget_create('rich', rate_limits => '{"windows": [{"per": "1 second", "requests": 1000}]}');
	SELECT apikey_import(digest(n || '-key', 'sha256'), n, n, rate_limits => '{"requests_per_day": 10}',
		budget_id => CASE WHEN n IN ('first', 'second') THEN (SELECT id FROM apikeys_data.budget WHERE name = 'rich') END)
	FROM (SELECT 'busy' || i FROM generate_series(1, 16) i UNION ALL VALUES ('first'), ('second')) k(n)});

sub code_of
{
	my ($ret, $stdout, $stderr) = $node->psql('postgres',
		"\\set VERBOSITY sqlstate\nSELECT CASE WHEN reason LIKE 'shared memory is full%' THEN 'REFUSED' ELSE code END FROM apikey_verify('$_[0]-key')");
	return $ret == 0 ? $stdout : ($stderr =~ /(\w{5})$/)[0];
}

is(code_of('first'), 'VALID', 'a budget has its entry');
is(code_of("busy$_"), 'VALID', "busy$_ has one") foreach 1 .. 14;
is(stats($node, 'entries_used, entries_free'), '16|0', 'the table is full');
wait_for($node, 'postgres', q{SELECT entries_limited = 15 FROM apikeys.stats}, "the budget's counts nothing any more");
is(code_of('second'), 'REFUSED', 'there is no space for a key and the budget');
is(code_of('first'), 'VALID', '... which still has its own');

# Nor is anything reserved without an entry of the key and one of its budget, though
# neither has limits.
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('unlimited-key', 'sha256'), 'unlimited', 'x', budget_id => apikey_budget_create('unlimited'))});
is($node->safe_psql('postgres', q{
		SELECT code, reason, reservation IS NULL FROM apikey_verify('unlimited-key', reserve => true);
		SELECT code FROM apikey_verify('unlimited-key')}),
	"RATE_LIMITED|shared memory is full of limits that are not stored yet|t\nVALID", 'a reservation finds no space');
is($node->safe_psql('postgres', "SELECT name, used FROM apikey_limits(${\id_of('second')}) WHERE name = 'requests_per_day'"),
	'requests_per_day|0', '... and a key that was refused has spent nothing');

# There are entries, but of reservations one is left, and a key with a budget needs
# two: who is refused again and again searches once a second.
$node->append_conf('postgresql.conf', "apikeys.reservation_timeout = '1h'");
$node->stop('immediate');
$node->start;
is($node->psql('postgres', sprintf $take, @$_), 0, "$_->[1] has $_->[0]") foreach [ 8, 'greedy' ], [ 7, 'modest' ];
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('pair-key', 'sha256'), 'pair', 'pair', budget_id => apikey_budget_create('pair'))});
my $began = time;
my $searches = $node->safe_psql('postgres', q{
	BEGIN;
	DO $$
	BEGIN
		FOR i IN 1 .. 100 LOOP
			BEGIN
				PERFORM apikey_verify('pair-key', reserve => true);
				RAISE EXCEPTION 'not refused';
			EXCEPTION WHEN configuration_limit_exceeded THEN
			END;
		END LOOP;
	END $$;
	SELECT seq_scan + idx_scan FROM pg_stat_xact_user_tables WHERE relid = 'apikeys_data.budget'::regclass;
	COMMIT});
cmp_ok($searches, '<', 50 + 20 * (time - $began), 'what finds nothing is not repeated at once');
is($node->psql('postgres', sprintf $take, 1, 'modest'), 0, 'the last is there for who needs one');

# There are four windows for each entry, and a key may have twelve.
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest(n || '-key', 'sha256'), n, n, rate_limits => jsonb_build_object(
		'requests_per_minute', 1000, 'tokens_per_minute', 1000, 'requests_per_day', 10, 'tokens_per_day', 1000,
		'windows', (SELECT jsonb_agg(jsonb_build_object('per', i || ' hours', 'tokens', 100)) FROM generate_series(1, 8) i)))
	FROM (SELECT 'wide' || i FROM generate_series(1, 6) i) k(n);
	SELECT apikey_import(digest('narrow-key', 'sha256'), 'narrow', 'x', rate_limits => '{"requests_per_day": 1}')});

# What the windows of tokens of a key count, and how many of them count so much, the most first.
sub used_by
{
	my ($name) = @_;

	return $node->safe_psql('postgres', qq{
		SELECT string_agg(used || ' ' || n, ' ' ORDER BY used DESC)
		FROM (SELECT used, count(*) AS n FROM apikey_limits(${\id_of($name)}) WHERE name ~ 'tokens|hours' GROUP BY used) w});
}

is(code_of("wide$_"), 'VALID', "wide$_ has its windows") foreach 1 .. 5;
is(code_of('wide6'), 'REFUSED', 'there are no windows left for another');
($ret, $stdout, $stderr) = $node->psql('postgres', q{SET request.headers = '{"x-api-key": "wide6-key"}'; SELECT apikey_pre_request()});
like($stderr, qr/ERROR:  \{"code": "PT429", "message": "Too Many Requests", .*shared memory is full.*\nDETAIL:  \{"status": 429, "headers": \{("Retry-After": "\d+")?\}\}$/m,
	'... and by PostgREST, with headers of no limit');
is($node->safe_psql('postgres', "SELECT sum(used) FROM apikey_limits(${\id_of('wide6')})"), 0, '... which has spent nothing');
is(join(' ', map { code_of('narrow') } 1, 2), 'VALID RATE_LIMITED', '... but the one that a narrow key needs');
is($node->safe_psql('postgres', "SELECT string_agg(used::text, '' ORDER BY name) FROM apikey_limits(${\id_of(\"wide$_\")})"), '110000000000',
	"... and wide$_ has lost none") foreach 1 .. 5;
($ret, $stdout, $stderr) = $node->psql('postgres', "SELECT apikey_record_usage(${\id_of('wide6')}, 5)");
is("$ret $stdout", '0 t', 'usage of the one without is recorded');
like($stderr, qr/WARNING:  not enough shared memory/, '... with a warning');
is(used_by('wide6'), '5 3 0 7', '... and has counted where there was space');

# What finds space after all, since a key is revoked, counts once in each window; also if
# reservations, which are reclaimed first, have timed out.
is($node->psql('postgres', sprintf $take, 8, 'greedy'), 0, 'half of the reservations');
$node->append_conf('postgresql.conf', "apikeys.reservation_timeout = '1s'");
$node->reload;
$node->safe_psql('postgres', "SELECT apikey_revoke(${\id_of('wide1')}), pg_sleep(1.1)");
($ret, $stdout, $stderr) = $node->psql('postgres', "SELECT apikey_record_usage(${\id_of('wide6')}, 20)");
is("$ret $stdout $stderr", '0 t ', 'usage of the one without is recorded');
is(used_by('wide6'), '25 3 20 7', '... and has counted once in each window');

# Nor does it go unsaid that there is no space to give back what is void.
$node->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('wide2')}, 1, request_id => 'void')");
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', "SELECT count(*) FROM generate_series(1, 17) n, LATERAL apikey_verify('busy' || n || '-key') v WHERE v.valid"), 16, 'all entries are taken');
($ret, $stdout, $stderr) = $node->psql('postgres', "SELECT apikey_void_usage(${\id_of('wide2')}, 'void')");
is("$ret $stdout", '0 t', 'what is void is taken back');
like($stderr, qr/WARNING:  not enough shared memory/, '... with a warning that a limit goes on counting it');

$node->stop;

# A table that fills up with uses is emptied before it is full, whatever
# apikeys.flush_interval says: nothing is dropped.
$node = start_node('crowded', "apikeys.flush_interval = '1h'", 'apikeys.max_tracked_keys = 2048', 'apikeys.last_used_throttle = 0');
add_keys($node, 'postgres', map { "k$_" } 1 .. 3000);
foreach my $part (0 .. 9)
{
	my ($first, $last) = ($part * 300 + 1, ($part + 1) * 300);

	$node->safe_psql('postgres', "SELECT count(v.code) FROM generate_series($first, $last) n, LATERAL apikey_verify('k' || n || '-key') v");
	wait_for($node, 'postgres', 'SELECT pending < 1600 FROM apikeys.stats', "crowded: uses $first to $last find space");
}
is(stats($node, 'dropped'), 0, 'crowded: nothing is dropped');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage WHERE last_used_at IS NOT NULL'), '>', 1000,
	'crowded: what is not pending is stored');

# Two partitions are crowded.  A worker that fails in one does not go on with the other, nor one whose
# time is up; nor does either begin anew, though somebody has found no space meanwhile.
sub crowd
{
	my ($name, $first, $check) = @_;
	my $use = "SELECT count(v.code) FROM generate_series(%d, %d) n, LATERAL apikey_verify('k' || n || '-key') v";

	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	$node->safe_psql('postgres', qq{
		CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS \$\$BEGIN $check END\$\$;
		ALTER TABLE apikeys_data.usage ADD CONSTRAINT slow CHECK (slow()) NOT VALID});
	$node->safe_psql('postgres', sprintf $use, $first, $first + 1899);
	my $worker = wait_until("$name: a worker", sub { $node->safe_psql('postgres', q{
		SELECT pid FROM pg_stat_activity WHERE backend_type = 'apikeys flush worker' AND wait_event = 'PgSleep'}) });
	$node->safe_psql('postgres', sprintf $use, $first + 1900, $first + 1999);
	return $worker;
}

my $pid = crowd('slow', 1, 'PERFORM pg_catalog.pg_sleep(0.002); RETURN true;');
within_5_seconds('slow: it goes after one partition', sub {
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)") });
$node->safe_psql('postgres', 'DROP FUNCTION slow CASCADE');
wait_for($node, 'postgres', 'SELECT pending < 1400 FROM apikeys.stats', 'slow: the next ones make space');

$pid = crowd('fails', 1001, 'PERFORM pg_catalog.pg_sleep(1); RETURN false;');
wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)", 'fails: it goes');
is(stats($node, q{last_flush_error LIKE '%"slow"%', pending >= 1900}), 't|t', 'fails: all is pending still');
$node->safe_psql('postgres', 'DROP FUNCTION slow CASCADE; SELECT apikey_flush()');
is(stats($node, 'pending'), 0, 'fails: repaired, all is written');
is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
