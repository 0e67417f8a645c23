
# What verify says of the limits, with a clock that stands still: the columns
# limit_name to budget_remaining and retry_after, by hand.  306_limits_model.pl
# has them against a model.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'libfaketime is not installed' unless has_clock();

my $node = new_node('main', "apikeys.flush_interval = '1h'", "apikeys.reservation_timeout = '90s'");
set_clock($node, 0);
with_clock($node, sub { $node->start });
add_extension($node, 'postgres');

my $now = 1_900_000_000;
stop_clock($node, $now);
is($node->safe_psql('postgres', 'SELECT extract(epoch FROM clock_timestamp())::bigint'), $now, 'control: the clock stands');

my @names = qw(requests_per_minute tokens_per_minute requests_per_day tokens_per_day);

sub add_key
{
	my ($name, $limits, $slots, $budget) = @_;
	my %limits;

	add_keys($node, 'postgres', $name);
	@limits{@names} = @$limits;
	$limits{max_concurrent_requests} = $slots;
	my $members = join ', ', map { sprintf '"%s": %d', $_, $limits{$_} } grep { $limits{$_} } sort keys %limits;
	$node->safe_psql('postgres', sprintf q{SELECT apikey_update(%s, '{"rate_limits": {%s}}')}, id_of($name), $members);
	if ($budget)
	{
		$node->safe_psql('postgres', sprintf q{
			SELECT apikey_update(%s, jsonb_build_object('budget_id', apikey_budget_create('%s', %s, %s)))},
			id_of($name), $budget->{name}, $budget->{max}, $budget->{daily} ? q('1 day') : 'NULL');
	}
	return { name => $name };
}

# One finds keys in its cache, the other reads them anew each time.
my $session = $node->background_psql('postgres');
my $uncached = $node->background_psql('postgres');
$uncached->query_safe('SET apikeys.cache = off');
my $columns = 'code, retry_after, limit_name, limit_max, trim_scale(limit_remaining), limit_resets_in, trim_scale(budget_remaining)';

sub record
{
	my ($key, $tokens, $cost) = @_;

	$session->query_safe(sprintf 'SELECT apikey_record_usage(%s, %d, %s)', id_of($key->{name}), $tokens, $cost);
}

# A server whose clock stands does not stop.
END { set_clock($node, 0) if $node }

# ------------------------------------------------------------------- by hand

sub row
{
	my ($key, $arguments) = @_;

	return $session->query_safe("SELECT $columns FROM apikey_verify('$key->{name}-key'$arguments)");
}

my $hand = add_key('hand', [ 2, 0, 100, 0 ], 1, { name => 'hand', max => 4 });
is(row($hand, ''), 'VALID||requests_per_minute|2|1|61|4', 'after its own spending');
is(row($hand, ', reserve => true'), 'VALID||requests_per_minute|2|0|91|4',
	'of two with nothing left, the one that resets last');
is(row($hand, ', reserve => true'), 'RATE_LIMITED|90|max_concurrent_requests|1|0|90|4',
	'of two that refuse, the one that refuses longest');
stop_clock($node, $now += 31);
is(row($hand, ', reserve => true'), 'RATE_LIMITED|59|max_concurrent_requests|1|0|59|4', '... 31 seconds later');
is(row($hand, ''), 'RATE_LIMITED|30|requests_per_minute|2|0|60|4', 'who wants no slot is not told of slots');
stop_clock($node, $now += 29);
is(row($hand, ''), 'RATE_LIMITED|1|requests_per_minute|2|0|31|4', 'a microsecond is a second');
is($session->query_safe("SELECT extract(epoch FROM resets_in) FROM apikey_limits(" . id_of('hand') . ") WHERE name = 'requests_per_minute'"),
	'30.000001', 'apikey_limits has it exactly');
