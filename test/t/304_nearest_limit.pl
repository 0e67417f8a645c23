
# What verify says of the limits, with a clock that stands still: the columns
# limit_name to budget_remaining and retry_after, exactly, against a model.
# The seed is printed; SEED=n makes the same requests again, STEPS=n so many.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'libfaketime is not installed' unless has_clock();

use constant {
	STEPS => $ENV{STEPS} // 300,
	SECOND => 1_000_000,
	MINUTE => 60_000_000,
	DAY => 86_400_000_000,
	NEVER => 9_223_372_036_854_775_807,
};

my $seed = $ENV{SEED} // time;
srand($seed);
note "SEED=$seed";

my $node = new_node('main', "apikeys.flush_interval = '1h'", "apikeys.reservation_timeout = '90s'");
set_clock($node, 0);
with_clock($node, sub { $node->start });
add_extension($node, 'postgres');

my $now = 1_900_000_000;
stop_clock($node, $now);
is($node->safe_psql('postgres', 'SELECT extract(epoch FROM clock_timestamp())::bigint'), $now, 'control: the clock stands');

# ----------------------------------------------------------------- the model
# Times are in microseconds.

my @names = qw(requests_per_minute tokens_per_minute requests_per_day tokens_per_day);
my @lengths = (MINUTE, MINUTE, DAY, DAY);

sub new_window { return { start => 0, current => 0, previous => 0, length => $_[0] } }

# The window at a time that is not before the last.
sub window_at
{
	my ($window, $at) = @_;
	my %w = %$window;
	my $buckets = int(($at - $w{start}) / $w{length});

	$w{previous} = $buckets == 0 ? $w{previous} : $buckets == 1 ? $w{current} : 0;
	$w{current} = 0 if $buckets > 0;
	$w{start} += $w{length} * $buckets;
	$w{start} = $at if $w{current} + $w{previous} == 0;
	$w{used} = $w{current} + int($w{previous} * ($w{start} + $w{length} - $at) / $w{length});
	return \%w;
}

sub spend
{
	my ($window, $at, $cost) = @_;

	return if $cost == 0;
	%$window = %{ window_at($window, $at) };
	$window->{current} += $cost;
}

# The first time at which a cost passes if nothing else is spent.
sub passes_at
{
	my ($window, $limit, $cost, $at) = @_;
	my ($no, $yes) = ($at, $at + 3 * $window->{length});

	return NEVER if $cost > $limit;
	return 0 if window_at($window, $at)->{used} + $cost <= $limit;
	while ($yes - $no > 1)
	{
		my $middle = int(($no + $yes) / 2);

		if (window_at($window, $middle)->{used} + $cost <= $limit) { $yes = $middle }
		else { $no = $middle }
	}
	return $yes;
}

# Of those that refuse the one that does so longest, else the one with the
# least part left, or of these the one that resets last.
sub nearest
{
	my ($best) = sort {
		$b->{retry_at} <=> $a->{retry_at} || $a->{part} <=> $b->{part} || $b->{resets_at} <=> $a->{resets_at}
	} @_;
	return $best;
}

sub seconds
{
	my ($at) = @_;

	return '' if $at == 0 || $at == NEVER;
	my $wait = $at - $now * SECOND;
	return int(($wait + SECOND - 1) / SECOND);
}

# The row for a request, before anything is spent.  Spends it if it passes.
sub expect
{
	my ($key, $tokens, $slot) = @_;
	my $at = $now * SECOND;
	my @costs = (1, $tokens || 1, 1, $tokens || 1);
	my @limited = grep { $key->{limits}[$_] } 0 .. 3;
	my %retry = map { $_ => passes_at($key->{windows}[$_], $key->{limits}[$_], $costs[$_], $at) } @limited;
	my $budget = $key->{budget};
	my $max_slots = $slot ? $key->{slots} : 0;
	my @candidates;

	@{ $key->{held} } = grep { $at - $_->{at} < 90 * SECOND } @{ $key->{held} } if $max_slots;
	$retry{slots} = $max_slots && @{ $key->{held} } >= $max_slots ? $key->{held}[-$max_slots]{at} + 90 * SECOND : 0;
	my $limited = grep { $_ } values %retry;
	my $poor = $budget && $budget->{spent} >= $budget->{max};
	my $code = $limited ? 'RATE_LIMITED' : $poor ? 'BUDGET_EXCEEDED' : 'VALID';

	if ($code eq 'VALID')
	{
		spend($key->{windows}[$_], $at, 1) foreach grep { $_ % 2 == 0 } @limited;
		push @{ $key->{held} }, { at => $at } if $max_slots;
	}
	foreach (@limited)
	{
		my $max = $key->{limits}[$_];
		my $left = $max - window_at($key->{windows}[$_], $at)->{used};

		$left = 0 if $left < 0;
		push @candidates, { name => $names[$_], max => $max, left => $left, part => $left / $max,
			retry_at => $retry{$_}, resets_at => passes_at($key->{windows}[$_], 1, 1, $at) };
	}
	if ($max_slots)
	{
		my $left = $max_slots - @{ $key->{held} };

		push @candidates, { name => 'max_concurrent_requests', max => $max_slots, left => $left,
			part => $left / $max_slots, retry_at => $retry{slots},
			resets_at => @{ $key->{held} } ? $key->{held}[-1]{at} + 90 * SECOND : 0 };
	}
	if ($budget)
	{
		my $left = $budget->{max} - $budget->{spent};
		my $ends_at = NEVER;

		$left = 0 if $left < 0;
		$ends_at = (int(($now - $budget->{since}) / 86400) + 1) * DAY + $budget->{since} * SECOND if $budget->{daily};
		push @candidates, { name => "budget:$budget->{name}", max => $budget->{max}, left => $left,
			part => $left / $budget->{max}, retry_at => $poor ? $ends_at : 0, resets_at => $ends_at };
	}

	my $tell = nearest(@candidates);
	my $retry_at = (sort { $b <=> $a } map { $_->{retry_at} } @candidates)[0] // 0;
	return join '|', $code, seconds($retry_at),
	  $tell ? ($tell->{name}, $tell->{max}, $tell->{left}, seconds($tell->{resets_at})) : ('') x 4,
	  $budget ? $candidates[-1]{left} : '';
}

