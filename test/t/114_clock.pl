
# The clock is moved under a running server: a step back never makes a last
# use older, and days end at midnight UTC.
#
# The background workers do not see the moved clock, so flushes are by hand.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use PostgreSQL::Test::Utils;
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

$session->quit;
$node->stop;
done_testing();
