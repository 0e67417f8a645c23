
# The windows of src/model/window.c against a plain model, the log of all that has
# passed: random traces with a clock of their own, which test/window/trace.c
# plays.  The seed is printed; SEED=n plays the same traces again, and TRACES=n
# so many.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
	TRACES => $ENV{TRACES} // 1_000,
	BATCH => 500,
	STEPS => 30,
	SECOND => 1_000_000,
	MINUTE => 60_000_000,
	HOUR => 3_600_000_000,
	DAY => 86_400_000_000,
};

my @is_tokens = (0, 1, 0, 1);
my $seed = $ENV{SEED} // time;
srand($seed);
note "SEED=$seed";

my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
my $program = PostgreSQL::Test::Utils::tempdir() . '/trace';
chomp(my $cc = `$pg_config --cc`);
chomp(my $includedir = `$pg_config --includedir-server`);
# FRONTEND: a failed assertion of window.c calls abort(), without the server.
system("$cc -O2 -D FRONTEND -I $includedir -I src -o $program test/window/trace.c src/model/window.c") == 0
  or BAIL_OUT('could not compile test/window/trace.c');

# Plays commands, lists of words; returns the answers, lists of words.  A
# process plays many traces in the time that it takes to start.
sub play
{
	my ($out, $err) = ('', '');
	my $in = join '', map { "@$_\n" } @_;

	IPC::Run::run([$program], '<', \$in, '>', \$out, '2>', \$err)
	  or die "trace ended with status $?: $err";
	return map { [split] } split /\n/, $out;
}

sub pick { return $_[ rand @_ ] }

# Steps of time that hit the edges of buckets as well as everything between.
sub step
{
	my ($steady, @lengths) = @_;
	my $length = pick(@lengths);

	return $steady if rand() < 0.3;
	return pick(0, 0, 1, int rand 1000, int rand $length / 10, int rand $length / 4, int rand $length,
		int rand $length, $length - 1, $length, $length + 1, int rand 3 * $length, int rand HOUR);
}

# The lengths that have a member of their own, or any that the array can have.
sub random_lengths
{
	return (MINUTE, MINUTE, DAY, DAY) if rand() < 0.4;
	return map { SECOND * pick(1, 2, 10, 59, 3600, 1 + int rand 100, 1 + int rand 31 * 86400, 31 * 86400) } 1 .. 4;
}

# A command "new" for windows of these lengths.
sub new_windows
{
	my ($lengths, @limits) = @_;

	return [ 'new', map { ($lengths->[$_], $limits[$_]) } 0 .. 3 ];
}

# The lengths and the limits of a "new".
sub lengths_of { return @{ $_[0] }[ 1, 3, 5, 7 ] }
sub limits_of { return @{ $_[0] }[ 2, 4, 6, 8 ] }

sub random_trace
{
	my ($clock_steps) = @_;
	my $now = 800_000_000_000_000 + int rand DAY;
	my @lengths = random_lengths();
	my $steady = int(pick(@lengths) / (1 + rand 20));
	my @limits = map { rand() < 0.4 ? 0 : 1 + int rand $_ } 12, 200, 30, 500;
	my (@trace, @records);

	$limits[0] ||= 3 unless grep { $_ } @limits;
	@trace = (new_windows(\@lengths, @limits));
	foreach (1 .. STEPS)
	{
		$now += step($steady, @lengths);
		$now += pick(-(HOUR), HOUR) if $clock_steps && rand() < 0.2;
		push @trace, rand() < 0.7
		  ? [ 'verify', $now, 1 + int rand pick(1, 10, 300) ]
		  : @records && rand() < 0.3
		  ? [ 'void', $now, @{ splice @records, rand @records, 1 } ]
		  : [ 'record', $now, int rand pick(1, 20, 300) ];
		push @records, [ $trace[-1][2], $now ] if $trace[-1][0] eq 'record' && !$clock_steps;
	}
	return @trace;
}

