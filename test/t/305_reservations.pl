
# Reservations: what a request may cost is taken from limits and budgets before it
# is known, and what it has cost takes its place when that is committed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.reservation_timeout = '1h'", 'max_prepared_transactions = 4',
	'wal_level = replica', 'max_wal_senders = 4', "apikeys.flush_interval = '1h'");

# --------------------------------------------------------------- what is said

# SQL for the id of a budget.
sub budget_id
{
	my ($name) = @_;

	return "(SELECT id FROM apikeys_data.budget WHERE name = '$name')";
}

sub add_budget
{
	my ($name, $arguments) = @_;

	return $node->safe_psql('postgres', "SELECT apikey_budget_create('$name'" . ($arguments ? ", $arguments" : '') . ')');
}

# A key with rate limits, of a budget.
sub add_key
{
	my ($name, $limits, $budget) = @_;

	$node->safe_psql('postgres', sprintf q{
		SELECT apikey_import(digest('%s-key', 'sha256'), '%s', '%s-...', rate_limits => '{%s}', budget_id => %s)},
		$name, $name, $name, $limits // '', $budget ? budget_id($budget) : 'NULL');
}

# Verifies with a reservation; returns its id, or the code with which it is
# refused.
sub reserve
{
	my ($name, $arguments, $server) = @_;
	my ($code, $reservation) = split /\|/, ($server // $node)->safe_psql('postgres',
		"SELECT code, reservation FROM apikey_verify('$name-key', reserve => true" . ($arguments ? ", $arguments)" : ')'));

	return $reservation || $code;
}

# SQL that settles.
sub settle
{
	my ($name, $reservation, $tokens, $cost, $more) = @_;

	return 'SELECT apikey_record_usage(' . id_of($name) . ", $tokens, $cost, '$reservation'" . ($more // '') . ')';
}

sub release
{
	my ($reservation) = @_;

	return $node->safe_psql('postgres', "SELECT apikey_release('$reservation')");
}

# What there is of a budget: what is spent, and what is reserved.
sub spent
{
	my ($name, $server) = @_;

	return ($server // $node)->safe_psql('postgres',
		"SELECT trim_scale(spent) || ' ' || trim_scale(reserved) FROM apikeys.budget_info WHERE name = '$name'");
}

# What is used of each limit of a key but its budgets, and what of that is reserved.
sub used
{
	my ($name, $server) = @_;

	return ($server // $node)->safe_psql('postgres', sprintf q{
		SELECT string_agg(format('%%s %%s/%%s', name, trim_scale(used), trim_scale(reserved)), ', ')
		FROM apikey_limits(%s) WHERE name !~ '^budget:[^ ]*$'}, id_of($name));
}

# The SQLSTATE and the message with which a statement fails.
sub failure
{
	my ($sql) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");

	return $ret == 0 ? "passed: $stdout" : ($stderr =~ /ERROR:  (.*)/)[0];
}

my $uuid = qr/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

# What is checked does not depend on what somebody else has reserved.
add_budget('small', '3');
add_key('small', '', 'small');

sub check_small
{
	my ($when) = @_;

	is($node->safe_psql('postgres', q{SELECT code, reason, trim_scale(budget_remaining) FROM apikey_verify('small-key', cost => 3.000000001)}),
		'BUDGET_EXCEEDED|budget "small" has too little left for this request|3', "$when: a cost is checked without a reservation");
	is($node->safe_psql('postgres', q{SELECT code FROM apikey_verify('small-key', cost => 3)}), 'VALID', "$when: ... and so is one that fits");
	return;
}

check_small('nothing is reserved');

# ------------------------------------------------------------- three levels

add_budget('company', '100');
add_budget('team', '10, parent_id => ' . budget_id('company'));
add_budget('person', '50, parent_id => ' . budget_id('team'));
add_key('deep', '"requests_per_day": 100, "tokens_per_day": 1000, "max_concurrent_requests": 5', 'person');

my $held = reserve('deep', 'tokens => 300, cost => 4');
like($held, $uuid, 'a reservation');
is(join(', ', map { spent($_) } qw(person team company)), '0 4, 0 4, 0 4', '... in all budgets');
is(used('deep'), 'requests_per_day 1/0, tokens_per_day 300/300, max_concurrent_requests 1/1', '... and limits');
is($node->safe_psql('postgres', q{
		SELECT code, reason, limit_name, trim_scale(budget_remaining) FROM apikey_verify('deep-key', reserve => true, tokens => 300, cost => 7)}),
	'BUDGET_EXCEEDED|budget "team" has too little left for this request|budget:team|6', 'the smallest budget binds');
is($node->safe_psql('postgres', q{SELECT code, limit_name FROM apikey_verify('deep-key', cost => 7)}),
	'BUDGET_EXCEEDED|budget:team', '... also who reserves nothing');
is($node->safe_psql('postgres', q{SELECT code, limit_name FROM apikey_verify('deep-key', reserve => true, tokens => 701, cost => 1)}),
	'RATE_LIMITED|tokens_per_day', 'a limit of the key binds');
is(join(', ', map { spent($_) } qw(person team company)), '0 4, 0 4, 0 4', 'a refused request spends nothing of budgets');
is(used('deep'), 'requests_per_day 1/0, tokens_per_day 300/300, max_concurrent_requests 1/1', '... nor of limits');

is($node->safe_psql('postgres', settle('deep', $held, 350, 4.5)), 't', 'more than was reserved');
is(join(', ', map { spent($_) } qw(person team company)), '4.5 0, 4.5 0, 4.5 0', '... is spent');
is(used('deep'), 'requests_per_day 1/0, tokens_per_day 350/0, max_concurrent_requests 0/0', '... in limits, too');
$held = reserve('deep', 'tokens => 300, cost => 5');
is($node->safe_psql('postgres', settle('deep', $held, 10, 0.25)), 't', 'less than was reserved');
is(join(', ', map { spent($_) } qw(person team company)), '4.75 0, 4.75 0, 4.75 0', '... is spent');
is(used('deep'), 'requests_per_day 2/0, tokens_per_day 360/0, max_concurrent_requests 0/0', '... in limits, too');
is($node->safe_psql('postgres', settle('deep', $held, 1, 0.25)), 't', 'settled twice');
is(spent('team') . ', ' . used('deep'), '5 0, requests_per_day 2/0, tokens_per_day 361/0, max_concurrent_requests 0/0', '... counts as used without one');
is(release($held), 'f', '... and is held by nobody');

$held = reserve('deep', 'tokens => 300, cost => 5');
is(spent('team'), '5 5', 'all that is left is reserved');
is(reserve('deep', 'tokens => 1, cost => 0.000000001'), 'BUDGET_EXCEEDED', '... to the last billionth');
is(release($held), 't', 'given back');
is(join(', ', map { spent($_) } qw(person team company)), '4.75 0, 4.75 0, 4.75 0' =~ s/4\.75/5/gr, '... to all budgets');
is(used('deep'), 'requests_per_day 3/0, tokens_per_day 361/0, max_concurrent_requests 0/0', '... and limits');
is(release($held), 'f', '... once');

# What is told after a reservation has it in.
is($node->safe_psql('postgres', q{
		SELECT code, limit_name, trim_scale(limit_remaining), trim_scale(budget_remaining)
		FROM apikey_verify('deep-key', reserve => true, cost => 4.5)}),
	'VALID|budget:team|0.5|0.5', 'what remains is without what is reserved');
$node->safe_psql('postgres', q{SELECT apikey_budget_update(id, '{"max_cost": 20}') FROM apikeys_data.budget WHERE name = 'team'});

check_small('something is reserved');

# Budgets without a limit: what is reserved has a sum that fits.
add_budget('endless');
add_key('endless', '', 'endless');
like(reserve('endless', 'cost => 9e9'), $uuid, 'a large cost');
is($node->safe_psql('postgres', q{SELECT code, reason FROM apikey_verify('endless-key', reserve => true, cost => 9e9)}),
	'BUDGET_EXCEEDED|budget "endless" has too little left for this request', '... and another');
like(reserve('endless', 'cost => 2e8'), $uuid, '... one that fits');

# ------------------------------------------------------------- limits of teams

add_budget('group', q{NULL, rate_limits => '{"max_concurrent_requests": 2, "tokens_per_day": 100, "windows": [{"per": "1 day", "cost": 5, "name": "money"}]}'});
add_key($_, '"tokens_per_day": 80', 'group') foreach 'ann', 'bob';
$held = reserve('ann', 'tokens => 40, cost => 2');
my $other = reserve('bob', 'tokens => 40, cost => 2');
is($node->safe_psql('postgres', q{SELECT code, limit_name, reason FROM apikey_verify('ann-key', reserve => true)}),
	'RATE_LIMITED|budget:group max_concurrent_requests|budget:group max_concurrent_requests limit of 2 is reached', 'keys of a team share its requests');
release($other);
is(reserve('ann', 'tokens => 41'), 'RATE_LIMITED', 'the key has 40 tokens left');
$other = reserve('bob', 'tokens => 60');
like($other, $uuid, '... the team 60');
release($other);
is($node->safe_psql('postgres', q{SELECT code, limit_name FROM apikey_verify('bob-key', tokens => 61)}), 'RATE_LIMITED|budget:group tokens_per_day', '... not 61');
is($node->safe_psql('postgres', q{SELECT code, limit_name FROM apikey_verify('bob-key', cost => 3.5)}), 'RATE_LIMITED|budget:group money', '... and a cost of 3');
$node->safe_psql('postgres', settle('ann', $held, 70, 4.5));
is($node->safe_psql('postgres', q{SELECT code, limit_name FROM apikey_verify('bob-key', cost => 0.6)}), 'RATE_LIMITED|budget:group money', 'what ann has used counts for bob');
is($node->safe_psql('postgres', q{SELECT code, limit_name FROM apikey_verify('bob-key', tokens => 31)}), 'RATE_LIMITED|budget:group tokens_per_day', '... tokens, too');
is($node->safe_psql('postgres', q{SELECT code FROM apikey_verify('bob-key', tokens => 30, cost => 0.5)}), 'VALID', '... not more than that');

$node->stop;
done_testing();
