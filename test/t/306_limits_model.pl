
# All that verify says of limits against a model, with a clock that stands still:
# windows of any length, with patterns and costs, of keys and of budgets in a
# tree; reservations that are settled, given back, or time out; documents that
# change, keys that are rotated, and clean restarts.  The seed is printed; SEED=n
# makes the same requests again, MODEL_REQUESTS=n so many.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use Math::BigInt;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'libfaketime is not installed' unless has_clock();

use constant {
	STEPS => $ENV{MODEL_REQUESTS} // 600,
	SECOND => 1_000_000,
	DAY => 86_400_000_000,
	BILLION => 1_000_000_000,
	TIMEOUT => 90_000_000,
	NEVER => 9_223_372_036_854_775_807,
};

my $seed = $ENV{SEED} // time;
srand($seed);
note "SEED=$seed";

my $node = new_node('main', "apikeys.flush_interval = '1h'", "apikeys.reservation_timeout = '90s'");
set_clock($node, 0);
with_clock($node, sub { $node->start });
add_extension($node, 'postgres');

# A server whose clock stands does not stop.
END { set_clock($node, 0) if $node }

my $now = 1_900_000_000;
stop_clock($node, $now);

sub at { return $now * SECOND }
sub pick { return $_[ rand @_ ] }

# ----------------------------------------------------------------- windows
# Times are in microseconds, costs in billionths.

sub advance
{
	my ($w) = @_;
	my $buckets = int((at() - $w->{start}) / $w->{length});

	$w->{previous} = $buckets == 0 ? $w->{previous} : $buckets == 1 ? $w->{current} : 0;
	$w->{current} = 0 if $buckets > 0;
	$w->{start} += $w->{length} * $buckets;
	$w->{start} = at() if $w->{current} + $w->{previous} == 0;
	return;
}

# Adds what was used at a time, or takes it back, where it is counted.
sub add_at
{
	my ($w, $amount, $at) = @_;

	advance($w);
	$w->{start} = $at if $amount > 0 && $w->{previous} == 0 && $at < $w->{start} && at() - $at < $w->{length};
	if ($at >= $w->{start}) { $w->{current} += $amount }
	elsif ($w->{start} - $at <= $w->{length}) { $w->{previous} += $amount }
	return;
}

# count * remaining / length, rounded down, as integers.
sub part_of
{
	my ($count, $remaining, $length) = @_;

	return 0 if $count == 0;
	return Math::BigInt->new($count)->bmul($remaining)->bdiv($length)->numify if $count > NEVER / $remaining / 2;
	use integer;
	return $count * $remaining / $length;
}

sub used_at
{
	my ($window, $at) = @_;
	my %w = %$window;
	my $buckets = int(($at - $w{start}) / $w{length});

	return 0 if $buckets > 1;
	return $w{current} + part_of($w{previous}, $w{start} + $w{length} - $at, $w{length}) if $buckets == 0;
	return part_of($w{current}, $w{start} + 2 * $w{length} - $at, $w{length});
}

# The first time at which an amount passes if nothing else is spent; 0: now.
sub passes_at
{
	my ($w, $max, $amount) = @_;
	my ($no, $yes) = (at(), at() + 3 * $w->{length});

	return NEVER if $amount > $max;
	return 0 if used_at($w, at()) + $amount <= $max;
	while ($yes - $no > 1)
	{
		my $middle = int(($no + $yes) / 2);

		if (used_at($w, $middle) + $amount <= $max) { $yes = $middle }
		else { $no = $middle }
	}
	return $yes;
}

# ------------------------------------------------------------------ owners
# A key family or a budget: limits, slots, windows by the identity of their
# limits, and holds by age.

my @units = qw(requests tokens cost);
my %length = ('1 second' => 1, '10 seconds' => 10, '1 minute' => 60, '90 seconds' => 90, '1 hour' => 3600,
	'1 day' => 86400, '7 days' => 604800, '31 days' => 2678400);