# --------------------------------------------------------------- the model

# The window with a length and a limit: its log, and where its buckets meet.
sub new_window { return { length => $_[0], limit => $_[1], log => [], start => 0 } }

sub total
{
	my ($window, $after, $to) = @_;
	my $log = $window->{log};
	my $sum = 0;

	for (my $i = $#$log; $i >= 0 && $log->[$i][0] > $after; $i--)
	{
		$sum += $log->[$i][1] if $log->[$i][0] <= $to;
	}
	return $sum;
}

# Returns what is used: this bucket, and the part of the one before that a
# window ending now covers.  After a pause the buckets start now.
sub used
{
	my ($window, $now) = @_;
	my $length = $window->{length};

	$window->{start} += $length if $now - $window->{start} >= $length
	  && $now - $window->{start} < 2 * $length;
	$window->{start} = $now if $now - $window->{start} >= 2 * $length;

	my $current = total($window, $window->{start} - 1, $now);
	my $previous = total($window, $window->{start} - $length - 1, $window->{start} - 1);

	$window->{start} = $now if $current + $previous == 0;
	my $remaining = $window->{start} + $length - $now;
	$window->{bound} = $window->{limit} + 1 + $previous * ($length - $remaining) / $length;
	return $current + int($previous * $remaining / $length);
}

# Takes back what was spent at a time, as if it had never been.
sub take_back
{
	my ($window, $at, $cost) = @_;

	foreach my $entry (reverse @{ $window->{log} })
	{
		next unless $entry->[0] == $at && $entry->[1] == $cost;
		$entry->[1] = 0;
		last;
	}
}

# What is wrong with the answers to a trace; empty when nothing is.
sub faults
{
	my ($trace, $answers) = @_;
	my ($new, @commands) = @$trace;
	my @lengths = lengths_of($new);
	my @limits = limits_of($new);
	my @windows = map { new_window($lengths[$_], $limits[$_]) } 0 .. 3;
	my @faults;

	for my $i (0 .. $#commands)
	{
		my ($command, $now, $tokens, $at) = @{ $commands[$i] };
		my ($full, $until, $before, $then, @used_after) = @{ $answers->[$i] };
		my @limited = grep { $windows[$_]{limit} > 0 } 0 .. 3;
		my @used = map { used($_, $now) } @windows;
		my @over = grep {
			$used[$_] + ($is_tokens[$_] ? $tokens : 1) > $windows[$_]{limit}
		} @limited;
		my $fault = sub { push @faults, "step $i (@{$commands[$i]}): @_: @{$answers->[$i]}" };

		if ($command eq 'verify' && @over)
		{
			$fault->('passed, but over is ' . "@over") if $full < 0;
			$fault->('another window refuses') unless grep { $_ == $full } @over;
			$fault->('too early or too late')
			  unless $before == 0
			  && ($then == 1 || $until == 9_223_372_036_854_775_807);
			$fault->('longer than two windows')
			  if $then == 1 && $until > $now + 2 * $lengths[$full];
			$fault->('never, though it fits in the limit')
			  if $then == 0 && $tokens <= $windows[$full]{limit};
		}
		elsif ($command eq 'verify')
		{
			$fault->('refused') if $full >= 0;
		}

		# What is spent: a request that passes, in all windows or in none.
		foreach (@limited)
		{
			my $cost = $command ne 'verify' ? ($is_tokens[$_] ? $tokens : 0)
			  : ($is_tokens[$_] || @over) ? 0 : 1;
			if ($command eq 'void')
			{
				take_back($windows[$_], $at, $cost);
			}
			else
			{
				push @{ $windows[$_]{log} }, [ $now, $cost ];
			}
			$used[$_] = used($windows[$_], $now);
			$fault->("window $_ should have $used[$_]") if $used[$_] != $used_after[$_];
		}

		# Within any window's length: the limit and what the approximation adds.
		foreach (grep { !$is_tokens[$_] } @limited)
		{
			my $window = $windows[$_];
			my $passed = total($window, $now - $lengths[$_], $now);
			$fault->("window $_: $passed passed")
			  if $passed > 2 * $window->{limit} || $passed > $window->{bound};
			$fault->("window $_: a burst of " . total($window, $now - 1, $now))
			  if total($window, $now - 1, $now) > $window->{limit};
		}
		last if @faults > 5;
	}
	return @faults;
}

my ($verifies, $refusals, @faults) = (0, 0);
for (my $n = 0; $n < TRACES && !@faults; $n += BATCH)
{
	my @traces = map { [ random_trace(0) ] } 1 .. BATCH;
	my @answers = play(map { @$_ } @traces);

	foreach my $trace (@traces)
	{
		my @mine = splice @answers, 0, STEPS;
		$verifies += grep { $_->[0] eq 'verify' } @$trace;
		$refusals += grep { $_->[0] >= 0 } @mine;
		push @faults, faults($trace, \@mine);
		last if @faults;
	}
}
is(join("\n", @faults), '', TRACES . ' traces agree with the log');
note "$verifies verifies, $refusals refused";
ok($refusals > $verifies / 10 && $refusals < $verifies * 9 / 10, 'the traces test both answers');

# ---------------------------------------------------- a clock that is moved

{
	my @wrong;
	my @traces = map { [ random_trace(1) ] } 1 .. TRACES / 2;
	my @all_answers = play(map { @$_ } @traces);

	foreach my $trace (@traces)
	{
		my ($new, @commands) = @$trace;
		my @lengths = lengths_of($new);
		my @limits = limits_of($new);
		my @answers = splice @all_answers, 0, STEPS;

		for my $i (0 .. $#commands)
		{
			my ($full, $until, $before, $at, @used) = @{ $answers[$i] };
			my $now = $commands[$i][1];

			# When it is set back, the bucket before counts in full again.
			push @wrong, "@{$commands[$i]}: @{$answers[$i]}"
			  if ($limits[0] && $used[0] > 2 * $limits[0])
			  || ($limits[2] && $used[2] > 2 * $limits[2])
			  || grep { $_ < 0 } @used;
			push @wrong, "@{$commands[$i]}: @{$answers[$i]}"
			  if $full >= 0 && ($before || ($until < 9_223_372_036_854_775_807
					&& (!$at || $until > $now + 2 * $lengths[$full])));
		}
		last if @wrong;
	}
	is("@wrong", '', 'nobody is locked out for more than two windows, wherever the clock goes');
}

my @usual = (MINUTE, MINUTE, DAY, DAY);

# Set back by an hour, with the minute full: free again after a minute or two.
is_deeply(
	[ map { $_->[0] } play(new_windows(\@usual, 1, 0, 0, 0), [ 'verify', 10 * HOUR, 1 ], [ 'verify', 9 * HOUR, 1 ],
			[ 'verify', 9 * HOUR + MINUTE, 1 ], [ 'verify', 9 * HOUR + MINUTE + 1, 1 ]) ],
	[ -1, 0, 0, -1 ], 'set back by an hour');

# The same with tokens, which requests only look at: there is always room, but
# not for those that were used before the clock was set back.
is_deeply(
	[ map { [ @$_[ 0, 5 ] ] } play(new_windows(\@usual, 0, 100, 0, 0), [ 'record', 10 * HOUR, 60 ], [ 'verify', 9 * HOUR, 40 ],
			[ 'verify', 9 * HOUR + 2 * MINUTE, 40 ], [ 'verify', 9 * HOUR + 2 * MINUTE, 100 ]) ],
	[ [ -1, 60 ], [ -1, 60 ], [ -1, 0 ], [ -1, 0 ] ], 'tokens, set back by an hour');

# ------------------------------------------------------------------- edges

my $t = 900_000_000_000_000;
my $max = 9_223_372_036_854_775_807;

is_deeply([ play(new_windows(\@usual, 1, 0, 0, 0), map { [ 'verify', $_, 1 ] } $t, $t, $t + MINUTE, $t + MINUTE + 1) ],
	[
		[ -1, 0, 0, 0, 1, 0, 0, 0 ],
		[ 0, $t + MINUTE + 1, 0, 1, 1, 0, 0, 0 ],
		[ 0, $t + MINUTE + 1, 0, 1, 1, 0, 0, 0 ],
		[ -1, 0, 0, 0, 1, 0, 0, 0 ],
	],
	'a limit of 1');
is_deeply([ map { [ @$_[ 0, 5 ] ] } play(new_windows(\@usual, 0, 2_147_483_647, 0, 0),
			[ 'verify', $t, 2_147_483_647 ], [ 'record', $t, 2_147_483_646 ], [ 'verify', $t, 2 ],
			[ 'verify', $t, 1 ], [ 'record', $t, 1 ], [ 'verify', $t, 1 ]) ],
	[ [ -1, 0 ], [ -1, 2_147_483_646 ], [ 1, 2_147_483_646 ], [ -1, 2_147_483_646 ],
		[ -1, 2_147_483_647 ], [ 1, 2_147_483_647 ] ],
	'a limit of 2^31 - 1');
is_deeply([ map { $_->[7] } play(new_windows(\@usual, 0, 0, 0, 1), [ 'record', $t, $max ], [ 'record', $t, $max ],
			[ 'record', $t + DAY, $max ], [ 'record', $t + 2 * DAY - 1, 1 ],
			[ 'record', $t + 2 * DAY, 0 ], [ 'record', $t + 3 * DAY + DAY / 2, 0 ]) ],
	[ $max, $max, $max, $max, $max, 0 ],
	'sums stop at 2^63 - 1');
is_deeply([ map { [ @$_[ 0 .. 3 ] ] } play(new_windows(\@usual, 0, 0, 0, 9_007_199_254_740_991),
			[ 'record', $t, $max ], [ 'verify', $t, 1 ]) ],
	[ [ -1, 0, 0, 0 ], [ 3, $t + 2 * DAY - 84_374_999, 0, 1 ] ],
	'a wait after 2^63 - 1 tokens');
is_deeply([ map { [ @$_[ 0, 1 ] ] } play(new_windows(\@usual, 5, 0, 0, 7), [ 'verify', $t, 8 ]) ],
	[ [ 3, $max ] ], 'more tokens than the limit never pass');

# What is taken back, and its bucket lacks, is taken out of the other bucket.
sub used_after { my @commands = @_; return [ map { $_->[5] } play(new_windows(\@usual, 0, 100, 0, 0), @commands) ] }

is_deeply(used_after([ 'record', $t, 5 ], [ 'settle', $t, -1, $t - 30 * SECOND ], [ 'settle', $t, -3, $t - 30 * SECOND ]),
	[ 5, 4, 1 ], 'settled: of the bucket before, which has nothing');
is_deeply(used_after([ 'record', $t, 5 ], [ 'record', $t + MINUTE, 0 ], [ 'settle', $t + MINUTE, -1, $t + MINUTE ], [ 'settle', $t + MINUTE, -3, $t + MINUTE ]),
	[ 5, 5, 4, 1 ], '... of this bucket, which has nothing');
is_deeply(used_after([ 'record', $t, 5 ], [ 'record', $t + MINUTE, 2 ], [ 'settle', $t + MINUTE, -3, $t + MINUTE ], [ 'settle', $t + MINUTE, -9, $t ]),
	[ 5, 7, 4, 0 ], '... which has some; never more than both have');
is_deeply(used_after([ 'record', $t, 5 ], [ 'settle', $t, -3, $t - MINUTE ], [ 'settle', $t, -1, $t - MINUTE - 1 ], [ 'settle', $t, 2, $t - 1 ]),
	[ 5, 2, 2, 4 ], '... up to a window before the start of this one');

done_testing();
