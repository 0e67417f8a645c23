
# Standbys at their bounds: one with less memory than its primary goes on with other
# keys, one with more databases than it tells of says which, and two that follow each
# other count nothing twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_primary('primary', 'apikeys.max_tracked_keys = 2000', "apikeys.flush_interval = '200ms'");
my $small = new_standby('small', $primary, 'apikeys.max_tracked_keys = 200', "apikeys.flush_interval = '50ms'");
my $other = new_standby('other', $primary);
my @all = ($primary, $small, $other);

# --------------------------------------------------------------- small memory

$primary->safe_psql('postgres', q{
	SELECT count(apikey_import(digest(n || '-key', 'sha256'), n::text, 'x', rate_limits => '{"requests_per_day": 20}'))
	FROM generate_series(1, 600) n;
	SELECT apikey_import(digest('700-key', 'sha256'), '700', 'x', rate_limits => '{"max_concurrent_requests": 1}');
	CREATE DATABASE aside});
add_extension($primary, 'aside');
$primary->safe_psql('aside', q{SELECT apikey_import(digest('aside-key', 'sha256'), 'aside', 'x', rate_limits => '{"requests_per_day": 1}')});
$primary->wait_for_catchup($_) foreach $small, $other;

# How many keys of a range pass on a server.
sub passed
{
	my ($node, $from, $to) = @_;

	return $node->safe_psql('postgres',
		"SELECT count(*) FILTER (WHERE apikey_check(n || '-key') = 'VALID') FROM generate_series($from, $to) n");
}

is(passed($primary, 1, 400), 400, 'the primary has used more keys than the standby has space for');
wait_for_rounds(2, $small);
is(stats($small, 'entries_used'), 200, 'what the standby is told fills its memory');

# Passes once the primary has stored so many uses.
sub wait_for_stored
{
	my ($n) = @_;

	wait_for($primary, 'postgres', qq{
		SELECT sum(windows[array_position(windows, 86400) + 3]) = $n FROM apikeys_data.window_state}, "the primary has stored $n uses");
}

