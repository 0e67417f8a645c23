
# The clock is moved under a running server: a step back never makes a last
# use older, and days end at midnight UTC.  What is not done too often is done
# after a step back all the same.
#
# The background workers do not see the moved clock, so flushes are by hand.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use PostgreSQL::Test::Utils;
use SecretsTest;
use Test::More;

plan skip_all => 'libfaketime is not installed' unless has_clock();

my $node = new_node(
	'main',
	"apikeys.flush_interval = '1h'",
	'apikeys.last_used_throttle = 0');

sub start_server { with_clock($node, sub { $node->start }) }

set_clock($node, 0);
start_server();
add_extension($node, 'postgres');
add_keys($node, 'postgres', 'back', 'other', 'days');
set_clock_to($node, '2030-01-01 12:30:00');
is($node->safe_psql('postgres', q{SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')}),
	'2030-01-01 12:30', 'control: the clock is moved');

sub hour
{
	my ($use) = @_;

	return $use eq '' ? '' : $node->safe_psql('postgres',
		"SELECT to_char('$use'::timestamptz AT TIME ZONE 'UTC', 'DD HH24:MI')");
}

sub use_and_flush
{
	my ($name) = @_;

	is(verify($node, 'postgres', $name), 'VALID', "$name: verified");
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
}

# Forward, each use is written.
use_and_flush('back');
is(hour(stored_use($node, 'postgres', 'back')), '01 12:30', 'the first use');
set_clock_to($node, '2030-01-01 17:30:00');
use_and_flush('back');
my $use = last_use($node, 'postgres', 'back');
is(hour($use), '01 17:30', 'a later use');
is(stored_use($node, 'postgres', 'back'), $use, 'and it is written');

# A step back of six hours
set_clock_to($node, '2030-01-01 11:30:00');
use_and_flush('back');
is(last_use($node, 'postgres', 'back'), $use, 'a step back: the last use gets no older');
is(stored_use($node, 'postgres', 'back'), $use, 'a step back: nor does the stored one');
use_and_flush('other');
is(hour(stored_use($node, 'postgres', 'other')), '01 11:30', 'a step back: another key has the time of now');

# Over a restart, where memory starts with nothing
$node->stop;
start_server();
set_clock_to($node, '2030-01-01 10:30:00');
use_and_flush('back');
is(last_use($node, 'postgres', 'back'), $use, 'a step back and a restart: the last use gets no older');
is(stored_use($node, 'postgres', 'back'), $use, 'a step back and a restart: nor does the stored one');

# And over one with a use in the file.  The clock stands right while the
# server stops and starts.
set_clock_to($node, '2030-01-01 19:30:00');
verify($node, 'postgres', 'back');
set_clock($node, 0);
$node->stop;
start_server();
is(hour(last_use($node, 'postgres', 'back')), '01 19:30', 'a use in the file: it is seen');
use_and_flush('back');
is(hour(last_use($node, 'postgres', 'back')), '01 19:30', 'a use in the file: the last use gets no older');
is(hour(stored_use($node, 'postgres', 'back')), '01 19:30', 'a use in the file: nor does the stored one');

# Days: an entry counts for the day on which it is recorded, and today ends at
# midnight UTC.
my $id = id_of('days');
my $today = "SELECT total_requests, requests_today, tokens_today, cost_today FROM apikey_usage($id)";
$node->safe_psql('postgres', "ALTER DATABASE postgres SET timezone = 'Pacific/Kiritimati'");
set_clock_to($node, '2030-02-01 23:59:00');
$node->safe_psql('postgres', "SELECT apikey_record_usage($id, 1, 0.5)");
is($node->safe_psql('postgres', $today), '1|1|1|0.5', 'before midnight UTC');
set_clock_to($node, '2030-02-02 00:00:01');
is($node->safe_psql('postgres', $today), '1|0|0|0', 'after midnight UTC');
$node->safe_psql('postgres', "SELECT apikey_record_usage($id, 2, 0.25)");
is($node->safe_psql('postgres', $today), '2|1|2|0.25', 'an entry after midnight UTC');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($node->safe_psql('postgres', $today), '2|1|2|0.25', 'rolled up');
is($node->safe_psql('postgres', "SELECT * FROM apikey_usage_history($id)"),
	"2030-02-01|1|1|0.5\n2030-02-02|1|2|0.25", 'each counts for its day');

# A transaction that is open over midnight: the clock counts, not its start.
my $session = $node->background_psql('postgres');
set_clock_to($node, '2030-02-02 23:59:50');
$session->query_safe('BEGIN; SELECT 1');
set_clock_to($node, '2030-02-03 00:00:10');
$session->query_safe("SELECT apikey_record_usage($id, 4, 1)");
$session->query_safe('COMMIT');
is($node->safe_psql('postgres', "SELECT max(day), sum(tokens) FROM apikey_usage_history($id, '2030-02-03')"),
	'2030-02-03|4', 'a transaction over midnight: the entry counts for the day of the call');

# Whose snapshot is older than a key does not take it for deleted, however long ago it
# was used: the use stays pending.
$node->safe_psql('postgres', 'SELECT apikey_flush()');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM apikeys.info');
add_keys($node, 'postgres', 'young');
verify($node, 'postgres', 'young');
set_clock_to($node, '2030-02-03 01:00:00');
$session->query_safe('SELECT apikey_flush(); COMMIT');
is(stored_use($node, 'postgres', 'young'), '', 'a snapshot older than a key: its use is not written');
isnt(last_use($node, 'postgres', 'young'), '', '... but pending');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
isnt(stored_use($node, 'postgres', 'young'), '', '... and written by the next flush');

# A budget and the month: what is spent counts in that of the clock, where it is set back, too.
$node->safe_psql('postgres', q{
	UPDATE apikeys_data.key SET budget_id = apikey_budget_create('month', 10, '1 month', starts_at => '2030-01-01Z', time_zone => 'UTC') WHERE name = 'days'});
my @session = ($session, map { $node->background_psql('postgres') } 1 .. 2);
my $cost = "SELECT apikey_record_usage($id, cost => %d)";

sub remaining
{
	my ($n, $time) = @_;

	set_clock_to($node, "2030-$time") if defined $time;
	return $session[$n]->query_safe(q{SELECT budget_remaining FROM apikey_verify('days-key')});
}

is(remaining(0, '03-31 23:59:45'), '10', 'March');
$session[1]->query_safe(sprintf $cost, 1);
is(remaining(0), '9', 'March: a cost');
$session[1]->query_safe('BEGIN; ' . sprintf $cost, 2);
is(remaining(2, '04-01 00:00:05'), '10', 'April');
$session[1]->query_safe('COMMIT');
is(remaining(2), '10', 'April: a cost of March is committed');
$session[1]->query_safe(sprintf $cost, 5);
is(remaining(2), '5', 'April: a cost');
is(remaining(0, '03-31 23:59:50'), '7', 'March again, in a session that knows it');
is(remaining(2), '7', 'March again, in one that knows April');
is(remaining(2, '03-31 23:59:40'), '7', 'before it was read');
is(remaining(2, '04-01 00:00:10'), '5', 'April again');
$session[1]->query_safe(sprintf $cost, 1);
is(remaining(0, '03-31 23:59:55'), '7', 'March once more, but for a cost of April');
set_clock_to($node, '2030-04-01 00:00:15');
$session[1]->query_safe(sprintf $cost, 1);
is(remaining(0), '3', 'April, which nobody had read');

# Days before those from which the server counts
set_clock_to($node, '1999-12-31 12:00:00');
is($node->safe_psql('postgres', 'SELECT apikeys.utc_today()'), '1999-12-31', 'noon in another century');

$_->quit foreach @session;
$node->stop;

# ------------------------------------------------- what is not done too often

my $small = new_node('small', "apikeys.flush_interval = '1h'", 'apikeys.max_tracked_keys = 16', 'max_worker_processes = 2',
	'apikeys.last_used_throttle = -1', 	"apikeys.hmac_secret_file = '${\$node->basedir}/secrets'");
write_secrets($node, 'new', 'old');
my $time = 1_900_000_000;
stop_clock($small, $time);
with_clock($small, sub { $small->start });
add_extension($small, 'postgres');
$small->safe_psql('postgres', q{
	SELECT count(apikey_import(digest(n || '-key', 'sha256'), n::text, 'x', rate_limits => '{"requests_per_day": 10}')) FROM generate_series(1, 18) n});

# A search for space, which found none: the next one is a second later.
foreach my $n (1 .. 2)
{
	is(verify($small, 'postgres', $_), 'VALID', "key $_ of 16: $n") foreach 1 .. 16;
	$small->safe_psql('postgres', 'SELECT apikey_flush()') if $n == 1;
}
is(verify($small, 'postgres', 17), 'RATE_LIMITED', 'another one finds no space');
$small->safe_psql('postgres', "UPDATE apikeys_data.key SET revoked_at = '2020-01-01' WHERE name = '1'");
is(verify($small, 'postgres', 17), 'RATE_LIMITED', '... nor looks for it again at once, when a key is gone');
stop_clock($small, $time - 10);
is(verify($small, 'postgres', 17), 'VALID', '... but it does after a step back');
is($small->safe_psql('postgres', q{SELECT sum(l.used) FROM apikeys_data.key k, LATERAL apikey_limits(k.id) l WHERE k.name <> '1'}),
	31, '... where no window is over that begins later');
stop_clock($small, $time + 2 * 86400);
is(verify($small, 'postgres', $_), 'VALID', "two days later all are: $_ finds space") foreach 18, 17;

# A key is rehashed under the first secret: by the next flush, or if that could not, a
# second later.
$small->safe_psql('postgres', sprintf q{SELECT apikey_import(hmac('signed-key', '%s', 'sha256'), 'signed', 'x', hash_secret => 'old')}, secret_of('old'));
stop_clock($small, $time);
my $holder = $small->background_psql('postgres');
$session = $small->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT FROM apikeys_data.key WHERE name = 'signed' FOR UPDATE");
my $signed = q{SELECT apikey_check('signed-key'); SELECT apikey_flush(); SELECT hash_secret FROM apikeys_data.key WHERE name = 'signed'};
like($session->query_safe($signed), qr/VALID.*old$/s, 'a key that somebody holds is not rehashed');
$holder->query_safe('COMMIT');
$holder->quit;
like($session->query_safe($signed), qr/VALID.*old$/s, '... and that is not tried again at once');
stop_clock($small, $time - 10);
like($session->query_safe($signed), qr/VALID.*new$/s, '... but after a step back');

# Secrets that are missing are looked for once a minute.
my $missing = qr/API keys are hashed with HMAC secret "\w+", which is not loaded/;
my $offset = -s $small->logfile;
foreach my $case (
	[ 0, 'one', 1, 'a secret is missing' ], [ 59, 'two', 1, 'another one within a minute' ],
	[ 60, undef, 2, '... is found when that is over' ], [ 0, 'three', 3, 'a third one after a step back' ])
{
	my ($seconds, $secret, $found, $test_name) = @$case;

	$small->safe_psql('postgres', "SELECT apikey_import(sha256('key of $secret'), 'x', 'x', hash_secret => '$secret')") if $secret;
	stop_clock($small, $time + $seconds);
	is($session->query_safe(q{SELECT apikey_check('nobody')}), 'NOT_FOUND', 'a key is not found');
	is(count_in_log($small, $missing, $offset), $found, $test_name);
}

# What a session knows of a budget from a time that is yet to come, it reads again.
my $remains = q{SELECT trim_scale(budget_remaining) FROM apikey_verify('spender-key')};
$small->safe_psql('postgres', q{SELECT apikey_import(digest('spender-key', 'sha256'), 'spender', 'x', budget_id => apikey_budget_create('ten', 10))});
is($session->query_safe($remains), 10, 'a budget');
$small->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('spender')}, 1, 4)");
stop_clock($small, $time - 10);
is($session->query_safe($remains), 6, '... after a step back');

$session->quit;
$small->safe_psql('postgres', q{
	UPDATE apikeys_data.key SET revoked_at = NULL WHERE name = '1';
	SELECT apikey_revoke(id) FROM apikeys_data.key WHERE name = 'x'});
is_sound($small, 'postgres', 'in the end');
$small->stop;
done_testing();
