
# Rate limits and reservations under fire: many clients, killed clients, restarts.
#
# However long any of it takes: what is counted exactly is of a day, which this
# does not last, and what a minute's window has used may only be less.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# No last use is kept, so that an entry stays for its limits alone.  Nor are windows
# stored but by apikey_flush(): there is no worker but the launcher.
my $node = start_node('main', 'apikeys.max_tracked_keys = 2048', 'apikeys.last_used_throttle = -1',
	'max_worker_processes = 2');

sub add_limited
{
	my ($name, $limits) = @_;

	add_keys($node, 'postgres', $name);
	set_limits($name, $limits);
}

sub set_limits
{
	my ($name, $limits) = @_;

	$node->safe_psql('postgres', sprintf q{SELECT apikey_update(%s, '{"rate_limits": {%s}}')},
		id_of($name), $limits);
}

sub used
{
	my ($name, $limit) = @_;

	return $node->safe_psql('postgres',
		sprintf "SELECT used FROM apikey_limits(%s) WHERE name = '$limit'", id_of($name));
}

sub codes
{
	my ($name, $times) = @_;

	return $node->safe_psql('postgres', qq{
		SELECT string_agg(v.code, ' ' ORDER BY n)
		FROM generate_series(1, $times) n, LATERAL apikey_verify('$name-key', tokens => n - n) v});
}

# -------------------------------------------- the last place is taken once

add_limited('hot', '"requests_per_minute": 5000, "requests_per_day": 1000');
my $load = start_load($node, 'postgres', "SELECT code FROM apikey_verify('hot-key');\n",
	'--client=16', '--jobs=2', '--transactions=125');
ok(end_load($load), '16 clients make 2,000 requests');
is(stats($node, "valid || ' ' || rate_limited"), '1000 1000', 'of a limit of 1,000, exactly so many pass');
cmp_ok(used('hot', 'requests_per_minute'), '<=', 1000, 'what a window refuses is not spent in another');

# Two limits, one over the minute and one over the day, and concurrent requests:
# of each the same number is spent.
add_limited('three', '"requests_per_minute": 700, "requests_per_day": 500, "max_concurrent_requests": 600');
$load = start_load($node, 'postgres', "SELECT code FROM apikey_verify('three-key', reserve => true);\n",
	'--client=16', '--jobs=2', '--transactions=125');
ok(end_load($load), 'another 2,000');
is($node->safe_psql('postgres', sprintf q{
		SELECT string_agg(name || ' ' || CASE name WHEN 'requests_per_minute' THEN greatest(used, 500) ELSE used END, ', ')
		FROM apikey_limits(%s)}, id_of('three')),
	'requests_per_minute 500, requests_per_day 500, max_concurrent_requests 500', 'all or nothing');

# Tokens that are recorded at once by many
add_limited('tokens', '"tokens_per_day": 9007199254740991');
$load = start_load($node, 'postgres', sprintf("SELECT apikey_record_usage(%s, 7);\n", id_of('tokens')),
	'--client=16', '--jobs=2', '--transactions=50');
ok(end_load($load), '16 clients record usage');
is(used('tokens', 'tokens_per_day'), 16 * 50 * 7, 'all of it is spent');

# ------------------------------------------------------------------- edges

add_limited('one', '"requests_per_day": 1');
is(codes('one', 3), 'VALID RATE_LIMITED RATE_LIMITED', 'a limit of 1');
add_limited('large', '"requests_per_day": 2147483647, "tokens_per_minute": 2147483647');
is(codes('large', 3), 'VALID VALID VALID', 'limits of 2^31 - 1');
is($node->safe_psql('postgres', q{
		SELECT code, reservation IS NOT NULL FROM apikey_verify('large-key', tokens => 2147483647, reserve => true)}),
	'VALID|t', 'as many tokens are reserved');
is(used('large', 'tokens_per_minute'), 2147483647, '... and counted');

add_limited('rolled', '"requests_per_day": 5');
my $answer = $node->safe_psql('postgres', q{
	BEGIN; SELECT code FROM apikey_verify('one-key'); ROLLBACK;
	BEGIN; SELECT code FROM apikey_verify('rolled-key'); ROLLBACK});
