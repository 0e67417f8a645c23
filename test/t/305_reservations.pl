
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


# ------------------------------------------------- open and broken transactions

sub set_timeout
{
	my ($timeout) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET apikeys.reservation_timeout = '$timeout'");
	$node->reload;
	wait_until("reservation_timeout is $timeout",
		sub { $node->safe_psql('postgres', 'SHOW apikeys.reservation_timeout') eq $timeout });
	return;
}

# A session, and the id of its backend.
sub session
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->set_query_timer_restart;
	return ($session, $session->query('SELECT pg_backend_pid()'));
}

sub terminate
{
	my ($pid) = @_;

	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'a backend is terminated');
	return;
}

add_budget('open', '10');
add_key('open', '"tokens_per_day": 100', 'open');
my @held = map { reserve('open', "tokens => 10, cost => $_") } 1, 2, 3;
my ($session, $pid) = session();
$session->query_safe("BEGIN; ${\settle('open', $held[0], 20, 1.5)}; SAVEPOINT a; ${\settle('open', $held[1], 20, 2.5)};"
	. " SAVEPOINT b; ${\settle('open', $held[2], 20, 3.5)}; ROLLBACK TO a");
is(join(' ', map { release($_) } @held), 'f t t', 'what a savepoint has settled is held again when that is rolled back');
is(spent('open') . ' ' . used('open'), '0 1 tokens_per_day 10/10', '... the rest counts as reserved');
$session->query_safe('COMMIT');
is(spent('open') . ' ' . used('open'), '1.5 0 tokens_per_day 20/0', '... and is settled at the commit');

# Two settle the same: the first in both windows and budget, the other in full.
$held = reserve('open', 'tokens => 10, cost => 1');
$session->query_safe('BEGIN; ' . settle('open', $held, 5, 0.5));
is($node->safe_psql('postgres', "SET lock_timeout = '5s'; " . settle('open', $held, 7, 0.25)), 't', 'another settles the same, and does not wait');
is(spent('open') . ' ' . used('open'), '1.75 1 tokens_per_day 37/10', '... which counts in full');
$session->query_safe('COMMIT');
is(spent('open') . ' ' . used('open'), '2.25 0 tokens_per_day 32/0', '... and the first has its place');

# Terminated between record and commit
$held = reserve('open', 'tokens => 10, cost => 1');
$session->query_safe('BEGIN; ' . settle('open', $held, 5, 0.5));
terminate($pid);
is(spent('open') . ' ' . used('open'), '2.25 1 tokens_per_day 42/10', 'who is terminated settles nothing');
is($node->safe_psql('postgres', settle('open', $held, 5, 0.5)), 't', '... which another does');
is(spent('open') . ' ' . used('open'), '2.75 0 tokens_per_day 37/0', '... in its place');
$session->{run}->kill_kill;

# Prepared: its tokens are settled, its cost stays reserved until it times out.
$held = reserve('open', 'tokens => 10, cost => 1');
$node->safe_psql('postgres', "BEGIN; ${\settle('open', $held, 5, 0.5)}; PREPARE TRANSACTION 'one'");
is(spent('open') . ' ' . used('open'), '2.75 1 tokens_per_day 42/0', 'prepared');
$node->safe_psql('postgres', "COMMIT PREPARED 'one'");
is(spent('open'), '3.25 1', '... and committed');
is(release($held), 't', '... what is left of it can be given back');
is(spent('open') . ' ' . used('open'), '3.25 0 tokens_per_day 42/0', '... which leaves the tokens');
$held = reserve('open', 'tokens => 10, cost => 1');
$node->safe_psql('postgres', "BEGIN; ${\settle('open', $held, 5, 0.5)}; PREPARE TRANSACTION 'one'");
$node->safe_psql('postgres', "ROLLBACK PREPARED 'one'");
is(spent('open'), '3.25 1', 'prepared and rolled back: the cost is reserved');
is($node->safe_psql('postgres', settle('open', $held, 5, 0.5)), 't', '... and settled by the next');
is(spent('open'), '3.75 0', '... in its place');

# ------------------------------------------------------------ others' changes

# A stranger's
add_key('stranger', '"tokens_per_day": 100', 'open');
$held = reserve('open', 'tokens => 10, cost => 1');
my $state = sub { join ', ', spent('open'), used('open'), used('stranger'), $node->safe_psql('postgres',
	q{SELECT sum(total_requests) FROM apikeys.info WHERE name IN ('open', 'stranger')}) };
