
# A standby tells of sixteen databases.  None of these places is kept for one of which
# nothing can be told, because nobody can connect to it, the standby may not, or it has
# no apikeys any more.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', 'wal_level = replica', 'max_wal_senders = 4', 'hot_standby = on', "apikeys.feed_interval = '100ms'");
my $hba = $primary->data_dir . '/pg_hba.conf';
my $rules = "local all all trust\nlocal replication all trust\n";

# The standby may not connect to these databases.
sub refuse
{
	my (@databases) = @_;

	unlink $hba;
	append_to_file($hba, join('', map { "local $_ feeder reject\n" } @databases) . $rules);
	$primary->reload;
	$primary->safe_psql('postgres', sprintf q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE usename = 'feeder' AND datname = ANY ('{%s}')}, join(',', @databases));
}

my @shops = map { "shop$_" } 1 .. 18;
$primary->start;
$primary->safe_psql('postgres', 'CREATE ROLE feeder LOGIN; CREATE DATABASE shop1');
add_extension($primary, 'shop1');
$primary->safe_psql('shop1', q{SELECT apikey_grant('feeder', 'feed')});
$primary->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE shop1") foreach @shops[ 1 .. $#shops ];
refuse(@shops[ 0 .. 15 ]);
my $standby = new_standby('standby', $primary,
	"apikeys.primary_conninfo = 'host=${\$primary->host} port=${\$primary->port} user=feeder'");

# Those with a state.
sub in_state
{
	my ($state) = @_;

	return grep {
		my ($ret, $out) = $standby->psql($_, 'SELECT feed_state FROM apikeys.stats');
		($out // '') eq $state
	} @shops;
}

wait_until('the two that may be connected to are told of', sub { join(' ', in_state('up')) eq 'shop17 shop18' });
pass('databases that refuse the standby leave the places to others');
refuse();
wait_until('sixteen are told of', sub { in_state('up') == 16 });
is(scalar in_state('left out'), 2, 'two are left out');

my ($refusing, $closed, $former) = in_state('up');
refuse($refusing);
wait_until('another one', sub { my @up = in_state('up'); @up == 16 && !grep { $_ eq $refusing } @up });
pass('one that refuses the standby later makes way');
$primary->safe_psql('postgres', "ALTER DATABASE $closed ALLOW_CONNECTIONS false");
$primary->wait_for_catchup($standby);
wait_until('another one', sub { in_state('up') == 16 });
pass('one that nobody can connect to makes way');
refuse();
$primary->safe_psql($former, 'DROP EXTENSION apikeys');
$primary->wait_for_catchup($standby);
wait_until('another one', sub { in_state('up') == 16 });
ok(scalar(grep { $_ eq $refusing } in_state('up')), 'one that has no apikeys any more makes way for one that refuses nobody any more');

# A command that takes its time is no refusal.
my $session = $primary->background_psql('postgres');
my ($copied) = in_state('up');
$session->query_safe("BEGIN; ALTER DATABASE $copied RENAME TO another");
sleep 12;
$session->query_safe('ROLLBACK');
$session->quit;
wait_until('it is told of again', sub { grep { $_ eq $copied } in_state('up') });
pass('one that a command has for itself comes back');

$_->stop foreach $standby, $primary;
done_testing();