is($answer, "RATE_LIMITED\nVALID", 'in transactions that are rolled back');
is(used('rolled', 'requests_per_day'), 1, '... which gives nothing back');
is($node->safe_psql('postgres', q{
		BEGIN READ ONLY; SELECT code FROM apikey_verify('rolled-key'); COMMIT}),
	'VALID', 'in a READ ONLY transaction');

# ------------------------------------------------------------- reservations

# Each turn makes one to three reservations, and notes from when to when it
# surely had them.  The gate may be held by 4 at once.
add_limited('gate', '"max_concurrent_requests": 4');
$node->safe_psql('postgres', q{
	CREATE UNLOGGED TABLE turn (reservation uuid, first timestamptz, last timestamptz);
	CREATE SEQUENCE pairs CACHE 1;
	CREATE FUNCTION take_turns(n integer) RETURNS integer LANGUAGE plpgsql AS $$
	DECLARE
		taken uuid;
		held uuid[];
		firsts timestamptz[];
		refused integer = 0;
	BEGIN
		FOR i IN 1 .. n LOOP
			held = '{}';
			firsts = '{}';
			FOR j IN 1 .. 1 + random() * 2 LOOP
				SELECT v.reservation INTO taken FROM apikey_verify('gate-key', reserve => true) v;
				IF taken IS NULL THEN
					refused = refused + 1;
				ELSE
					held = held || taken;
					firsts = firsts || clock_timestamp();
					PERFORM nextval('pairs');
				END IF;
			END LOOP;
			IF random() < 0.01 THEN
				PERFORM pg_sleep(0.0005);
			END IF;
			INSERT INTO turn SELECT r, f, clock_timestamp() FROM unnest(held, firsts) u(r, f);
			FOREACH taken IN ARRAY held LOOP
				IF NOT apikey_release(taken) THEN
					RAISE 'reservation % was not held', taken;
				END IF;
			END LOOP;
		END LOOP;
		RETURN refused;
	END $$});

# Clients come and go until there have been enough pairs; some are killed in
# the middle of what they do.
my ($killed, $failed) = (0, 0);
while ($node->safe_psql('postgres', 'SELECT last_value FROM pairs') < 100_000)
{
	my $offset = -s $node->logfile;

	$load = start_load($node, 'postgres', "SELECT take_turns(200);\n",
		'--client=16', '--jobs=2', '--transactions=10');
	foreach (1 .. 4)
	{
		usleep(int rand 200_000);
		$killed += $node->safe_psql('postgres', q{
			SELECT count(pg_terminate_backend(pid)) FROM (
				SELECT pid FROM pg_stat_activity
				WHERE application_name = 'pgbench' AND state = 'active' ORDER BY random() LIMIT 1) p});
	}
	end_load($load);
	$failed += count_in_log($node, qr/was not held/, $offset);

	# What the killed ones held comes back; the others wait for nobody.
	$node->safe_psql('postgres', q{ALTER SYSTEM SET apikeys.reservation_timeout = '1ms'});
	$node->reload;
	wait_until('what killed clients held is free', sub { used('gate', 'max_concurrent_requests') == 0 });
	$node->safe_psql('postgres', q{ALTER SYSTEM RESET apikeys.reservation_timeout});
	$node->reload;
	wait_for_setting('10min');
}

# A backend that has not seen the reload yet may end a reservation too early.
sub wait_for_setting
{
	my ($value) = @_;

	wait_until("reservation_timeout is $value",
		sub { $node->safe_psql('postgres', 'SHOW apikeys.reservation_timeout') eq $value });
}

ok($killed > 0, "$killed clients were killed");
is($failed, 0, 'what was taken could be given back');
is($node->safe_psql('postgres', q{
		SELECT max(held) BETWEEN 2 AND 4
		FROM (SELECT sum(change) OVER (ORDER BY at, change ROWS UNBOUNDED PRECEDING) AS held
		      FROM (SELECT first AS at, 1 AS change FROM turn
		            UNION ALL SELECT last, -1 FROM turn) c) h}),
	't', 'never were more than 4 held at once');