my $before = $state->();
is(failure(settle('stranger', $held, 5, 0.5)), '22023: reservation is held by another key', 'a stranger\'s reservation');
is($state->(), $before, '... nothing is changed');
is(failure("SELECT apikey_record_usage(gen_random_uuid(), 5, 0.5, '$held')") =~ /^P0002/, 1, 'of no key');
is($state->(), $before, '... nothing is changed');

# Guesses near it
is($node->safe_psql('postgres', sprintf q{
		SELECT count(*) FILTER (WHERE apikey_release(('%s' || substr(gen_random_uuid()::text, 9))::uuid))
		FROM generate_series(1, 10000)}, substr $held, 0, 8), 0, '10,000 guesses of what is where it is held');
is($state->(), $before, '... give nothing back');

# Another database
$node->safe_psql('postgres', 'CREATE DATABASE other');
add_extension($node, 'other');
$node->safe_psql('other', q{SELECT apikey_import(digest('other-key', 'sha256'), 'other', 'x', rate_limits => '{"tokens_per_day": 10}')});
is($node->safe_psql('other', "SELECT apikey_release('$held')"), 'f', 'another database gives nothing back');
is($node->safe_psql('other', settle('other', $held, 5, 0.5)), 't', '... and settles nothing');
is($state->(), $before, '... of this one');
is($node->safe_psql('other', sprintf 'SELECT used, reserved FROM apikey_limits(%s)', id_of('other')), '5|0', '... but counts what it has used');

# DROP EXTENSION in flight
my $gone = $node->safe_psql('other', q{SELECT reservation FROM apikey_verify('other-key', reserve => true, tokens => 5)});
$node->safe_psql('other', 'DROP EXTENSION apikeys');
add_extension($node, 'other');
is($node->safe_psql('other', "SELECT apikey_release('$gone')"), 'f', 'a reservation goes with its extension');
$gone = $node->safe_psql('other', q{
	SELECT apikey_import(digest('other-key', 'sha256'), 'other', 'x', rate_limits => '{"tokens_per_day": 10}') IS NULL;
	SELECT reservation FROM apikey_verify('other-key', reserve => true, tokens => 5)}) =~ s/^f\n//r;
my ($dropping) = session();
$node->safe_psql('other', "BEGIN; ${\settle('other', $gone, 5, 0)}; DROP EXTENSION apikeys; COMMIT");
is($node->safe_psql('postgres', "SELECT apikey_release('$gone')"), 'f', '... also in the transaction that settles it');
$dropping->quit;
$node->safe_psql('postgres', 'DROP DATABASE other');

# The key moves to another budget, and that goes below a third.
add_budget($_, '10') foreach qw(old new above);
add_key('moving', '', 'old');
$held = reserve('moving', 'cost => 2');
$node->safe_psql('postgres', sprintf q{SELECT apikey_update(%s, jsonb_build_object('budget_id', %s))}, id_of('moving'), budget_id('new'));
$node->safe_psql('postgres', sprintf q{SELECT apikey_budget_update(%s, jsonb_build_object('parent_id', %s))}, budget_id($_), budget_id('above')) foreach 'old', 'new';
like(reserve('moving', 'cost => 10'), $uuid, 'a key has moved to another budget');
is($node->safe_psql('postgres', settle('moving', $held, 0, 3)), 't', '... and settles');
is(join(', ', map { spent($_) } qw(old new above)), '3 0, 0 10, 0 10', '... where it was reserved');

