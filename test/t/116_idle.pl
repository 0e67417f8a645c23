
# A key with an idle_timeout expires when it was not used for that long: exactly,
# whichever backend has used it, and whatever is in memory or in the table.
#
# The background workers do not see the moved clock, so flushes are by hand.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# With an idle_timeout of an hour
sub add_idle_keys
{
	my ($node, @names) = @_;

	add_keys($node, 'postgres', @names);
	set_timeout($node, '1 hour', @names);
}

sub set_timeout
{
	my ($node, $timeout, @names) = @_;

	$node->safe_psql('postgres', sprintf q{
		SELECT count(apikey_update(id, '{"idle_timeout": "%s"}')) FROM apikeys_data.key WHERE name IN ('%s')},
		$timeout, join "', '", @names);
}

sub status
{
	my ($node, $name) = @_;

	return $node->safe_psql('postgres', "SELECT status FROM apikeys.info WHERE name = '$name'");
}

# ------------------------------------------------- a key is persisted in time

# The throttle is not what a key depends on: whatever it is, its use is written
# within a tenth of its timeout.
foreach my $throttle ('1d', '-1')
{
	my $node = start_node('throttle' . $throttle =~ s/-//r,
		"apikeys.last_used_throttle = '$throttle'", "apikeys.flush_interval = '10ms'");

	add_idle_keys($node, qw(idle limited));
	add_keys($node, 'postgres', 'plain');
	set_timeout($node, '10 seconds', qw(idle limited));
	$node->safe_psql('postgres',
		"SELECT apikey_update(${\id_of('limited')}, '{\"rate_limits\": {\"requests_per_day\": 1000000}}')");
	verify($node, 'postgres', 'plain');
	wait_for_flush_worker($node, 'postgres') if $throttle ne '-1';
	foreach my $name (qw(idle limited))
	{
		set_timeout($node, '10 seconds', $name);
		is(verify($node, 'postgres', $name), 'VALID', "throttle $throttle, $name: a use");
		wait_until('it is written', sub { stored_use($node, 'postgres', $name) ne '' });
		my $first = stored_use($node, 'postgres', $name);
		set_timeout($node, '10 seconds', $name);
		is(verify($node, 'postgres', $name), 'VALID', "throttle $throttle, $name: another use");
		wait_until('it is written', sub { stored_use($node, 'postgres', $name) ne $first });
		is(stored_use($node, 'postgres', $name), last_use($node, 'postgres', $name),
			"throttle $throttle, $name: it is the use that is seen");
	}
	$node->safe_psql('postgres', "SELECT pg_sleep(1); SELECT code FROM apikey_verify('plain-key')");
	isnt(stored_use($node, 'postgres', 'plain'), last_use($node, 'postgres', 'plain'),
		"throttle $throttle: control: that of another key is not") if $throttle ne '-1';
	is(last_use($node, 'postgres', 'plain'), '', "throttle $throttle: control: other keys have none")
	  if $throttle eq '-1';
	$node->stop;
}

if (!has_clock())
{
	diag 'libfaketime is not installed';
	done_testing();
	exit;
}

# ----------------------------------------------------------- with the clock

my $start = 1_900_000_000;

