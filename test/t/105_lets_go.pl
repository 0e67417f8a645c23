
# No worker keeps DROP DATABASE, CREATE DATABASE ... TEMPLATE, DROP EXTENSION
# or a shutdown waiting, or makes it fail, however much there is to flush.
# The other databases go on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Workers come all the time.  The server gives up on DROP DATABASE after five
# seconds by itself.
my $node = start_node(
	'main',
	'max_connections = 60',
	"apikeys.flush_interval = '10ms'",
	'apikeys.last_used_throttle = 0');
my $keys = 300;

sub add_database
{
	my ($dbname) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	add_extension($node, $dbname);
	add_keys($node, $dbname, map { "k$_" } 1 .. $keys);
}

# Leaves much to flush behind.
sub burden
{
	my ($dbname, $entries) = @_;

	$node->safe_psql($dbname, qq{
		SELECT count(v.code) FROM generate_series(1, $keys) n, LATERAL apikey_verify('k' || n || '-key') v;
		SELECT count(apikey_record_usage(id, n, 0.01)::text) FROM apikeys_data.key, generate_series(1, $entries / $keys) n});
}

# psql's answer to a statement: true if it went well.
sub succeeds
{
	my ($statement) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', $statement);

	diag $stderr if $ret;
	return $ret == 0;
}

# A database that goes on: its load never sees an error, its entries go on
# being rolled up.
add_database('other');
sub check_other
{
	my ($what) = @_;
	my $id = id_of('k1');

	$node->safe_psql('other', "SELECT apikey_record_usage($id)");
	my $total = $node->safe_psql('other', "SELECT total_requests FROM apikey_usage($id)");
	wait_for($node, 'other', "SELECT total_requests >= $total FROM apikeys_data.usage WHERE key_id = $id",
		"$what: the other database is flushed");
}

my $other = start_load($node, 'other', qq{
\\set n random(1, $keys)
SELECT code FROM apikey_verify('k:n-key');
SELECT apikey_record_usage(id, 1, 0.001) FROM apikeys_data.key WHERE name = 'k' || :n;
}, '--client', 4, '--rate', 200, '--time', 600);

# DROP DATABASE, right after its sessions have left
foreach my $entries (300, 3_000, 60_000)
{
	add_database('victim');
	burden('victim', $entries);
	within_5_seconds("DROP DATABASE with $entries entries pending",
		sub { succeeds('DROP DATABASE victim') });
}
add_database('victim');
burden('victim', 3_000);
within_5_seconds('DROP DATABASE ... WITH (FORCE)',
	sub { succeeds('DROP DATABASE victim WITH (FORCE)') });
check_other('DROP DATABASE');

# Sessions that come and go, until the database is gone
add_database('victim');
my $load = start_load($node, 'victim', q{
SELECT code FROM apikey_verify('k1-key');
SELECT apikey_record_usage(id, 1, 0.001) FROM apikeys_data.key WHERE name = 'k2';
}, '--client', 4, '--time', 600);
wait_for($node, 'victim', 'SELECT sum(total_requests) > 100 FROM apikeys_data.usage', 'the load runs');
within_5_seconds('DROP DATABASE ... WITH (FORCE) under load',
	sub { succeeds('DROP DATABASE victim WITH (FORCE)') });
end_load($load);

# CREATE DATABASE ... TEMPLATE
add_database('source');
foreach my $entries (300, 60_000)
{
	burden('source', $entries);
	within_5_seconds("CREATE DATABASE ... TEMPLATE with $entries entries pending",
		sub { succeeds('CREATE DATABASE copy TEMPLATE source') });
	is($node->safe_psql('copy', "SELECT code FROM apikey_verify('k1-key')"), 'VALID', 'the copy works');
	wait_for($node, 'copy', "SELECT last_used_at IS NOT NULL FROM apikeys_data.usage WHERE key_id = ${\id_of('k1')}",
		'the copy is flushed');
	$node->safe_psql('source', 'SELECT apikey_flush()');
	my $sums = 'SELECT sum(total_requests), sum(total_tokens), sum(total_cost) FROM apikeys.info';
	is($node->safe_psql('copy', $sums), $node->safe_psql('source', $sums), 'the copy has the same usage');
	within_5_seconds('DROP DATABASE of the copy', sub { succeeds('DROP DATABASE copy') });
}

# ALTER DATABASE wants to be alone as well.
burden('source', 3_000);
within_5_seconds('ALTER DATABASE ... RENAME', sub { succeeds('ALTER DATABASE source RENAME TO renamed') });
wait_for($node, 'renamed', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'the renamed database is flushed');

# DROP EXTENSION.  A session of the load that deadlocks with it gives way at
# once, so only a worker could keep it waiting.
foreach my $times (1 .. 3)
{
	add_database('victim');
	burden('victim', 3_000);
	local $ENV{PGOPTIONS} = '-c deadlock_timeout=10ms';
	$load = start_load($node, 'victim', qq{
\\set n random(1, $keys)
SELECT code FROM apikey_verify('k:n-key');
SELECT apikey_record_usage(id, 1, 0.001) FROM apikeys_data.key WHERE name = 'k' || :n;
}, '--client', 4, '--time', 600);
	delete $ENV{PGOPTIONS};
	wait_for($node, 'victim', 'SELECT sum(total_requests) > 3000 FROM apikeys_data.usage', 'the load runs');
	within_5_seconds('DROP EXTENSION under load', sub {
		my ($ret, $stdout, $stderr) = $node->psql('victim', q{
			SET deadlock_timeout = '10s';
			DROP EXTENSION apikeys});
		diag $stderr if $ret;
		return $ret == 0;
	});
	ok(!end_load($load), 'the load came to its end');

	# It comes again, and works.
	add_extension($node, 'victim');
	add_keys($node, 'victim', 'k1');
	is($node->safe_psql('victim', "SELECT code FROM apikey_verify('k1-key')"), 'VALID', 'CREATE EXTENSION again');
	wait_for($node, 'victim', 'SELECT count(*) = 1 FROM apikeys_data.usage WHERE last_used_at IS NOT NULL',
		'what is new is flushed');
	is($node->safe_psql('victim', 'SELECT count(*) FROM apikeys.info WHERE total_requests > 0'),
		0, 'what was before is gone');
	within_5_seconds('DROP DATABASE', sub { succeeds('DROP DATABASE victim') });
}
check_other('DROP EXTENSION');

# What is gone is forgotten: only the databases that are left have entries.
wait_for($node, 'other', 'SELECT pending < 100 FROM apikeys.stats', 'nothing stays pending for what is gone');

# The load on the other database never saw an error.
ok($other->{run}->pumpable, 'the other database: its load still runs');
is($other->{err} =~ /(.*(?:error|ERROR|aborted).*)/ ? $1 : '', '', 'the other database: no error');

# A fast shutdown, under load and with much to flush
burden('renamed', 30_000);
within_5_seconds('fast shutdown', sub { $node->stop('fast', fail_ok => 1) });
end_load($other);
$node->start;
wait_for($node, 'renamed', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'afterwards the rest is flushed');
wait_for($node, 'other', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'in each database');
wait_for($node, 'other', 'SELECT pending = 0 FROM apikeys.stats', 'and nothing is pending');
is(count_in_log($node, qr/PANIC:|TRAP:|was terminated by signal/), 0, 'no process crashed');

$node->stop;
done_testing();
