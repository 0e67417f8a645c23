
# A key or a budget changes after a reader's snapshot was taken, and the reader
# takes in the message about it while it is still reading: what it has read is
# not cached, since no other message would come.  Or somebody spends something: that
# counts once, for whom it concerns.  Policies stop the reader there, which they can
# where the tables' owner is no superuser.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PolicyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '1h'");

add_keys($node, 'postgres', qw(test rich other large days child limited));
$node->safe_psql('postgres', q{
	UPDATE apikeys_data.key SET budget_id = apikey_budget_create('rich', 10) WHERE name = 'rich';
	UPDATE apikeys_data.key SET budget_id = apikey_budget_create('large', 1e17) WHERE name = 'large';
	UPDATE apikeys_data.key SET budget_id = apikey_budget_create('days', 10, '1 day', starts_at => now() - interval '1 hour') WHERE name = 'days';
	UPDATE apikeys_data.key SET budget_id = apikey_budget_create('child', 10, parent_id => apikey_budget_create('parent', 10)) WHERE name = 'child';
	UPDATE apikeys_data.key SET budget_id = (SELECT id FROM apikeys_data.budget WHERE name = 'child'), rate_limits = '{"requests_per_day": 1}' WHERE name = 'limited';});
make_readers_wait($node);

# The same keys and budgets, ids and all
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE postgres');

my $reader = $node->background_psql('postgres');
my $spender = $node->background_psql('postgres');
my $writer = $node->background_psql('postgres');

sub ask
{
	my ($name, $column, $more) = @_;

	return sprintf "SELECT %s FROM apikey_verify('%s-key'%s)", $column // 'code', $name, $more // '';
}

# What the reader says of a key that changes while it is reading, and then.
sub stopped
{
	my ($name, $change, @ask) = @_;
	my $answer = answer_while($node, $reader, $writer, ask($name, @ask), $change);

	return join ', ', $answer, map { $reader->query_safe(ask($name, @ask)) } 1 .. 2;
}

is($reader->query_safe(ask('other')), 'VALID', 'a cache, without the key');
is(stopped('test', q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'test'}),
	'VALID, DISABLED, DISABLED', 'a key');
is($reader->query_safe(ask('rich')), 'VALID', 'a key with a budget') foreach 1 .. 2;
$node->safe_psql('postgres', q{UPDATE apikeys_data.budget SET max_cost = 20});
is(stopped('rich', 'UPDATE apikeys_data.budget SET max_cost = 0'),
	'BUDGET_EXCEEDED, BUDGET_EXCEEDED, BUDGET_EXCEEDED', 'a budget');

# From here on it is spent meanwhile.  The reader knows the key, but has to read the budget.
sub spend
{
	my ($name, $cost) = @_;

	return 'SELECT apikey_record_usage(' . id_of($name) . ", cost => $cost)";
}

sub read_again
{
	my ($name, $budget) = @_;

	$reader->query_safe(ask($name)) foreach 1 .. 2;
	$node->safe_psql('postgres', "UPDATE apikeys_data.budget SET max_cost = max_cost WHERE name = '$budget'");
}

sub stopped_at_budget
{
	my ($name, $change) = @_;

	read_again($name, $name);
	return stopped($name, $change, 'budget_remaining');
}

$node->safe_psql('postgres', q{UPDATE apikeys_data.budget SET max_cost = CASE name WHEN 'large' THEN 1e17 ELSE 10 END});
is(stopped_at_budget('rich', spend('rich', 1)), '9, 9, 9', 'a cost');
is(stopped_at_budget('rich', sub { $node->safe_psql('other', spend('rich', 1)) }), '9, 9, 9', 'a cost of the same budget in another database');
is(stopped_at_budget('rich', "BEGIN; ${\spend('rich', 1)}; SAVEPOINT s; ${\spend('rich', 1)}; ROLLBACK TO s; COMMIT"),
	'9, 8, 8', 'a part of it is rolled back');
is(stopped_at_budget('rich', sub { $writer->query_safe(spend('rich', 1)); $node->safe_psql('other', 'DROP EXTENSION apikeys') }),
	'7, 7, 7', 'and a database is forgotten: as if much were spent');
