
# Whoever wants a database for himself gets it, though standbys tell of their use in it:
# one that is just connecting leaves, too.  While a command takes its time, a standby
# does not fill the server with sessions that wait, nor neglect other databases.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $primary = new_primary('primary', 'max_connections = 30', 'wal_receiver_status_interval = 1');
$primary->safe_psql('postgres', 'CREATE DATABASE shop');
add_extension($primary, 'shop');

# Locks of databases that a command holds, or for which somebody waits.
my $locks = q{FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_database'::regclass};

# ---------------------------------------------------- who is just connecting

# Runs a command, and code once the command has begun to wait for others to leave.
sub run_beside
{
	my ($command, $code) = @_;
	my $err = '';
	my $run = IPC::Run::start([ 'psql', '-Xq', '-d', $primary->connstr('postgres'), '-c', $command ], '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	wait_for($primary, 'postgres', "SELECT count(*) > 0 $locks AND granted AND mode IN ('ShareLock', 'AccessExclusiveLock')",
		"$command: begun");
	$code->();
	$run->finish;
	return $err;
}

# A session of a server that has told nothing yet, and does so while a command waits.
my $hello = unpack('H*', feed_request(node => 7, kind => FEED_HELLO));
foreach (
	[ 'shop', 'CREATE DATABASE copy TEMPLATE shop' ],
	[ 'shop', 'ALTER DATABASE shop RENAME TO shop2' ],
	[ 'copy', 'DROP DATABASE copy' ])
{
	my ($dbname, $command) = @$_;
	my $session = $primary->background_psql($dbname, on_error_stop => 0);
	my $start = time();

	is( run_beside($command, sub { eval { $session->query("SELECT apikeys.feed_exchange('\\x$hello')") } }),
		'', "$command: who has just connected makes way");
	cmp_ok(time() - $start, '<', 4, '... and is not waited for');
	eval { $session->quit };
}
$primary->safe_psql('postgres', 'ALTER DATABASE shop2 RENAME TO shop');

# The template may be the default.
is($primary->psql('postgres', 'CREATE DATABASE fresh TEMPLATE = DEFAULT'), 0, 'CREATE DATABASE of the default template');

# Standbys that come back all the time
my @standbys = map { new_standby($_, $primary) } qw(first second);
wait_for($_, 'shop', q{SELECT feed_state = 'up' FROM apikeys.stats}, $_->name . ': tells of its use') foreach @standbys;
my @failed;
foreach my $n (1 .. 10)
{
	my ($ret, $out, $err) = $primary->psql('postgres', "CREATE DATABASE copy$n TEMPLATE shop STRATEGY FILE_COPY");

	push @failed, $err if $ret;
	($ret, $out, $err) = $primary->psql('postgres', "DROP DATABASE copy$n");
	push @failed, $err if $ret;
	# Until they are about to come back, each time at another moment.
	Time::HiRes::usleep(1_000_000 + 10_000 * $n);
}
is(join("\n", @failed), '', 'databases are copied and dropped while standbys come back');

# For who may not give the command nobody leaves.
wait_for($_, 'shop', q{SELECT feed_state = 'up' FROM apikeys.stats}, $_->name . ': tells of its use again') foreach @standbys;
my $sessions = q{SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE datname = 'shop'};
my $pids = $primary->safe_psql('postgres', "CREATE ROLE nobody LOGIN; $sessions");
like($pids, qr/^\d+ \d+$/, 'control: each standby has a session');
my ($ret, $out, $err) = $primary->psql('postgres', 'DROP DATABASE shop', extra_params => [ '-U', 'nobody', '-v', 'VERBOSITY=sqlstate' ]);
like($err, qr/ERROR:  42501/, 'DROP DATABASE of who does not own it is refused');
is($primary->safe_psql('postgres', $sessions), $pids, '... and ends no session');

# ------------------------------------------------- a command that takes long

my $session = $primary->background_psql('postgres');
$session->query_safe('BEGIN; ALTER DATABASE shop RENAME TO shop2');
my $worst = 0;
my $waiting = 0;
for (1 .. 12)
{
	my $lag = $standbys[0]->safe_psql('postgres', 'SELECT extract(epoch FROM feed_lag) FROM apikeys.stats');
	my $n = $primary->safe_psql('postgres', "SELECT count(*) $locks AND NOT granted");

	$worst = $lag if $lag > $worst;
	$waiting = $n if $n > $waiting;
	sleep 1;
}
is($waiting, 2, 'each standby has one session that waits');
cmp_ok($worst, '<', 3, '... and tells of the use of other databases meanwhile');
like($standbys[0]->safe_psql('shop', q{SELECT feed_state || ': ' || feed_error FROM apikeys.stats}),
	qr/^down: the server does not answer, or a command needs the database/, '... and says what it waits for');
$session->query_safe('ROLLBACK');
wait_for($_, 'shop', q{SELECT feed_state = 'up' FROM apikeys.stats}, $_->name . ': goes on afterwards') foreach @standbys;
$session->quit;

$_->stop foreach @standbys, $primary;
done_testing();
