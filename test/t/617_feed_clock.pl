
# The clock of a standby is moved, which other servers tell of their use and which tells
# its primary: nothing that was used is lost, and a server that was not heard of for a
# minute makes way for others.
#
# The feed worker does not see the moved clock.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use FeedTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'libfaketime is not installed' unless has_clock();

my $primary = new_primary('primary');
$primary->safe_psql('postgres', q{
	SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x', rate_limits => '{"requests_per_day": 100}')});
my $standby = new_standby('standby', $primary);
$standby->stop;
set_clock($standby, 0);
with_clock($standby, sub { $standby->start });

sub set_interval
{
	my ($interval) = @_;

	$standby->append_conf('postgresql.conf', "apikeys.feed_interval = '$interval'");
	$standby->reload;
}

# ------------------------------------------------------- what it tells itself

wait_for_rounds(1, $standby);
set_interval('1h');
sleep 1;
foreach my $seconds (0, -10, -20, 0)
{
	set_clock($standby, $seconds);
	is($standby->safe_psql('postgres', q{SELECT apikey_check('limited-key')}), 'VALID', "a request at $seconds seconds");
}
set_interval('100ms');
wait_for_rounds(2, $standby);
is(used_of_limit($_, 'limited', 'requests_per_day'), 4, $_->name . ': each counts once') foreach $standby, $primary;

set_clock($standby, -3600);
is(stats($standby, "feed_lag = interval '0'"), 't', 'told at a time that is yet to come: just now');
set_clock($standby, 3600);
is(stats($standby, "feed_lag BETWEEN interval '59 minutes' AND interval '70 minutes'"), 't', '... or long ago');

# ----------------------------------------------------- what others tell of them

my $session = $standby->background_psql('postgres');

# Requests of a server that tells of itself and of some others
sub ask
{
	my ($node, @others) = @_;
	my $now = $session->query_safe(q{SELECT (extract(epoch FROM clock_timestamp() - '2000-01-01 00:00+00') * 1000000)::bigint});

	return feed_exchange($session, node => $node, at => $now, kind => FEED_HELLO,
		servers => [ map { feed_server(node => $_, since => $now, name => "server $_") } $node, @others ]);
}

sub names
{
	my ($node) = @_;

	wait_for_rounds(2, $standby);
	return $node->safe_psql('postgres', q{SELECT string_agg(DISTINCT name, ', ') FROM apikeys.servers});
}

sub is_direct { return $standby->safe_psql('postgres', "SELECT direct FROM apikeys.servers WHERE server_id = '$_[0]'") }

# Nobody else is told of one that was not heard of for a minute.
set_clock($standby, -61);
ask(5);
set_clock($standby, 0);
is(names($standby), 'server 5', 'the standby knows one that was there a minute ago');
is(names($primary), 'standby', '... but tells nobody of it');
ask(5);
is(names($primary), 'server 5, standby', 'it has come back');

# One that tells of itself is taken at its own word, until it has been silent for a minute.
ask(6, 5);
is(is_direct(5), 't', 'a server that tells of itself');
set_clock($standby, 61);
ask(6, 5);
is(is_direct(5), 'f', 'when it is silent, another one tells of it');

# The oldest makes way.
set_clock($standby, 0);
ask($_) foreach 100 .. 161;

# The error that one more gets, if it does
sub error_of_another
{
	my $hex = unpack('H*', feed_request(node => 200, kind => FEED_HELLO));
	my ($ret, $out, $err) = $standby->psql('postgres', "SELECT apikeys.feed_exchange('\\x$hex')", extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	return $err;
}

like(error_of_another(), qr/ERROR:  53400/, '64 servers, and all were there lately');
my $known = q{SELECT count(*), count(*) FILTER (WHERE server_id IN ('5', '6')), count(*) FILTER (WHERE server_id = '200') FROM apikeys.servers};
$session->quit;
set_clock($standby, 61);
is(error_of_another(), '', 'after a minute one makes way');
is($standby->safe_psql('postgres', $known), '64|2|1', '... which is none of those that were heard of since');
set_clock($standby, -3600);
$session = $standby->background_psql('postgres');
ask(300);
is($standby->safe_psql('postgres', "SELECT count(*), bool_or(server_id = '300') FROM apikeys.servers"), '64|t', 'so it does if the clock was set back');

set_clock($standby, 0);
$session->quit;
is_sound($_, 'postgres', $_->name) foreach $standby, $primary;
$_->stop foreach $standby, $primary;
done_testing();