$node->safe_psql('postgres', spend('large', '900000000000000000'));
is(stopped_at_budget('large', spend('large', '900000000000000000') . ' FROM generate_series(1, 10)'), '0, 0, 0', 'more than is kept in memory');

# What was spent in an earlier period, though it is committed in this one
$reader->query_safe(ask('days'));
foreach my $stop (0, 1)
{
	$spender->query_safe('BEGIN; ' . spend('days', 3));
	$node->safe_psql('postgres', q{SELECT apikey_budget_update(id, jsonb_build_object('starts_at', now())) FROM apikeys_data.budget WHERE name = 'days'});
	is($reader->query_safe(ask('days', 'budget_remaining')), '10', 'a new period');
	is(stopped_at_budget('days', sub { $spender->query_safe('COMMIT') }), '10, 10, 10', 'a cost of an earlier one, while it is read') if $stop;
	$spender->query_safe('COMMIT') unless $stop;
	is($reader->query_safe(ask('days', 'budget_remaining')), '10', 'a cost of an earlier one');
}

# The budget above has to be read, which takes its time: does the one below know all by then?
read_again('child', 'parent');
is(stopped('child', spend('rich', 1), 'code', ', reserve => true, cost => 1'), 'VALID, VALID, VALID', 'a cost of another budget');
read_again('limited', 'parent');
is(stopped('limited', spend('child', 1), 'code', ', reserve => true, cost => 1'), 'RATE_LIMITED, RATE_LIMITED, RATE_LIMITED',
	'a cost of the one below, but a rate limit rejects');

# Its period gets longer, and another session has read it before this one has the message.
$node->safe_psql('postgres', q{
	UPDATE apikeys_data.budget SET reset_every = '1 day', starts_at = now() - interval '1 hour' WHERE name = 'parent';
	CREATE OR REPLACE FUNCTION wait() RETURNS boolean LANGUAGE sql AS 'SELECT pg_advisory_lock_shared(1); SELECT pg_advisory_unlock_shared(1)'});
read_again('child', 'child');
is(stopped('child', sub {
		$writer->query_safe(q{UPDATE apikeys_data.budget SET reset_every = '2 days', max_cost = 5 WHERE name = 'parent'});
		$writer->query_safe(ask('child')) }, 'budget_remaining'), '1, 1, 1', 'a longer period');

# Each time that something is read, all keys and budgets change.  Five times it is read, and then decided.
$node->safe_psql('postgres', sprintf(q{
	CREATE EXTENSION dblink;
	CREATE FUNCTION change() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
	$$
	BEGIN
		PERFORM public.dblink_exec('host=%s port=%s dbname=postgres',
			$sql$UPDATE apikeys_data.key SET description = concat(description, 'x'); UPDATE apikeys_data.budget SET max_cost = max_cost$sql$);
		RETURN true;
	END
	$$;
	SELECT apikey_import(digest('idle-key', 'sha256'), 'idle', '...', idle_timeout => '1 hour', created_at => '2001-01-01');
	UPDATE apikeys_data.key SET idle_since = NULL WHERE name = 'idle';
	INSERT INTO apikeys_data.usage (key_id, last_used_at) SELECT id, now() FROM apikeys_data.key WHERE name = 'idle';
	SELECT apikey_import(digest('new-key', 'sha256'), 'new', '...', rate_limits => '{"requests_per_day": 1}', budget_id => apikey_budget_create('new', 10));
	ALTER TABLE apikeys_data.usage OWNER TO owner;
	ALTER TABLE apikeys_data.usage ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	CREATE POLICY change ON apikeys_data.usage USING (change());
	DROP POLICY wait ON apikeys_data.budget;
	CREATE POLICY change ON apikeys_data.budget USING (change())}, $node->host, $node->port));
foreach my $name (qw(idle new))
{
	is($reader->query_safe(ask($name)), 'VALID', "$name: all change all the time");
	cmp_ok($node->safe_psql('postgres', "SELECT length(description) FROM apikeys_data.key WHERE name = 'other'"), '>=', 5, "$name: five attempts");
	$node->safe_psql('postgres', 'UPDATE apikeys_data.key SET description = NULL');
}

$_->quit foreach $reader, $spender, $writer;
$node->stop;
done_testing();