# The budget, or the key, is deleted.
add_budget('doomed', '10, parent_id => ' . budget_id('company'));
add_key('orphan', '', 'doomed');
my $company = spent('company');
$held = reserve('orphan', 'cost => 2');
$node->safe_psql('postgres', sprintf q{SELECT apikey_update(%s, '{"budget_id": null}'); SELECT apikey_budget_delete(%s)}, id_of('orphan'), budget_id('doomed'));
is($node->safe_psql('postgres', settle('orphan', $held, 0, 2)), 't', 'the budget has been deleted: settled');
is($node->safe_psql('postgres', 'SELECT total_cost FROM apikeys.info WHERE name = \'orphan\''), 2, '... and recorded');
is(spent('company') =~ s/.* //r, $company =~ s/.* //r, '... and nothing stays reserved above it');

add_budget('heir', '10');
add_key('dead', '', 'heir');
$held = reserve('dead', 'cost => 2');
my $unsettled = $node->safe_psql('postgres', 'SELECT ' . id_of('dead'));
$node->safe_psql('postgres', "SELECT apikey_delete('$unsettled')");
like(failure("SELECT apikey_record_usage('$unsettled', 0, 1, '$held')"), qr/^P0002/, 'the key has been deleted');
is(release($held) . ' ' . spent('heir'), 'f 0 2', '... the budget keeps what was reserved');
set_timeout('1ms');
is(spent('heir'), '0 0', '... until it times out');
set_timeout('1h');

# A window that takes the place of one that counted nothing: what is settled counts in it.
my $document = sub { sprintf '{"rate_limits": {"windows": [%s]}}', join ', ', map { qq({"per": "1 day", "tokens": 1000, "name": "$_"}) } @_ };
add_key('numbers', '"windows": [{"per": "1 day", "tokens": 1000, "name": "first"}]');
$held = reserve('numbers');
foreach my $names ([ map { "a$_" } 1 .. 8 ], [ map { "b$_" } 1 .. 8 ])
{
	$node->safe_psql('postgres', sprintf q{SELECT apikey_update(%s, '%s')}, id_of('numbers'), $document->(@$names));
	is(verify($node, 'postgres', 'numbers'), 'VALID', 'other windows');
}
$node->safe_psql('postgres', settle('numbers', $held, 50, 0));
is(used('numbers'), join(', ', map { "b$_ 50/0" } 1 .. 8), 'each window counts what was used, whichever place it has taken');

# ------------------------------------------------------------------ time out

add_budget('timed', '10');
add_key('timed', '"tokens_per_day": 100, "max_concurrent_requests": 1', 'timed');
$held = reserve('timed', 'tokens => 60, cost => 6');
is(reserve('timed', 'tokens => 40, cost => 4'), 'RATE_LIMITED', 'one at a time');
set_timeout('1ms');
is(spent('timed') . ', ' . used('timed'), '0 0, tokens_per_day 0/0, max_concurrent_requests 0/0', 'what has timed out is not reserved');
is(release($held), 'f', '... nor held');
set_timeout('1h');
like(reserve('timed', 'tokens => 100, cost => 10'), $uuid, '... and another has it');
is($node->safe_psql('postgres', settle('timed', $held, 60, 6)), 't', '... while its usage');
is(spent('timed') . ', ' . used('timed'), '6 10, tokens_per_day 160/100, max_concurrent_requests 1/1', '... counts in full');

# While a transaction is open that settles it, it does not time out.
add_key('slow', '"tokens_per_day": 100, "max_concurrent_requests": 1', 'small');
$held = reserve('slow', 'tokens => 10, cost => 2');
($session) = session();
$session->query_safe('BEGIN; ' . settle('slow', $held, 5, 1.5));
set_timeout('1ms');
is($node->safe_psql('postgres', q{SELECT code, retry_after FROM apikey_verify('slow-key', reserve => true)}), 'RATE_LIMITED|1', '... and another is told to wait for it');
is(spent('small') . ' ' . used('slow'), '0 2 tokens_per_day 10/10, max_concurrent_requests 1/1', 'what is being settled does not time out');
$session->query_safe('COMMIT');
is(spent('small') . ' ' . used('slow'), '1.5 0 tokens_per_day 5/0, max_concurrent_requests 0/0', '... and is settled');
$session->quit;
set_timeout('1h');

# ------------------------------------------------------------------- a standby

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'apikeys.feed_interval = 0');
$standby->start;
add_budget('far', '10');
add_key('far', '"tokens_per_day": 100', 'far');
$node->wait_for_catchup($standby);
$held = reserve('far', 'tokens => 10, cost => 6', $standby);
like($held, $uuid, 'a standby reserves');
is(spent('far', $standby) . ' ' . used('far', $standby), '0 6 tokens_per_day 10/10', '... for itself');
is(spent('far') . ' ' . used('far'), '0 0 tokens_per_day 0/0', '... alone');
is(reserve('far', 'cost => 5', $standby), 'BUDGET_EXCEEDED', '... and refuses what does not fit');
is($node->safe_psql('postgres', settle('far', $held, 20, 6)), 't', 'the primary records it');
is(spent('far') . ' ' . used('far'), '6 0 tokens_per_day 20/0', '... in full');
$node->wait_for_catchup($standby);
is(spent('far', $standby), '6 6', 'the standby counts both until it is given back there');
is($standby->safe_psql('postgres', "SELECT apikey_release('$held')"), 't', '... which it can be');
is(spent('far', $standby) . ' ' . used('far', $standby), '6 0 tokens_per_day 0/0', '... as a whole');
$standby->stop;

