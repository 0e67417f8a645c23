
# More databases than the flush queue has places for: what was pending in any
# of them when the server stopped is written after it has started.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '1h'");

# The last ones have usage to be rolled up.
$node->safe_psql('postgres', join ";\n", map { "CREATE DATABASE d$_ STRATEGY wal_log" } 1 .. 70);
my @databases = ('postgres', 'd69', 'd70');
foreach my $dbname (@databases)
{
	add_extension($node, $dbname) unless $dbname eq 'postgres';
	add_keys($node, $dbname, 'k');
	$node->safe_psql($dbname, sprintf 'SELECT apikey_record_usage(%s, 5)', id_of('k'));
}
$node->stop('immediate');

$node->append_conf('postgresql.conf', "apikeys.flush_interval = '10ms'");
$node->start;
wait_for($node, $_, 'SELECT NOT EXISTS (SELECT FROM apikeys_data.usage_entry)', "$_: rolled up after the start")
  foreach @databases;
is($node->safe_psql($_, 'SELECT total_requests, total_tokens FROM apikeys.info'), '1|5', "$_: as it was recorded")
  foreach @databases;

# Once more while the server runs: the second round does not begin by itself.
foreach my $dbname (@databases)
{
	$node->safe_psql($dbname, sprintf 'SELECT apikey_record_usage(%s, 5)', id_of('k'));
	wait_for($node, $dbname, 'SELECT NOT EXISTS (SELECT FROM apikeys_data.usage_entry)', "$dbname: rolled up again");
}
is(stats($node, 'flush_errors'), 0, 'no error');
is_sound($node, 'postgres', 'in the end');

$node->stop;
done_testing();