# What is stored makes room.  What was used here stays until its row has been replayed,
# however long that takes, for who reads an older row would let more pass.
wait_for_stored(400);
$primary->wait_for_catchup($small);
$small->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
wait_for($small, 'postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}, 'replay is paused');
is(passed($small, 401, 598), 198, 'the standby goes on with others');
is($small->safe_psql('aside', q{SELECT apikey_check('aside-key')}), 'VALID', '... in another database');
my $held = $small->safe_psql('postgres', q{SELECT reservation FROM apikey_verify('700-key', reserve => true)});
wait_for_rounds(2, $small);
wait_for_stored(598);
sleep 1;
is(passed($small, 1, 50), 0, 'nothing leaves it that was used there and is not replayed yet');
is(stats($small, 'refused'), 50, '... which is said of those that find no space');
is($small->safe_psql('aside', q{SELECT apikey_check('aside-key')}), 'RATE_LIMITED', '... nor from another database');
$small->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$primary->wait_for_catchup($small);
sleep 2;
is(passed($small, 1, 50), 50, 'then it makes room');
is($small->safe_psql('postgres', "SELECT apikey_release('$held')"), 't', '... not of a reservation');
wait_for_rounds(2, $small);
wait_for_stored(648);
$primary->wait_for_catchup($small);
foreach my $node ($small, $primary)
{
	is($node->safe_psql('postgres', q{
		SELECT sum(l.used), count(*) FILTER (WHERE l.used <> CASE WHEN k.name::integer <= 50 THEN 2 ELSE 1 END)
		FROM apikeys_data.key k, LATERAL apikey_limits(k.id) l WHERE k.name <> '700'}), '648|2', $node->name . ': what has left its memory it reads back');
}

# Nobody tells it of a database that is dropped on the primary: it finds that out for want of space.
$primary->safe_psql('postgres', 'DROP DATABASE aside');
$primary->wait_for_catchup($small);
$small->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
wait_for($small, 'postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}, 'replay is paused again');
is(passed($small, 201, 400), 200, 'the space of a database that is gone goes to others, too');
$small->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');

# ---------------------------------------------------------------------- a ring

# Two standbys that tell each other: one of them is refused, and says so.
sub set_leader
{
	my ($node, $leader) = @_;
	my $conninfo = defined $leader ? "host=${\$leader->host} port=${\$leader->port}" : '';

	$node->append_conf('postgresql.conf', "apikeys.primary_conninfo = '$conninfo'");
	$node->reload;
}

# With space for all: whoever is refused keeps what it cannot tell.
$small->append_conf('postgresql.conf', 'apikeys.max_tracked_keys = 2000');
$small->restart;
wait_for_rounds(1, $small);
set_leader($small, $other);
set_leader($other, $small);
my $ring = q{SELECT feed_state = 'down' AND feed_error = 'servers follow each other in a ring' FROM apikeys.stats};
wait_until('one is refused', sub { grep { $_->safe_psql('postgres', $ring) eq 't' } $small, $other });
sleep 2;
is(passed($small, 1, 1), 1, 'a key is used on one of them');
is(passed($other, 1, 1), 1, 'and on the other');
sleep 3;
foreach my $node ($small, $other)
{
	cmp_ok(used_of_limit($node, '1', 'requests_per_day'), '<=', 4, $node->name . ': in a ring each use counts once');
}
set_leader($_, undef) foreach $small, $other;
wait_for_rounds(2, $small, $other);
# One may have told the other what both tell the primary now: rather too much than too little.
my $used = used_of_limit($primary, '1', 'requests_per_day');
cmp_ok($used, '>=', 4, 'they follow the primary again, and no use is lost');

# One that follows another from now on, by which it was followed, is no ring.
set_leader($small, $other);
wait_for_rounds(2, $small);
is(passed($small, 1, 1), 1, 'one follows the other');
wait_for_rounds(2, $small, $other);
set_leader($small, undef);
set_leader($other, $small);
wait_for_rounds(2, $small, $other);
is(passed($other, 1, 1), 1, '... and the other the one');
wait_for_rounds(2, $other, $small);
is(used_of_limit($_, '1', 'requests_per_day'), $used + 2, $_->name . ': it is followed by whom it has followed') foreach @all;
set_leader($other, undef);

# -------------------------------------------------------- many databases

# Those that have no apikeys come first, and take the place of none that has.
$primary->safe_psql('postgres', "CREATE DATABASE plain$_") foreach 1 .. 17;
$primary->safe_psql('postgres', 'CREATE DATABASE shop1');
add_extension($primary, 'shop1');
$primary->safe_psql('postgres', "CREATE DATABASE shop$_ TEMPLATE shop1") foreach 2 .. 17;
$primary->wait_for_catchup($other);

sub states
{
	my ($state) = @_;

	return scalar grep {
		# psql may be gone before it is asked, where its database is.
		my ($ret, $out) = eval { $other->psql($_, 'SELECT feed_state FROM apikeys.stats') };
		($out // '') eq $state
	} 'postgres', map { "shop$_" } 1 .. 17;
}

wait_until('sixteen databases are told of', sub { states('up') == 16 });
is(states('left out'), 2, 'those that are left out say so');
my ($told) = grep { $other->safe_psql("shop$_", 'SELECT feed_state FROM apikeys.stats') eq 'up' } 1 .. 17;
$primary->safe_psql('postgres', "DROP DATABASE shop$told");
$primary->wait_for_catchup($other);
wait_until('another one takes the place of one that is dropped', sub { states('up') == 16 });
is(states('left out'), 1, '... and one is left out');

sub state_of
{
	my ($dbname) = @_;
	my ($ret, $out) = $other->psql($dbname, 'SELECT feed_state FROM apikeys.stats');

	return $out // '';
}

# So does it of one that takes no connections for now.
($told) = grep { state_of("shop$_") eq 'up' } 1 .. 17;
$primary->safe_psql('postgres', "ALTER DATABASE shop$told ALLOW_CONNECTIONS false");
wait_until('another one takes the place of one that takes no connections', sub { states('up') == 16 && states('left out') == 0 });
$primary->safe_psql('postgres', "ALTER DATABASE shop$told ALLOW_CONNECTIONS true");
wait_until('which is left out when it takes some again', sub { states('left out') == 1 });
is(state_of("shop$told"), 'left out', 'who comes back finds its place taken');

# And of one that was told of, and is refused for a while.
my ($refused) = grep { state_of("shop$_") eq 'up' } 1 .. 17;
my $hba = $primary->data_dir . '/pg_hba.conf';
my $rules = slurp_file($hba);
unlink $hba;
append_to_file($hba, "local shop$refused all reject\n$rules");
$primary->reload;
$primary->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop$refused'");
sleep 5;
is(state_of("shop$told"), 'left out', 'one that is refused keeps its place for a while');
wait_until('another one takes the place of one that is refused', sub { state_of("shop$told") eq 'up' });
is(state_of("shop$refused"), 'left out', '... which is left out then');

# One that is renamed is told of under its new name.
my $since = $primary->safe_psql('postgres', "ALTER DATABASE shop$told RENAME TO renamed; SELECT clock_timestamp()");
$primary->wait_for_catchup($other);
wait_for($other, 'renamed', "SELECT feed_state = 'up' AND feed_succeeded_at > '$since' FROM apikeys.stats", 'a database is renamed');

# While the primary is away, each keeps its place.
is_sound($_, 'postgres', $_->name) foreach @all;
$primary->stop;
sleep 12;
is(state_of('renamed'), 'down', 'the primary is away');
is(state_of("shop$refused"), 'left out', '... and nobody makes way for another');
$_->stop foreach $small, $other;
done_testing();