foreach my $preload (1, 0)
{
	my $mode = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("clock$preload", "apikeys.flush_interval = '1h'", 'apikeys.max_tracked_keys = 16');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''") unless $preload;
	my $start_server = sub { with_clock($node, sub { $node->start }) };
	my $at = sub { stop_clock($node, $start + $_[0]) };

	$at->(0);
	$start_server->();
	add_extension($node, 'postgres');
	add_idle_keys($node, qw(never used cached limited evicted pending crashed));
	$node->safe_psql('postgres',
		"SELECT apikey_update(${\id_of('limited')}, '{\"rate_limits\": {\"requests_per_day\": 1000}}')")
	  if $preload;
	my $session = $node->background_psql('postgres');
	my $cached = "SELECT code FROM apikey_verify('cached-key')";

	$at->(3000);
	foreach my $name (qw(used limited evicted))
	{
		is(verify($node, 'postgres', $name), 'VALID', "$mode, $name: used after 50 minutes");
	}
	is($session->query_safe($cached), 'VALID', "$mode: cached by a session");

	# To the second: what was never used, from its creation.
	$at->(3600);
	is(status($node, 'never'), 'active', "$mode: after an hour it is active");
	$at->(3601);
	is(status($node, 'never'), 'expired', "$mode: after an hour and a second it is not");
	is(verify($node, 'postgres', 'never'), 'EXPIRED', "$mode: nor for verify");
	is(verify($node, 'postgres', 'never'), 'EXPIRED', "$mode: which is no use");

	# A use counts at once, in all backends, though no flush has been.
	$at->(6599);
	is(verify($node, 'postgres', 'cached'), 'VALID', "$mode: used in another session");
	$at->(6601);
	is(status($node, 'used'), 'expired', "$mode, used: an hour after its use");
	is(verify($node, 'postgres', $_), 'EXPIRED', "$mode, $_: an hour after its use") foreach qw(used limited);
	is($session->query_safe($cached), 'VALID', "$mode: the cache knows of the use in another session");

	# Once idle it stays so, over a flush and over a restart.
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	is(verify($node, 'postgres', 'used'), 'EXPIRED', "$mode: idle after a flush");
	set_timeout($node, '1 hour', 'evicted');
	$at->(6700);
	is(verify($node, 'postgres', 'evicted'), 'VALID', "$mode, evicted: used");
	$node->safe_psql('postgres', 'SELECT apikey_flush()');

	# An entry that was evicted: the table has its use.
	if ($preload)
	{
		add_keys($node, 'postgres', map { "other$_" } 1 .. 40);
		foreach my $i (1 .. 40)
		{
			verify($node, 'postgres', "other$i");
			$node->safe_psql('postgres', 'SELECT apikey_flush()') if $i % 4 == 0;
		}
		is($node->safe_psql('postgres', "SELECT apikeys.last_use(${\id_of('evicted')})"), '', "$mode: the entry was evicted");
	}
	$at->(6700 + 3600);
	is(verify($node, 'postgres', 'evicted'), 'VALID', "$mode: an entry that was evicted, an hour later");

	# A clean shutdown loses nothing, flushed or not; but only the postmaster could save
	# what is in shared memory, and it has the library only if that is preloaded.
	my $is_lost = !$preload && $node->pg_version >= 17;
	$at->(11000);
	set_timeout($node, '1 hour', 'pending');
	$at->(12000);
	is(verify($node, 'postgres', 'pending'), 'VALID', "$mode, pending: used");
	$session->quit;
	$node->stop;
	$start_server->();
	$at->(15600);
	is(status($node, 'pending'), $is_lost ? 'expired' : 'active', "$mode: a use that was pending at a clean shutdown");
	is(verify($node, 'postgres', 'used'), 'EXPIRED', "$mode: idle after a restart");

	# A crash: what the table says.
	set_timeout($node, '1 hour', 'crashed');
	$at->(15700);
	is(verify($node, 'postgres', 'crashed'), 'VALID', "$mode, crashed: used");
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	$at->(15800);
	is(verify($node, 'postgres', 'crashed'), 'VALID', "$mode, crashed: used without a flush");
	$node->stop('immediate');
	$start_server->();
	$at->(15700 + 3600);
	is(verify($node, 'postgres', 'crashed'), 'VALID', "$mode: after a crash, within an hour of the written use");
	$at->(15700 + 7300);
	is(verify($node, 'postgres', 'crashed'), 'EXPIRED', "$mode: after a crash, later");
	is(verify($node, 'postgres', 'used'), 'EXPIRED', "$mode: idle after a crash");

	# Whoever administers it revives it.
	$node->safe_psql('postgres', "SELECT apikey_update(${\id_of('used')}, '{\"enabled\": true}')");
	is(verify($node, 'postgres', 'used'), 'VALID', "$mode: revived");
	$node->stop;
}

# -------------------------------------------------------------- a standby

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'apikeys'
	log_statement = none
	apikeys.flush_interval = '1h'});
stop_clock($primary, $start);
with_clock($primary, sub { $primary->start });
add_extension($primary, 'postgres');
add_idle_keys($primary, qw(there here));
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'apikeys.feed_interval = 0');
stop_clock($standby, $start);
with_clock($standby, sub { $standby->start });

sub both_at
{
	my ($seconds) = @_;

	stop_clock($_, $start + $seconds) foreach $primary, $standby;
	return;
}

both_at(3000);
is(verify($primary, 'postgres', 'there'), 'VALID', 'standby: a use on the primary');
is(verify($standby, 'postgres', 'here'), 'VALID', 'standby: a use on the standby');
both_at(3601);
is(verify($standby, 'postgres', 'there'), 'EXPIRED', 'standby: it knows of a use there when it is written');
$primary->safe_psql('postgres', 'SELECT apikey_flush()');
$primary->wait_for_catchup($standby);
is(verify($standby, 'postgres', 'there'), 'VALID', 'standby: now it does');
is(verify($standby, 'postgres', 'here'), 'VALID', 'standby: it knows of its own at once');
is(verify($primary, 'postgres', 'here'), 'EXPIRED', 'standby: its primary does not');
both_at(3601 + 3601);
is(verify($standby, 'postgres', $_), 'EXPIRED', "standby, $_: idle") foreach qw(there here);
is_sound($primary, 'postgres', 'in the end');
$standby->stop;
$primary->stop;

done_testing();