stop_clock($node, $now += 1);
is(row($hand, ''), 'VALID||requests_per_minute|2|0|60|4', '... after which it passes');
record($hand, 0, 4.5);
is(row($hand, ''), 'RATE_LIMITED||budget:hand|4|0||0', 'a spent budget that is never reset refuses longest');
stop_clock($node, $now += 600);
is(row($hand, ''), 'BUDGET_EXCEEDED||budget:hand|4|0||0', '... and alone');
is($session->query_safe("SELECT pg_typeof(retry_after), pg_typeof(limit_resets_in), pg_typeof(limit_max) FROM apikey_verify('hand-key')"),
	'integer|integer|numeric', 'types');
is(row($hand, ", client_ip => 'x', required_permissions => '{a}'"), 'INSUFFICIENT_PERMISSIONS||||||',
	'what is refused before limits are looked at says nothing of them');
is($session->query_safe(sprintf q{
		SELECT count(apikey_update(%s, '{"budget_id": null}'));
		SELECT %s FROM apikey_login('hand-key')}, id_of('hand'), $columns),
	"1\nVALID||requests_per_minute|2|1|61|", 'apikey_login has them too');

# A cached row is put together in another way; it is the same row.
my $same = add_key('same', [ 0, 4_000_000_000, 0, 7 ], 0, { name => 'same', max => 5, daily => 1 });
record($same, 3, 0.5);
my @rows = map { $_->query_safe("SELECT v, pg_column_size(v) FROM apikey_verify('same-key') v") } $session, $session, $uncached;
like($rows[0], qr/,,,tokens_per_day,7,4,144001,4\.5/, 'a row as a whole');
is($rows[1], $rows[0], '... from the cache');
is($rows[2], $rows[0], '... and without it');
is($session->query_safe(q{
		CREATE TABLE kept AS SELECT * FROM apikey_verify('same-key');
		SELECT count(*) FROM kept k WHERE k::text = (SELECT v::text FROM apikey_verify('same-key') v)}),
	1, '... and stored in a table');

my $tokens = add_key('tokens', [ 0, 10, 0, 0 ], 0);
is(row($tokens, ''), 'VALID||tokens_per_minute|10|10||', 'nothing is used: nothing to reset');
is(row($tokens, ', tokens => 11'), 'RATE_LIMITED||tokens_per_minute|10|10||', 'more than ever passes');

my $both = add_key('both', [ 0, 10, 0, 0 ], 1);
is(row($both, ', tokens => 1, reserve => true'), 'VALID||max_concurrent_requests|1|0|90|', 'one at a time');
is(row($both, ', tokens => 11, reserve => true'), 'RATE_LIMITED||tokens_per_minute|10|9|61|',
	'a window that refuses for longer is told before the concurrent requests');

# What is reserved is given back, also when the clock has been set back meanwhile.
my $back = add_key('back', [ 0, 100, 0, 0 ], 0);
my @held = map { $session->query_safe("SELECT reservation FROM apikey_verify('back-key', tokens => $_, reserve => true)") } 30, 20;
stop_clock($node, $now -= 3600);
is(row($back, ', tokens => 50'), 'VALID||tokens_per_minute|100|50|119|', 'the clock is set back by an hour');
my $standing = 'SELECT trim_scale(used), reserved FROM apikey_limits(' . id_of('back') . ')';
is($session->query_safe("SELECT apikey_release('$held[0]'); $standing"), "t\n20|20", '... one is given back');
is($session->query_safe("SELECT apikey_record_usage(" . id_of('back') . ", 5, reservation => '$held[1]'); $standing"), "t\n5|0", '... the other is settled');
stop_clock($node, $now -= 3600);
is($session->query_safe("SELECT apikey_release(reservation) FROM apikey_verify('back-key', tokens => 30, reserve => true); $standing"), "t\n5|0",
	'... and so is what was reserved after that');

$_->quit foreach $session, $uncached;
set_clock($node, 0);
$node->stop;
done_testing();
