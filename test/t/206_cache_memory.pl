
# However much memory the cache has and whatever has been evicted: a long random
# walk of verifies, and of changes by this session and by another, in which
# every answer is compared with what is known to be committed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $steps = 3000;
my $node = start_node('main', "apikeys.flush_interval = '1h'");

add_keys($node, 'postgres', map "walk$_", 1 .. 6);
add_keys($node, 'postgres', map "crowd$_", 1 .. 2000);
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION dblink;
	CREATE TABLE saved AS SELECT * FROM apikeys_data.key;

	CREATE FUNCTION answer(n int) RETURNS text LANGUAGE plpgsql AS
	$$
	BEGIN
		RETURN (SELECT concat_ws(' ', code, name, metadata->>'v') FROM apikey_verify('walk' || n || '-key'));
	END
	$$;

	-- One of the things that can happen to a key
	CREATE FUNCTION change_of(what int, n int, version int) RETURNS text LANGUAGE sql AS
	$$
		SELECT format((ARRAY[
			'UPDATE apikeys_data.key SET enabled = false WHERE name = %1$L',
			'UPDATE apikeys_data.key SET enabled = true WHERE name = %1$L',
			'UPDATE apikeys_data.key SET metadata = jsonb_build_object(''v'', %2$s) WHERE name = %1$L',
			'DELETE FROM apikeys_data.key WHERE name = %1$L',
			'INSERT INTO apikeys_data.key SELECT * FROM saved WHERE name = %1$L ON CONFLICT DO NOTHING'])[what],
			'walk' || n, version)
	$$;

	-- and what it then says
	CREATE FUNCTION answer_after(what int, n int, version int, before text) RETURNS text LANGUAGE sql AS
	$$
		SELECT CASE
			WHEN what = 5 AND before = 'NOT_FOUND' THEN 'VALID walk' || n
			WHEN what = 5 OR before = 'NOT_FOUND' THEN before
			WHEN what = 1 THEN replace(before, 'VALID', 'DISABLED')
			WHEN what = 2 THEN replace(before, 'DISABLED', 'VALID')
			WHEN what = 3 THEN split_part(before, ' ', 1) || ' walk' || n || ' ' || version
			ELSE 'NOT_FOUND'
		END
	$$;

	CREATE PROCEDURE walk(steps int) LANGUAGE plpgsql AS
	$$
	DECLARE
		known text[] := ARRAY(SELECT 'VALID walk' || n FROM generate_series(1, 6) n);
		n int;
		what int;
		dice float;
		said text;
	BEGIN
		PERFORM dblink_connect('other', format('dbname=postgres host=%s port=%s',
			split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port')));
		PERFORM setseed(0.5);
		FOR step IN 1 .. steps LOOP
			n := 1 + floor(random() * 6);
			what := 1 + floor(random() * 5);
			dice := random();

			IF dice < 0.1 THEN
				PERFORM dblink_exec('other', change_of(what, n, step));
				known[n] := answer_after(what, n, step, known[n]);
			ELSIF dice < 0.15 THEN
				COMMIT;
				EXECUTE change_of(what, n, step);
				known[n] := answer_after(what, n, step, known[n]);
				COMMIT;
			ELSIF dice < 0.2 THEN
				COMMIT;
				EXECUTE change_of(what, n, step);
				said := answer(n);
				IF said <> answer_after(what, n, step, known[n]) THEN
					RAISE EXCEPTION 'step %, changed: % instead of %', step, said, answer_after(what, n, step, known[n]);
				END IF;
				ROLLBACK;
			ELSE
				n := 1 + floor(random() * 6);
			END IF;

			said := answer(n);
			IF said <> known[n] THEN
				RAISE EXCEPTION 'step %: % instead of %', step, said, known[n];
			END IF;

			-- Others come by, and evict each other, or what is walked through.
			FOR i IN 1 .. 3 LOOP
				ASSERT (SELECT valid FROM apikey_verify('crowd' || 1 + floor(random() * 2000) || '-key'));
			END LOOP;
		END LOOP;
	END
	$$});

# 128 kB are enough for three hundred keys; without any, each backend is left to
# itself.
foreach my $memory ('32MB', '128kB', '0')
{
	$node->safe_psql('postgres', "ALTER SYSTEM SET apikeys.cache_memory = '$memory'");
	$node->restart;
	foreach my $level ('read committed', 'repeatable read', 'serializable')
	{
		my $hits = stats($node, 'cache_hits');

		$node->safe_psql('postgres', 'TRUNCATE apikeys_data.key; INSERT INTO apikeys_data.key SELECT * FROM saved');
		my ($ret, $stdout, $stderr) = $node->psql('postgres', qq{
			SET default_transaction_isolation = '$level';
			CALL walk($steps)});
		is($stderr, '', "$memory, $level: every answer was right");
		cmp_ok(stats($node, 'cache_hits') - $hits, '>', $steps / 2, "$memory, $level: with hits");
	}
}

# A session that does without, and comes back
my $session = $node->background_psql('postgres');
$node->safe_psql('postgres', 'TRUNCATE apikeys_data.key; INSERT INTO apikeys_data.key SELECT * FROM saved');
my $all = q{SELECT string_agg(answer(n), ',' ORDER BY n) FROM generate_series(1, 6) n};
my $valid = join ',', map "VALID walk$_", 1 .. 6;
foreach my $cache ('on', 'off', 'on')
{
	my $hits = stats($node, 'cache_hits');

	$session->query_safe("SET apikeys.cache = $cache");
	is($session->query_safe($all), $valid, "turned $cache");
	is($session->query_safe($all), $valid, "turned $cache, again");
	$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'walk3'});
	is($session->query_safe($all), $valid =~ s/VALID walk3/DISABLED walk3/r, "turned $cache, after a change");
	$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET enabled = true WHERE name = 'walk3'});
	is(stats($node, 'cache_hits') > $hits, $cache eq 'on' || '', "turned $cache: hits or none");
}

# Budgets: of a session that has as many as it keeps, the next request begins with none.
my $nkept = q{SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'apikeys budget'};
my $code = q{SELECT code FROM apikey_verify('budget1-key')};
$node->safe_psql('postgres', q{
	SELECT count(apikey_import(digest('budget' || n || '-key', 'sha256'), 'x', 'x', budget_id => apikey_budget_create('budget' || n, 1)))
	FROM generate_series(1, 1200) n});
$session->query_safe(qq{
	DO \$\$
	BEGIN
		FOR n IN 1 .. 1200 LOOP
			PERFORM apikey_verify('budget' || n || '-key');
			EXIT WHEN n >= 1024 AND ($nkept) >= 1024;
		END LOOP;
	END \$\$});
is($session->query_safe($nkept), 1024, 'budgets fill the cache');
$session->query_safe('SET apikeys.cache = off');
is($session->query_safe($code) . $session->query_safe($nkept), 'VALID0', '... turned off, none is kept');
$session->query_safe(q{UPDATE apikeys_data.budget SET max_cost = 0 WHERE name = 'budget1'});
is($session->query_safe($code), 'BUDGET_EXCEEDED', '... after a change');
$session->quit;

$node->stop;
done_testing();
