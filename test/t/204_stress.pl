
# Eight sessions verify while two others revoke a thousand keys, one after the
# other and in five ways; for a third of them, keys derived from them are verified.  Each notes when: a yes is stale if its verify
# started after the commit of the key's end had returned.
#
#   STRESS_SECONDS=60   a longer run, with a million verifies or more (15)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{STRESS_SECONDS} // 15;
my $verifiers = 8;
my $revokers = 2;
my $keys = 1000;
my $verifies = int($seconds * 1_000_000 / 60 / $verifiers) + 1;    # each, at least

my $node = start_node('main', "apikeys.flush_interval = '1s'");
$node->safe_psql(
	'postgres', qq{
	CREATE EXTENSION dblink;

	CREATE TABLE keys AS
		SELECT n, 'stress-' || n AS raw_key,
		       apikey_import(digest('stress-' || n, 'sha256'), 'stress', 'stress-...') AS id
		FROM generate_series(1, $keys) n;
	-- Of some, a derived key is asked for: it ends with them.
	UPDATE keys SET raw_key = (SELECT d.raw_key FROM apikey_derive(keys.raw_key, '1 day') d) WHERE n % 3 = 0;

	-- When a key was about to be ended, and when that was acknowledged
	CREATE TABLE ended (n int PRIMARY KEY, began timestamptz, acknowledged timestamptz);

	-- What a verifier has seen of a key: when the last verify started that
	-- gave a yes, when the first one ended that gave a no, and how many yes.
	CREATE TABLE seen (verifier int, n int, last_yes timestamptz, first_no timestamptz, yes bigint);
	CREATE TABLE ready (verifier int);
	CREATE TABLE done (verifier int, verifies bigint)});

# The keys end in the order of their numbers, evenly over the time, once every
# verifier has found all of them good.  The clock is read before the change
# and after its COMMIT has returned.
$node->safe_psql(
	'postgres', qq{
	CREATE PROCEDURE revoker(which int) LANGUAGE plpgsql AS
	\$\$
	DECLARE
		victim keys;
		began timestamptz;
		acknowledged timestamptz;
		start timestamptz;
	BEGIN
		WHILE (SELECT count(*) FROM ready) < $verifiers LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		start := clock_timestamp();
		FOR victim IN SELECT * FROM keys WHERE n % $revokers = which ORDER BY n LOOP
			PERFORM pg_sleep_until(start + victim.n * interval '$seconds s' / $keys);
			began := clock_timestamp();
			CASE victim.n / $revokers % 5
				WHEN 0 THEN PERFORM apikey_revoke(victim.id);
				WHEN 1 THEN PERFORM apikey_rotate(victim.id);
				WHEN 2 THEN PERFORM apikey_delete(victim.id);
				WHEN 3 THEN PERFORM apikey_update(victim.id, '{"enabled": false}');
				ELSE UPDATE apikeys_data.key SET revoked_at = clock_timestamp() WHERE id = victim.id;
			END CASE;
			COMMIT;
			acknowledged := clock_timestamp();
			INSERT INTO ended VALUES (victim.n, began, acknowledged);
			COMMIT;
		END LOOP;
	END
	\$\$});