# ------------------------------------------------------------------ requests

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
		$budget->{since} = $now;
		$budget->{spent} = 0;
		$node->safe_psql('postgres', sprintf q{
			SELECT apikey_update(%s, jsonb_build_object('budget_id', apikey_budget_create('%s', %s, %s)))},
			id_of($name), $budget->{name}, $budget->{max}, $budget->{daily} ? q('1 day') : 'NULL');
	}
	return { name => $name, limits => $limits, slots => $slots, budget => $budget, held => [],
		windows => [ map { new_window($_) } @lengths ] };
}

# One finds keys in its cache, the other reads them anew each time.
my $session = $node->background_psql('postgres');
my $uncached = $node->background_psql('postgres');
$uncached->query_safe('SET apikeys.cache_size = 0');
my $columns = 'code, retry_after, limit_name, limit_max, trim_scale(limit_remaining), limit_resets_in, trim_scale(budget_remaining)';

sub request
{
	my ($key, $tokens, $slot) = @_;
	my $expected = expect($key, $tokens, $slot);
	my $row = pick($session, $session, $uncached)->query_safe(sprintf q{SELECT %s FROM apikey_verify('%s-key', tokens => %s, reserve => %s)},
		$columns, $key->{name}, $tokens, $slot ? 'true' : 'false');

	return $row eq $expected ? '' : "$key->{name}, $tokens tokens, slot $slot: $row, not $expected";
}

sub record
{
	my ($key, $tokens, $cost) = @_;

	$session->query_safe(sprintf 'SELECT apikey_record_usage(%s, %d, %s)', id_of($key->{name}), $tokens, $cost);
	spend($key->{windows}[$_], $now * SECOND, $tokens) foreach grep { $key->{limits}[$_] } 1, 3;
	$key->{budget}{spent} += $cost if $key->{budget};
}

# A day's budget starts anew.
sub move_clock
{
	my ($seconds, @keys) = @_;

	foreach my $budget (grep { $_ && $_->{daily} } map { $_->{budget} } @keys)
	{
		$budget->{spent} = 0
		  if int(($now + $seconds - $budget->{since}) / 86400) != int(($now - $budget->{since}) / 86400);
	}
	stop_clock($node, $now += $seconds);
}

sub pick { return $_[ rand @_ ] }

my @keys = (
	add_key('plain', [ 0, 0, 0, 0 ], 0),
	add_key('minute', [ 5, 0, 0, 0 ], 0),
	add_key('slots', [ 0, 0, 0, 0 ], 3),
	add_key('poor', [ 0, 0, 0, 0 ], 0, { name => 'poor', max => 8, daily => 1 }),
	add_key('windows', [ 6, 100, 40, 500 ], 0),
	add_key('all', [ 7, 120, 60, 900 ], 4, { name => 'all', max => 12, daily => 1 }),
	add_key('ever', [ 3, 0, 0, 0 ], 2, { name => 'ever', max => 30 }));
my (@faults, %codes);

# A server whose clock stands does not stop.
END { set_clock($node, 0) if $node }

for my $step (1 .. STEPS)
{
	my $key = pick(@keys);

	move_clock(pick(0, 0, 1, 1, 7, 20, 59, 60, 61, 90, 119, 600, 3600, 40_000, 86_400), @keys) if rand() < 0.3;
	record($key, int rand pick(2, 30, 200), pick(0, 0.25, 1, 2.5)) if rand() < 0.25;
	push @faults, "step $step: $_" foreach grep { $_ } request($key, pick(0, 1, 50, 200), rand() < 0.5);
	last if @faults > 5;
}
is(join("\n", @faults), '', STEPS . ' requests agree with the model');

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

$_->quit foreach $session, $uncached;
set_clock($node, 0);
$node->stop;
done_testing();