my @members = (
	[ requests_per_minute => 'requests', '1 minute', 8 ], [ tokens_per_minute => 'tokens', '1 minute', 250 ],
	[ requests_per_day => 'requests', '1 day', 60 ], [ tokens_per_day => 'tokens', '1 day', 2000 ]);

sub member_limit
{
	my ($m) = @_;

	return { name => $m->[0], unit => $m->[1], per => $m->[2], max => 1 + int rand $m->[3], member => 1 };
}

# Each name has one or two units and lengths, so that a change of one of them
# makes another window, and a change back brings the first again.
sub array_limit
{
	my ($name) = @_;
	my $n = ord $name;
	my $unit = $units[ $n % 3 ];
	my @pers = sort keys %length;
	my %limit = (name => $name, unit => $unit, per => $pers[ ($n + (rand() < 0.2)) % @pers ],
		max => $unit eq 'requests' ? 1 + int rand 60 : $unit eq 'tokens' ? 1 + int rand 3000 : BILLION / 4 * (1 + int rand 120));

	$limit{models} = $n % 4 == 0 ? [ 'gpt-*', 'o1' ] : $n % 4 == 1 ? ['claude'] : undef;
	$limit{endpoints} = ['/chat*'] if $n % 5 == 0;
	return \%limit;
}

# Another document: some windows stay, some go or come, numbers and order change.
sub new_document
{
	my ($owner) = @_;
	my %old = map { $_->{name} => $_ } @{ $owner->{limits} };
	my @names = grep { rand() < 0.5 } 'a' .. 'f';
	my (@limits, @array);

	foreach my $m (@members)
	{
		push @limits, $old{ $m->[0] } && rand() < 0.7 ? $old{ $m->[0] } : member_limit($m) if rand() < 0.3;
	}
	push @array, $old{$_} && rand() < 0.6 ? $old{$_} : array_limit($_) foreach @names;
	@array = reverse @array if rand() < 0.5;
	$owner->{limits} = [ @limits, @array ];
	$owner->{slots} = pick(0, 0, 2, 4);
	return;
}

sub cost_text
{
	my ($cost) = @_;
	my $text = sprintf '%d.%09d', int($cost / BILLION), $cost % BILLION;

	return $text =~ s/\.?0+$//r;
}

sub amount_text { return $_[0]{unit} eq 'cost' ? cost_text($_[1]) : $_[1] }

