
# What a server does with what it is told, with messages made by hand: nobody misses
# a change, whoever else reads; windows that are told are stored; and what a follower
# knows of a window is compared with all that is known here, the table included.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my ($node, $session, $epoch, $now, %link);

# A server, and others that tell it of their use, by their numbers.
sub begin
{
	my (@numbers) = @_;

	$session = $node->background_psql('postgres');
	$now = $session->query_safe(q{SELECT (extract(epoch FROM now() - '2000-01-01 00:00+00') * 1000000)::bigint});
	%link = map { $_ => { batch => 0, since => 0, upto => 0, next => 0 } } @numbers;
	$epoch = feed_exchange($session, node => $_, kind => FEED_HELLO)->{epoch} foreach @numbers;
}

# One request of a server, which goes on in its pass over what has changed.
sub ask
{
	my ($number, %more) = @_;
	my $link = $link{$number};
	my $answer = feed_exchange($session, node => $number, epoch => $epoch, at => $now,
		%$link, batch => ++$link->{batch}, %more);

	die "server $number is unknown" unless $answer->{accepted};
	@$link{qw(since upto next)} =
	  $answer->{next} == -1 ? ($answer->{upto}, 0, 0) : @$answer{qw(since upto next)};
	return $answer;
}

# Goes on until the pass has ended; returns all it was told.
sub read_all
{
	my ($number) = @_;
	my @told;

	do { push @told, @{ ask($number)->{items} } } until $link{$number}{next} == 0;
	return @told;
}

# ------------------------------------------------------- nobody misses a change

$node = start_node('many', "apikeys.flush_interval = '1h'", 'apikeys.max_tracked_keys = 2000');
begin(1 .. 3);

# The third server, which reads nothing, tells that all keys were used so long ago.
my @keys = map { sprintf '%032x', $_ } 1 .. 1000;

sub use_all
{
	my ($seconds) = @_;
	my @items = map { feed_item(owner => $_, start => $now - 1_000_000 * $seconds) } @keys;

	ask(3, next => -1, items => [ splice @items, 0, 500 ]) while @items;
}

# Of how many keys these say that.
sub news
{
	my ($seconds, @told) = @_;
	my %keys = map { $_->{owner} => 1 } grep { $_->{start} == $now - 1_000_000 * $seconds } @told;

	return scalar keys %keys;
}

use_all(30);
is(news(30, read_all($_)), 1000, "server $_ is told of all") foreach 1, 2;
is(scalar read_all($_), 0, "... once: $_") foreach 1, 2;

# One goes slowly, while another reads all; what changes behind that one, and is
# seen by the slow one first, is news for both.
use_all(20);
my @slowly = @{ ask(1)->{items} };
isnt($link{1}{next}, 0, 'the first is in the middle of a pass');
is(news(20, read_all(2)), 1000, 'the second is told of all meanwhile');
use_all(10);
push @slowly, read_all(1);
is(news(10, @slowly) + news(20, @slowly), 1000, 'the first is told of each key once');
is(news(10, read_all(2)), 1000, 'the second misses no change');
is(news(10, @slowly, read_all(1)), 1000, 'nor does the first');
is(scalar read_all($_), 0, "... and both know all: $_") foreach 1, 2;
$session->quit;
$node->stop;

# --------------------------------------------------------- windows are stored

# Nothing but the windows themselves has the flush workers come.
$node = start_node('storing', "apikeys.flush_interval = '100ms'", 'apikeys.last_used_throttle = -1');
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x', rate_limits => '{"requests_per_day": 100}')});
is(verify($node, 'postgres', 'limited'), 'VALID', 'a key is used');
my $stored = 'SELECT windows[5] FROM apikeys_data.window_state';
wait_until('its window is stored', sub { $node->safe_psql('postgres', $stored) eq '1' });
wait_until('no flush worker is there', sub {
	$node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'apikeys flush worker'}) eq '0'});

begin(1);
my ($told) = grep { $_->{limit} != 0 } read_all(1);
my %window = map { $_ => $told->{$_} } qw(owner limit seconds unit);
ask(1, items => [ feed_item(%window, start => $now, current => 10) ]);
my $seen;
for (1 .. 100)
{
	$seen = $node->safe_psql('postgres', $stored);
	last if $seen eq '11';
	Time::HiRes::usleep(100_000);
}
is($seen, '11', 'what a follower has added is stored, though nobody verifies here');
$session->quit;

# ------------------------------------------------- and compared with their rows

# A server that has lost its memory has the row.
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop('immediate');
$node->start;
begin(1);
ask(1, kind => FEED_WHOLE, items => [ feed_item(%window, start => $now, current => 5) ]);
my ($whole) = grep { $_->{limit} != 0 } read_all(1);
is($whole->{current}, 11, 'a follower that knows less than the row is told what the row has');
ask(1, kind => FEED_WHOLE, items => [ feed_item(%window, start => $now, current => 20) ]);
($whole) = grep { $_->{limit} != 0 } read_all(1);
is($whole->{current}, 20, '... one that knows more is believed');
is($node->safe_psql('postgres', q{SELECT used FROM apikey_limits((SELECT id FROM apikeys_data.key))}), 20, '... here as well');
is_sound($node, 'postgres', 'told');
$session->quit;

$node->stop;
done_testing();