# -------------------------------------------------------------------- restarts

add_budget('again', '10');
add_key('again', '"tokens_per_day": 100, "max_concurrent_requests": 1', 'again');
$node->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('again')}, 7)");
$held = reserve('again', 'tokens => 30, cost => 3');
$node->restart;
is(spent('again') . ', ' . used('again'), '0 0, tokens_per_day 7/0, max_concurrent_requests 0/0', 'a clean restart gives back what was reserved');
is($node->safe_psql('postgres', settle('again', $held, 20, 2)), 't', '... what is settled');
is(spent('again') . ', ' . used('again'), '2 0, tokens_per_day 27/0, max_concurrent_requests 0/0', '... counts in full');
$held = reserve('again', 'tokens => 30, cost => 3');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
$node->stop('immediate');
$node->start;
is(spent('again') . ', ' . used('again'), '2 0, tokens_per_day 27/0, max_concurrent_requests 0/0',
	'a crash: nothing is reserved, what was used is stored');
is($node->safe_psql('postgres', settle('again', $held, 20, 2)), 't', '... what is settled');
is(spent('again') . ', ' . used('again'), '4 0, tokens_per_day 47/0, max_concurrent_requests 0/0', '... counts in full');
is(release($held), 'f', '... and is not held');

# ------------------------------------------------------------------ the figure

# Sixteen clients, in four processes, make requests that cost 1 each of a budget of
# 1,000, and take their time.  Some roll back what they record, and do it again.
$node->safe_psql('postgres', 'CREATE TABLE passed (reservation uuid PRIMARY KEY)');
sub start_requests
{
	my ($name) = @_;
	my $id = $node->safe_psql('postgres', 'SELECT ' . id_of($name));

	return start_load($node, 'postgres', qq{
		\\set delay random(0, 5000)
		\\set rolled_back random(0, 4)
		SELECT valid::int AS valid, reservation FROM apikey_verify('$name-key', reserve => true, cost => 1) \\gset
		\\if :valid
		\\sleep :delay us
		\\if :rolled_back = 0
		BEGIN;
		SELECT apikey_record_usage('$id', cost => 1, reservation => ':reservation');
		ROLLBACK;
		\\endif
		BEGIN;
		SELECT apikey_record_usage('$id', cost => 1, reservation => ':reservation');
		INSERT INTO passed VALUES (':reservation');
		COMMIT;
		\\else
		\\sleep 1 ms
		\\endif
	}, '--client', 4, '--transactions', 150);
}