# A verifier asks mostly for the keys that end next or have just ended, in
# transactions of a few hundred calls.  The clock is read before each call.
# It goes on until all keys have ended and it has made its share of calls; its
# last round takes every key once.
$node->safe_psql(
	'postgres', qq{
	CREATE PROCEDURE verifier(which int, calls int) LANGUAGE plpgsql AS
	\$\$
	DECLARE
		raw_keys text[] := (SELECT array_agg(raw_key ORDER BY keys.n) FROM keys);
		last_yes timestamptz[] := array_fill(NULL::timestamptz, ARRAY[$keys]);
		first_no timestamptz[] := last_yes;
		yes int[] := array_fill(0, ARRAY[$keys]);
		verifies bigint := 0;
		frontier int := 0;
		last_round boolean := false;
		started timestamptz;
		answer text;
		k int;
	BEGIN
		LOOP
			FOR i IN 1 .. CASE WHEN last_round OR verifies = 0 THEN $keys ELSE calls END LOOP
				k := CASE
					WHEN last_round OR verifies < $keys THEN i
					WHEN i % 8 = 0 THEN 1 + floor(random() * $keys)
					ELSE least(greatest(frontier - 4 + floor(random() * 10), 1), $keys)
				END;
				started := clock_timestamp();
				SELECT code INTO answer FROM apikey_verify(raw_keys[k]);
				IF answer = 'VALID' THEN
					last_yes[k] := started;
					yes[k] := yes[k] + 1;
				ELSIF first_no[k] IS NULL THEN
					first_no[k] := clock_timestamp();
				END IF;
				verifies := verifies + 1;
			END LOOP;
			IF verifies = $keys THEN
				INSERT INTO ready VALUES (which);
			END IF;
			COMMIT;
			EXIT WHEN last_round;
			frontier := (SELECT count(*) FROM ended);
			last_round := frontier = $keys AND verifies >= $verifies;
			COMMIT;
		END LOOP;
		INSERT INTO seen SELECT which, s.n, last_yes[s.n], first_no[s.n], yes[s.n]
			FROM generate_series(1, $keys) s(n);
		INSERT INTO done VALUES (which, verifies);
	END
	\$\$});

# One session holds the strings of all.  Every verifier has a level and a
# length of its transactions of its own.
my $strings = $node->background_psql('postgres',
	timeout => 3 * $seconds + $PostgreSQL::Test::Utils::timeout_default);
my $connection = "host=${\$node->host} port=${\$node->port} dbname=postgres";

sub start_session
{
	my ($name, $level, $call) = @_;

	$strings->query_safe("SELECT dblink_connect('$name', '$connection')");
	$strings->query_safe("SELECT dblink_exec('$name', 'SET default_transaction_isolation = ''$level''')");
	$strings->query_safe("SELECT dblink_send_query('$name', '$call')");
}

my @levels = ('read committed', 'repeatable read', 'serializable');
foreach my $n (1 .. $verifiers)
{
	start_session("verifier_$n", $levels[ $n % 3 ], sprintf 'CALL verifier(%d, %d)', $n, 100 * 2**$n / 2);
}

start_session("revoker_$_", 'read committed', "CALL revoker($_)")
  foreach 0 .. $revokers - 1;
foreach my $name ((map "revoker_$_", 0 .. $revokers - 1), (map "verifier_$_", 1 .. $verifiers))
{
	is($strings->query_safe("SELECT * FROM dblink_get_result('$name') r(status text)"), 'CALL', "$name has ended well");
}
$strings->quit;

sub query_is
{
	my ($query, $expected, $test_name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql('postgres', $query), $expected, $test_name);
}

# Did it take place at all?
query_is('SELECT count(*) FROM ended', $keys, 'every key has ended');
query_is("SELECT count(*), sum(verifies) >= $verifiers * $verifies FROM done", "$verifiers|t", 'every verifier has made its share of calls');
query_is('SELECT count(*) FROM (SELECT FROM seen GROUP BY n HAVING count(last_yes) = count(*)) s', $keys, 'every key was good for every verifier');
query_is('SELECT count(*) FROM seen WHERE first_no IS NULL', 0, 'every key has ended for every verifier');
cmp_ok(stats($node, 'cache_hits'), '>', $verifiers * $keys, 'the caches were warm');
cmp_ok(stats($node, 'cache_invalidations'), '>', $verifiers, 'and were invalidated');

# No stale yes, and no untimely no.
query_is('SELECT count(*) FROM seen JOIN ended USING (n) WHERE last_yes > acknowledged', 0, 'no yes after the end was acknowledged');
query_is('SELECT count(*) FROM seen JOIN ended USING (n) WHERE first_no < began', 0, 'no no before the end began');

note $node->safe_psql('postgres', q{
	SELECT format('%s verifies, %s yes; %s keys were asked for within 1 ms after their end',
	              (SELECT sum(verifies) FROM done), (SELECT sum(yes) FROM seen),
	              (SELECT count(DISTINCT n) FROM seen JOIN ended USING (n)
	               WHERE first_no < acknowledged + interval '1 ms'))});
note $node->safe_psql('postgres', q{
	SELECT format('%s hits, %s misses, %s invalidations', cache_hits, cache_misses, cache_invalidations)
	FROM apikeys.stats});

$node->stop;
done_testing();