sub json
{
	my ($owner) = @_;
	my @parts = map { qq("$_->{name}": $_->{max}) } grep { $_->{member} } @{ $owner->{limits} };
	my @windows;

	foreach my $l (grep { !$_->{member} } @{ $owner->{limits} })
	{
		push @windows, join ', ', qq("name": "$l->{name}"), qq("per": "$l->{per}"), qq("$l->{unit}": ) . amount_text($l, $l->{max}),
		  map { my $list = $_; $l->{$list} ? qq("$list": [) . join(', ', map { qq("$_") } @{ $l->{$list} }) . ']' : () } 'models', 'endpoints';
	}
	push @parts, qq("max_concurrent_requests": $owner->{slots}) if $owner->{slots};
	push @parts, '"windows": [' . join(', ', map { "{$_}" } @windows) . ']' if @windows;
	return '{' . join(', ', @parts) . '}';
}

sub window
{
	my ($owner, $limit) = @_;

	return $owner->{windows}{"$limit->{name} $limit->{unit} $limit->{per}"} //=
	  { start => 0, current => 0, previous => 0, length => $length{ $limit->{per} } * SECOND, unit => $limit->{unit} };
}

sub list_matches
{
	my ($list, $subject) = @_;

	return 1 unless $list;
	return 0 unless defined $subject;
	return scalar grep { /^(.*)\*$/ ? index($subject, $1) == 0 : $_ eq $subject } @$list;
}

sub matching
{
	my ($owner, $model, $endpoint) = @_;

	return grep { list_matches($_->{models}, $model) && list_matches($_->{endpoints}, $endpoint) } @{ $owner->{limits} };
}

# Ends a hold, with what was used of it.
sub end_hold
{
	my ($owner, $hold, $used) = @_;

	add_at($_, ($used->{ $_->{unit} } // 0) - $hold->{ $_->{unit} }, $hold->{at}) foreach @{ $hold->{windows} };
	@{ $owner->{held} } = grep { $_ != $hold } @{ $owner->{held} };
	return;
}

sub expire
{
	my ($owner) = @_;

	my @ended = grep { at() - $_->{at} >= TIMEOUT } @{ $owner->{held} };

	end_hold($owner, $_, {}) foreach @ended;
	return;
}

sub reserved
{
	my ($owner) = @_;
	my $sum = 0;

	$sum += $_->{cost} foreach @{ $owner->{held} };
	return $sum;
}

# Those above a budget, itself first.
sub path
{
	my ($budget) = @_;

	return $budget ? ($budget, path($budget->{parent})) : ();
}

# The budgets of a request, each once.
sub budgets_of
{
	my ($key, $extra) = @_;
	my %seen;

	return grep { !$seen{ $_->{name} }++ } path($key->{budget}), path($extra);
}

sub ends_at
{
	my ($budget) = @_;

	return $budget->{daily} ? (int(($now - $budget->{since}) / 86400) + 1) * DAY + $budget->{since} * SECOND : NEVER;
}

# ---------------------------------------------------------------- the row

sub seconds
{
	my ($at) = @_;

	return '' if $at == 0 || $at == NEVER;
	return int(($at - at() + SECOND - 1) / SECOND);
}

sub max_of { return (sort { $b <=> $a } @_)[0] // 0 }

sub nearest
{
	my ($best) = sort {
		$b->{retry_at} <=> $a->{retry_at} || $a->{part} <=> $b->{part} || $b->{resets_at} <=> $a->{resets_at}
	} @_;
	return $best;
}

# What a budget says, and whether it has room.
sub budget_status
{
	my ($budget, $full, $cost) = @_;
	my $available = $budget->{max} - $budget->{spent};
	my $left = $available - reserved($budget);
	my $ends = ends_at($budget);
	my $oldest = $budget->{held}[0];
	# What is reserved comes back, and may then be enough.
	my $back = $oldest && $cost <= $available && $available > 0 ? $oldest->{at} + TIMEOUT : $ends;
	my $retry = !$full ? 0 : $back < $ends ? $back : $ends;

	$left = 0 if $left < 0;
	# Two products, as the server has them, round in the same way.
	my $part = $available <= 0 ? 0 : reserved($budget) ? $available / $budget->{max} * ($left / $available) : $left / $budget->{max};
	return { name => "budget:$budget->{name}", max => cost_text($budget->{max}), left => cost_text($left), exact => $left,
		part => $part, retry_at => $retry, resets_at => $ends };
}

# The row for a request; spends it if it passes.
sub expect
{
	my ($key, $r) = @_;
	my @budgets = budgets_of($key, $r->{budget});
	my @owners = ($key->{family}, @budgets);
	my %amount = (requests => 1, tokens => $r->{tokens} || 1, cost => $r->{cost} || 1);
	my (@checks, %full, @candidates);

	expire($_) foreach @owners;
	foreach my $owner (@owners)
	{
		foreach my $limit (matching($owner, $r->{model}, $r->{endpoint}))
		{
			my $w = window($owner, $limit);

			push @checks, { owner => $owner, limit => $limit, window => $w, retry_at => passes_at($w, $limit->{max}, $amount{ $limit->{unit} }) };
		}
		push @checks, { owner => $owner, slots => $owner->{slots},
			retry_at => @{ $owner->{held} } >= $owner->{slots} ? $owner->{held}[ -$owner->{slots} ]{at} + TIMEOUT : 0 }
		  if $owner->{slots} && $r->{reserve};
	}
	foreach my $b (grep { $_->{max} } @budgets)
	{
		my $reserved = reserved($b);

		$full{ $b->{name} } = 1 if $b->{spent} >= $b->{max} || $r->{cost} > $b->{max} - $b->{spent}
		  || (($reserved || $r->{cost}) && $reserved + $amount{cost} > $b->{max} - $b->{spent});
	}
	my $limited = grep { $_->{retry_at} } @checks;
	my $code = $limited ? 'RATE_LIMITED' : %full ? 'BUDGET_EXCEEDED' : 'VALID';

	if ($code eq 'VALID')
	{
		my %hold;

		foreach my $check (grep { $_->{window} } @checks)
		{
			my $unit = $check->{limit}{unit};

			add_at($check->{window}, $unit eq 'requests' ? 1 : $r->{reserve} ? $r->{$unit} : 0, at());
			push @{ $hold{ $check->{owner} } }, $check->{window} if $unit ne 'requests';
		}
		my $limits = @{ $key->{family}{limits} } || $key->{family}{slots} || @budgets;
		if ($r->{reserve} && $limits)
		{
			$r->{holds} = [ map {
				my $hold = { at => at(), tokens => $r->{tokens}, cost => $r->{cost}, windows => $hold{$_} // [] };
				push @{ $_->{held} }, $hold;
				[ $_, $hold ]
			} @owners ];
		}
	}

	foreach my $check (@checks)
	{
		my $owner = $check->{owner};
		my $prefix = $owner->{is_budget} ? "budget:$owner->{name} " : '';
		my %status = (retry_at => $check->{retry_at});

		if ($check->{window})
		{
			my $limit = $check->{limit};
			my $left = $limit->{max} - used_at($check->{window}, at());

			$left = 0 if $left < 0;
			%status = (%status, name => $prefix . $limit->{name}, max => amount_text($limit, $limit->{max}),
				left => amount_text($limit, $left), part => $left / $limit->{max}, resets_at => passes_at($check->{window}, 1, 1));
		}
		else
		{
			my $left = $owner->{slots} - @{ $owner->{held} };

			$left = 0 if $left < 0;
			%status = (%status, name => "${prefix}max_concurrent_requests", max => $owner->{slots}, left => $left,
				part => $left / $owner->{slots}, resets_at => @{ $owner->{held} } ? $owner->{held}[-1]{at} + TIMEOUT : 0);
		}
		push @candidates, \%status;
	}
	my @statuses = map { budget_status($_, $full{ $_->{name} }, $r->{cost}) } grep { $_->{max} } @budgets;
	my $tell = nearest(grep { $_ } nearest(@candidates), nearest(@statuses));
	my ($least) = sort { $a->{exact} <=> $b->{exact} } @statuses;

	return join '|', $code, seconds(max_of(map { $_->{retry_at} } @candidates, @statuses)),
	  $tell ? ($tell->{name}, $tell->{max}, $tell->{left}, seconds($tell->{resets_at})) : ('') x 4, $least ? $least->{left} : '';
}

# -------------------------------------------------------------- both at once

my ($session, $uncached);

sub connect_all
{
	$session = $node->background_psql('postgres');
	$uncached = $node->background_psql('postgres');
	$uncached->query_safe('SET apikeys.cache = off');
	return;
}

sub quote { return defined $_[0] ? "'$_[0]'" : 'NULL' }

sub change_document
{
	my ($owner) = @_;

	new_document($owner);
	$session->query_safe(sprintf q{SELECT count(%s('%s', '{"rate_limits": %s}'))},
		$owner->{is_budget} ? 'apikey_budget_update' : 'apikey_update', $owner->{id}, json($owner));
	return;
}

sub add_budget
{
	my ($name, $max, $daily, $parent) = @_;
	my %budget = (name => $name, is_budget => 1, max => $max * BILLION, daily => $daily, parent => $parent, spent => 0, since => $now,
		windows => {}, held => [], limits => [], slots => 0);

	$budget{id} = $session->query_safe(sprintf q{SELECT apikey_budget_create('%s', %s, %s, %s)}, $name, $max || 'NULL',
		$daily ? q('1 day') : 'NULL', quote($parent ? $parent->{id} : undef));
	return \%budget;
}

sub add_key
{
	my ($name, $budget) = @_;
	my $id = $session->query_safe(sprintf q{SELECT apikey_import(digest('%s-key', 'sha256'), '%s', 'x', budget_id => %s)},
		$name, $name, quote($budget ? $budget->{id} : undef));

	return { name => $name, id => $id, raw => "$name-key", budget => $budget,
		family => { id => $id, windows => {}, held => [], limits => [], slots => 0 } };
}

connect_all();
my $company = add_budget('company', 300, 1);
my $team = add_budget('team', 60, 0, $company);
my $person = add_budget('person', 0, 0, $team);
my $customer = add_budget('customer', 40, 1);
my @budgets = ($company, $team, $person, $customer);
my @keys = (add_key('alone'), add_key('deep', $person), add_key('mate', $team), add_key('guest', $customer));
change_document($_) foreach (map { $_->{family} } @keys), $team, $customer;
my (@open, @faults, %seen);

sub request
{
	my $key = pick(@keys);
	my %r = (tokens => pick(0, 1, 20, int rand 100), cost => BILLION / 4 * pick(0, 0, 1, 4, 9), reserve => int rand 2,
		model => pick(undef, 'gpt-4', 'o1', 'claude'), endpoint => pick(undef, '/chat/x', '/images'), budget => pick(undef, undef, $customer, $team));
	my $expected = expect($key, \%r);
	my $arguments = sprintf q{model => %s, endpoint => %s, tokens => %d, cost => %s, reserve => %s, budget_id => %s},
	  quote($r{model}), quote($r{endpoint}), $r{tokens}, cost_text($r{cost}), $r{reserve} ? 'true' : 'false', quote($r{budget} ? $r{budget}{id} : undef);
	my $row = pick($session, $session, $uncached)->query_safe(qq{
		SELECT code, retry_after, limit_name, trim_scale(limit_max), trim_scale(limit_remaining), limit_resets_in, trim_scale(budget_remaining), reservation
		FROM apikey_verify('$key->{raw}', $arguments)});
	my ($answer, $reservation) = $row =~ /^(.*)\|([^|]*)$/;

	$seen{ (split /\|/, $answer)[0] }++;
	push @open, { key => $key, id => $reservation, holds => $r{holds}, model => $r{model} } if $reservation;
	return "$key->{name}, $arguments: $answer, not $expected" if $answer ne $expected;
	return "$key->{name}, $arguments: reservation '$reservation'" if !$reservation != !$r{holds};
	return '';
}

# Records usage, and settles a reservation with it; or gives one back.
sub record
{
	my $held = rand() < 0.8 && @open ? splice(@open, rand @open, 1) : undef;
	my $key = $held ? $held->{key} : pick(@keys);
	my $alive = $held && at() - $held->{holds}[0][1]{at} < TIMEOUT;
	my %used = (tokens => int rand pick(2, 30, 200), cost => BILLION / 4 * pick(0, 1, 4, 10));
	my $model = pick(undef, 'gpt-4', 'claude', $held ? $held->{model} : 'o1');

	if ($held && rand() < 0.3)
	{
		my $released = $session->query_safe("SELECT apikey_release('$held->{id}')");

		end_hold(@$_, {}) foreach $alive ? @{ $held->{holds} } : ();
		return $released eq ($alive ? 't' : 'f') ? '' : "release: $released";
	}
	$session->query_safe(sprintf 'SELECT apikey_record_usage(%s, %d, %s, reservation => %s, model => %s)',
		quote($key->{id}), $used{tokens}, cost_text($used{cost}), quote($held ? $held->{id} : undef), quote($model));

	my @charged = $alive ? map { $_->[0] } @{ $held->{holds} } : ($key->{family}, budgets_of($key));
	my %settled = $alive ? map { $_ => 1 } map { @{ $_->[1]{windows} } } @{ $held->{holds} } : ();
	end_hold(@$_, \%used) foreach $alive ? @{ $held->{holds} } : ();
	foreach my $owner (@charged)
	{
		foreach my $limit (grep { $used{ $_->{unit} } } matching($owner, $model, undef))
		{
			my $w = window($owner, $limit);

			add_at($w, $used{ $limit->{unit} }, at()) unless $settled{$w};
		}
		$owner->{spent} += $used{cost} if $owner->{is_budget};
	}
	return '';
}

# A day's budget starts anew.
sub move_clock
{
	my ($seconds) = @_;

	foreach my $budget (grep { $_->{daily} } @budgets)
	{
		$budget->{spent} = 0 if int(($now + $seconds - $budget->{since}) / 86400) != int(($now - $budget->{since}) / 86400);
	}
	stop_clock($node, $now += $seconds);
	return;
}

sub rotate
{
	my ($key) = @_;

	@$key{qw(id raw)} = split /\|/, $session->query_safe("SELECT id, raw_key FROM apikey_rotate('$key->{id}')");
	$session->query_safe(qq{SELECT count(apikey_update('$key->{id}', '{"name": "$key->{name}"}'))});
	# The family's document is that of its newest key.
	$key->{family}{id} = $key->{id};
	return;
}

# What is counted stays.
sub restart
{
	$_->quit foreach $session, $uncached;
	set_clock($node, $now - time);
	with_clock($node, sub { $node->restart });
	@open = ();
	move_clock(60);
	connect_all();
	return;
}

# What all windows say
sub check_windows
{
	my ($when) = @_;

	foreach my $key (@faults ? () : @keys)
	{
		my @expected;

		foreach my $owner ($key->{family}, budgets_of($key))
		{
			my $prefix = $owner->{is_budget} ? "budget:$owner->{name} " : '';

			expire($owner);
			push @expected, map { "$prefix$_->{name} " . amount_text($_, used_at(window($owner, $_), at())) } @{ $owner->{limits} };
		}
		is($session->query_safe("SELECT string_agg(name || ' ' || trim_scale(used), ', ') FROM apikey_limits('$key->{id}') WHERE name !~ '^budget:[^ ]*\$|max_conc'"),
			join(', ', @expected), "$when: what $key->{name} has used");
	}
	return;
}

my ($changes, $rotations) = (0, 0);
for my $step (1 .. STEPS)
{
	move_clock(pick(1, 1, 2, 7, 20, 59, 60, 61, 89, 90, 119, 600, 3600, 40_000, 86_400, 700_000)) if rand() < 0.25;
	if (rand() < 0.05 && ++$changes) { change_document(pick((map { $_->{family} } @keys), @budgets)) }
	if (rand() < 0.01 && ++$rotations) { rotate(pick(@keys)) }
	if ($step == int STEPS / 2)
	{
		# The postmaster does not see the moved clock: it gets nothing to give back.
		move_clock(TIMEOUT / SECOND);
		check_windows('before a restart');
		restart();
		check_windows('after it');
	}
	push @faults, "step $step: $_" foreach grep { $_ } (rand() < 0.35 ? record() : ()), request();
	last if @faults > 3;
}
is(join("\n", @faults), '', STEPS . ' requests agree with the model');
note "$changes changes of documents, $rotations rotations, ", join ', ', map { "$seen{$_} $_" } sort keys %seen;
cmp_ok($seen{$_} // 0, '>', STEPS / 20, "the requests test $_") foreach qw(VALID RATE_LIMITED);

check_windows('in the end');

$_->quit foreach $session, $uncached;
is_sound($node, 'postgres', 'in the end');
set_clock($node, 0);
$node->stop;
done_testing();