sub figure
{
	my ($name, $kill) = @_;
	my ($killed, $returned, $rounds) = (0, 0, 0);

	add_budget($name, '1000');
	add_key($name, '', $name);
	$node->safe_psql('postgres', 'TRUNCATE passed');
	while (1)
	{
		my @loads = map { start_requests($name) } 1 .. 4;

		if ($kill && $rounds < 3)
		{
			wait_until('requests have passed', sub { $node->safe_psql('postgres', 'SELECT count(*) FROM passed') > 200 * $rounds + 100 });
			$killed += $node->safe_psql('postgres', q{
				SELECT count(pg_terminate_backend(pid)) FROM (
					SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' ORDER BY random() LIMIT 4) p});
			$loads[0]{run}->signal('KILL');
			$killed += 4;
		}
		end_load($_) foreach @loads;
		$rounds++;

		# What the killed ones held: nothing else is.
		my $reserved = $node->safe_psql('postgres', "SELECT trim_scale(reserved) FROM apikeys.budget_info WHERE name = '$name'");
		last if $reserved == 0 && $node->safe_psql('postgres', "SELECT spent >= 1000 FROM apikeys.budget_info WHERE name = '$name'") eq 't';
		$returned += $reserved;
		set_timeout('1ms');
		wait_for($node, 'postgres', "SELECT reserved = 0 FROM apikeys.budget_info WHERE name = '$name'", "$name: what killed clients held comes back");
		set_timeout('1h');
		last if $rounds > 20;
	}
	note "$name: $rounds rounds, $killed clients killed, who held $returned";
	is(spent($name), '1000 0', "$name: exactly 1,000 are spent");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM passed'), 1000, "$name: exactly 1,000 have passed");
	is(reserve($name, 'cost => 1'), 'BUDGET_EXCEEDED', "$name: not one more");
	is($node->safe_psql('postgres', "SELECT total_requests, total_cost FROM apikeys.info WHERE name = '$name'"), '1000|1000', "$name: the key's usage agrees");
	return $killed;
}

figure('calm', 0);
cmp_ok(figure('killed', 1), '>', 0, 'clients were killed');

# A key is revoked while requests are under way, and a flush looks for space.
add_budget('retired', '10');
add_key('retired', '"max_concurrent_requests": 2', 'retired');
my @under_way = map { reserve('retired', 'cost => 2') } 1 .. 2;
$node->safe_psql('postgres', 'SELECT apikey_revoke(' . id_of('retired') . '); SELECT apikey_flush()');
is(release($under_way[0]), 't', 'what a revoked key has reserved is released');
is($node->safe_psql('postgres', settle('retired', $under_way[1], 0, 1)), 't', '... or settled');
is(spent('retired'), '1 0', '... in its budget, too');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikey_limits(' . id_of('retired') . ") WHERE used > 0 AND name LIKE 'max%'"), 0, '... and nothing is left');

# So is the last key of a family whose first one was deleted.
add_budget('lineage', '10');
add_key('lineage', '"max_concurrent_requests": 2', 'lineage');
@under_way = map { reserve('lineage', 'cost => 2') } 1 .. 2;
my $first = $node->safe_psql('postgres', 'SELECT ' . id_of('lineage'));
my $successor = $node->safe_psql('postgres', "SELECT id FROM apikey_rotate('$first', '0')");
$node->safe_psql('postgres', "SELECT apikey_revoke('$successor'); SELECT apikey_delete('$first'); SELECT apikey_flush()");
is(release($under_way[0]), 't', 'what a family without its first key has reserved is released');
is($node->safe_psql('postgres', "SELECT apikey_record_usage('$successor', 0, 1, '$under_way[1]')"), 't', '... or settled');
is(spent('lineage'), '1 0', '... in its budget, too');

# A retry gives up its claim, and the next transaction has many: what they are settled
# with is in memory of that transaction.  Memory that is freed is overwritten here.
{
	local $ENV{MALLOC_PERTURB_} = 85;
	$node->restart;
}
add_key('memory', '"max_concurrent_requests": 20');
my ($again, @many) = map { reserve('memory') } 0 .. 19;
my $retry = settle('memory', $again, 0, 0, ", 'r'");
$node->safe_psql('postgres', 'SELECT apikey_record_usage(' . id_of('memory') . ", request_id => 'r')");
my ($settled) = $node->psql('postgres',
	"BEGIN; SELECT count(pg_notify('notes', n || repeat('x', 99))) FROM generate_series(1, 999) n; $retry; COMMIT; BEGIN; "
	  . join('; ', map { settle('memory', $_, 0, 0) } @many) . '; COMMIT');
is($settled, 0, 'many are settled after a retry that was not');
is($node->safe_psql('postgres', 'SELECT used FROM apikey_limits(' . id_of('memory') . ')'), 1, '... and its reservation stands');

# The same without reservations: how much more passes?
add_budget('loose', '1000');
add_key('loose', '', 'loose');
my $loose = $node->safe_psql('postgres', 'SELECT ' . id_of('loose'));
my $load = start_load($node, 'postgres', qq{
	\\set delay random(0, 5000)
	SELECT valid::int AS valid FROM apikey_verify('loose-key', cost => 1) \\gset
	\\if :valid
	\\sleep :delay us
	SELECT apikey_record_usage('$loose', cost => 1);
	\\endif
}, '--client', 16, '--jobs', 4, '--transactions', 150);
ok(end_load($load), 'the same without reservations');
my $overshoot = $node->safe_psql('postgres', "SELECT trim_scale(spent) - 1000 FROM apikeys.budget_info WHERE name = 'loose'");
note "without reservations 16 clients spend $overshoot of 1,000 too much";
cmp_ok($overshoot, '>=', 0, "... spends $overshoot of 1,000 too much");

is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