is($node->safe_psql('postgres', 'SELECT count(*) > 10000 FROM turn'), 't', 'of many that were');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT reservation) = count(*) FROM turn}),
	't', 'no id was given out twice');

# A verify that has to wait while it reads a budget does not bring an old time
# along, by which what others have reserved since would be older than it is.
add_limited('waiting', '"max_concurrent_requests": 2');
$node->safe_psql('postgres', sprintf q{
	SELECT apikey_update(%s, jsonb_build_object('budget_id', apikey_budget_create('waiting', 1)))}, id_of('waiting'));
my ($freed, $freed_id) = split /\|/, $node->safe_psql('postgres', sprintf q{
	SELECT raw_key, id FROM apikey_rotate(%s, '1 hour')}, id_of('waiting'));
$node->safe_psql('postgres', qq{SELECT apikey_update('$freed_id', '{"budget_id": null}')});
my $blocker = $node->background_psql('postgres');
my $waiting = $node->background_psql('postgres');
$blocker->query_safe('BEGIN; LOCK TABLE apikeys_data.budget_period');
$waiting->query_until(qr/asked/, q{
	\echo asked
	SELECT code FROM apikey_verify('waiting-key', reserve => true);
});
wait_for($node, 'postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted}, 'a verify waits');
my $before = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
is($node->safe_psql('postgres', qq{
		SELECT string_agg(v.code, ' ') FROM generate_series(1, 2) n,
		LATERAL apikey_verify('$freed' || left(n::text, 0), reserve => true) v}),
	'VALID VALID', '... while a successor without a budget takes both places');
$blocker->query_safe('COMMIT');
like($waiting->query_safe('SELECT 1'), qr/RATE_LIMITED/, '... which it then finds taken');
is($node->safe_psql('postgres', qq{
		SELECT clock_timestamp() + resets_in - interval '10 min' >= '$before' FROM apikey_limits('$freed_id')}),
	't', '... and leaves as they were');
$_->quit foreach $blocker, $waiting;

# Another database knows neither the reservation nor the windows.
$node->safe_psql('postgres', 'CREATE DATABASE other');
add_extension($node, 'other');
add_keys($node, 'other', 'gate');
my $reservation = $node->safe_psql('postgres', q{SELECT reservation FROM apikey_verify('gate-key', reserve => true)});
is($node->safe_psql('other', "SELECT apikey_release('$reservation')"), 'f', 'a reservation of another database');
is($node->safe_psql('postgres', "SELECT apikey_release('$reservation'), apikey_release('$reservation')"), 't|f',
	'one is given back once');

# ------------------------------------------------------------- a full table

# Entries with something to remember do not make room for others.
$node->safe_psql('other', q{
	SELECT apikey_import(digest(n || '-key', 'sha256'), n::text, 'many', rate_limits => '{"requests_per_day": 1}')
	FROM generate_series(1, 3000) n});
my $refused = q{reason LIKE 'shared memory is full%'};
is($node->safe_psql('other', qq{
		SELECT code, retry_after, valid, limit_name IS NULL, count(*) BETWEEN 900 AND 1500
		FROM generate_series(1, 3000) n, LATERAL apikey_verify(n || '-key') v WHERE $refused GROUP BY 1, 2, 3, 4}),
	'RATE_LIMITED|1|f|t|t', 'a full table is a row that says when to come again');
is(stats($node, 'refused BETWEEN 900 AND 1500'), 't', '... which is counted');
is(codes('one', 1), 'RATE_LIMITED', '... and does not unlock anybody');
is(used('hot', 'requests_per_day'), 1000, '... nor forget anything');
is($node->safe_psql('other', qq{
		SELECT count(*) FILTER (WHERE v.valid), count(*) FILTER (WHERE NOT $refused) BETWEEN 1500 AND 2048
		FROM generate_series(1, 3000) n, LATERAL apikey_verify(n || '-key') v}),
	'0|t', '... and nobody passes who has no entry, or once more');

# Nor does a key that spends nothing yet: what is recorded would find no room.
# The ledger has it all the same.
$node->safe_psql('other', q{
	SELECT apikey_import(digest('tokens ' || n, 'sha256'), 'tokens ' || n, 'many', rate_limits => '{"tokens_per_day": 1}')
	FROM generate_series(1, 100) n});
my $passed = q{SELECT count(*) FROM generate_series(1, 100) n, LATERAL apikey_verify('tokens ' || n) v WHERE v.valid};
my $dropped = stats($node, 'dropped');
is($node->safe_psql('other', $passed), 0, '... nor whose tokens could not be counted');
my ($ret, $stdout, $stderr) = $node->psql('other', q{
	SELECT count(*) FROM (SELECT apikey_record_usage(id, 5) FROM apikeys_data.key WHERE name LIKE 'tokens %') r});
is("$ret $stdout", '0 100', 'usage is recorded');
like($stderr, qr/WARNING:  not enough shared memory.*HINT:  Raise apikeys.max_tracked_keys/s, '... with a warning');
is($node->safe_psql('other', q{
		SELECT count(*), sum(total_tokens) FROM apikeys.info WHERE name LIKE 'tokens %'}),
	'100|500', '... and none of it is lost');
wait_for($node, 'postgres', "SELECT dropped = $dropped + 100 FROM apikeys.stats", '... which is counted');
is($node->safe_psql('other', $passed), 0, '... and opens no door');
$node->safe_psql('postgres', 'DROP DATABASE other');
is($node->safe_psql('postgres', 'SELECT apikey_flush() >= 0'), 't', 'flushed');

# ------------------------------------------------- more than can be added up

# What is reserved outlives a short window, so it may be more than a limit can be.
add_limited('huge', '"windows": [{"name": "second", "per": "1 second", "cost": 9000000000}]');
my @reservations;
foreach my $time ('first', 'second')
{
	wait_until('the window is free', sub { used('huge', 'second') == 0 });
	push @reservations,
		$node->safe_psql('postgres', "SELECT reservation FROM apikey_verify('huge-key', cost => 9000000000, reserve => true)");
	is_sound($node, 'postgres', "with a huge reservation, the $time");
}
is($node->safe_psql('postgres', "SELECT apikey_release('$_')"), 't', 'a huge reservation is released') foreach @reservations;
is($node->safe_psql('postgres', sprintf 'SELECT reserved FROM apikey_limits(%s)', id_of('huge')), '0', '... and nothing is reserved');
is_sound($node, 'postgres', '... which is sound');

# ---------------------------------------------------------------- restarts

my $new_key = $node->safe_psql('postgres', sprintf q{
	SELECT raw_key FROM apikey_rotate(%s, '1 hour')}, id_of('one'));
my $verify_new = "SELECT code FROM apikey_verify('$new_key')";
is($node->safe_psql('postgres', $verify_new), 'RATE_LIMITED', 'a rotated key shares the windows of its line');

# The windows of a line whose root was used by nobody else survive as well.
$node->restart;
is(codes('one', 1), 'RATE_LIMITED', 'after a restart: still limited');
is($node->safe_psql('postgres', $verify_new), 'RATE_LIMITED', '... and its successor');
is(used('three', 'requests_per_day'), 500, '... windows are kept');
is(used('three', 'max_concurrent_requests'), 0, '... reservations are not');
is(used('tokens', 'tokens_per_day'), 16 * 50 * 7, '... tokens are kept');
is(count_in_log($node, qr/ignoring file/), 0, '... from a sound file');

# Twice in a row: what came from the file goes there again.
$node->restart;
is(used('three', 'requests_per_day'), 500, 'after another restart');

$node->stop('immediate');
$node->start;
is(used('three', 'requests_per_day'), 500, 'after a crash windows are as they were stored');
is(codes('one', 2), 'RATE_LIMITED RATE_LIMITED', '... and limit');
is_sound($node, 'postgres', 'in the end');

$node->stop;
done_testing();
