
# A key or a budget changes after a reader's snapshot was taken, and the reader
# takes in the message about it while it is still reading: what it has read is
# not cached, since no other message would come.  Policies stop the reader there,
# which they can where the tables' owner is no superuser.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '1h'");

add_keys($node, 'postgres', qw(test rich other));
$node->safe_psql('postgres', q{
	UPDATE apikeys_data.key SET budget_id = apikey_budget_create('rich', 10) WHERE name = 'rich';

	-- Waits as long as somebody has the lock, and then takes in messages.
	CREATE TABLE touched ();
	CREATE FUNCTION wait() RETURNS boolean LANGUAGE plpgsql AS
	$$
	BEGIN
		PERFORM pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1);
		PERFORM FROM touched;
		RETURN true;
	END
	$$;

	CREATE ROLE owner;
	GRANT USAGE ON SCHEMA apikeys, apikeys_data TO owner;
	GRANT SELECT ON ALL TABLES IN SCHEMA apikeys_data, apikeys, public TO owner;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA apikeys TO owner;
	ALTER TABLE apikeys_data.key OWNER TO owner;
	ALTER TABLE apikeys_data.key ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	ALTER TABLE apikeys_data.budget ENABLE ROW LEVEL SECURITY;
	CREATE POLICY wait ON apikeys_data.key USING (wait());
	CREATE POLICY wait ON apikeys_data.budget USING (wait())});

my $reader = $node->background_psql('postgres');
my $writer = $node->background_psql('postgres');
my $reader_pid = $reader->query_safe('SELECT pg_backend_pid()');

sub ask { return "SELECT code FROM apikey_verify('$_[0]-key');\n" }

# What the reader says of a key that changes while it is reading, and then.
sub stopped
{
	my ($name, $change) = @_;
	my $answer;

	$writer->query_safe('SELECT pg_advisory_lock(1)');
	$reader->{stdin} .= ask($name) . "\\echo done\n";
	$reader->{run}->pump_nb;
	$node->poll_query_until('postgres',
		"SELECT wait_event_type = 'Lock' AND wait_event = 'advisory' FROM pg_stat_activity WHERE pid = $reader_pid");
	$writer->query_safe($change);
	$writer->query_safe('SELECT pg_advisory_unlock(1)');
	$reader->{run}->pump until $reader->{stdout} =~ /^done$/m;
	($answer) = $reader->{stdout} =~ /^([A-Z_]+)$/m;
	$reader->{stdout} = '';
	return join ', ', $answer, map { $reader->query_safe(ask($name)) } 1 .. 2;
}

is($reader->query_safe(ask('other')), 'VALID', 'a cache, without the key');
is(stopped('test', q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'test'}),
	'VALID, DISABLED, DISABLED', 'a key');
is($reader->query_safe(ask('rich')), 'VALID', 'a key with a budget') foreach 1 .. 2;
$node->safe_psql('postgres', q{UPDATE apikeys_data.budget SET max_cost = 20});
is(stopped('rich', 'UPDATE apikeys_data.budget SET max_cost = 0'),
	'BUDGET_EXCEEDED, BUDGET_EXCEEDED, BUDGET_EXCEEDED', 'a budget');

$reader->quit;
$writer->quit;
$node->stop;
done_testing();
