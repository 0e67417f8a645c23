
# Three servers at full rate: one limit for all of them is exceeded by no more than
# what passes in two intervals.  Then the primary dies under load, a standby takes its
# place, and the rest follows it: no answer is wrong meanwhile.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use List::Util qw(sum max);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $interval = 1;
my $limit = 30_000;
my $primary = new_primary('primary', "apikeys.feed_interval = '${interval}s'");
add_keys($primary, 'postgres', 'open', 'revoked');
$primary->safe_psql('postgres', qq{
	SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x', rate_limits => '{"requests_per_day": $limit}');
	SELECT apikey_revoke(${\id_of('revoked')})});
my $first = new_standby('first', $primary);
my $second = new_standby('second', $primary);
my @all = ($primary, $first, $second);
wait_for_rounds(1, $first, $second);

# ----------------------------------------------------------------- overshoot

# How much has passed on each server, now and then, in sessions that stay.
my %session = map { $_->name => $_->background_psql('postgres') } @all;
my @samples;

sub sample
{
	my @passed = map { $session{$_->name}->query_safe('SELECT valid FROM apikeys.stats') } @all;

	push @samples, [ time(), sum(@passed), @passed ];
}

sample();
my $before = $samples[0][1];
my @loads = map { start_load($_, 'postgres', q{SELECT apikey_check('limited-key')}, '--time', 600) } @all;
my $end = time() + 60;
until (time() > $end || (@samples > 30 && $samples[-1][1] - $before >= $limit && $samples[-1][1] == $samples[-30][1]))
{
	usleep(100_000);
	sample();
}
foreach my $load (@loads)
{
	$load->{run}->signal('INT');
	end_load($load);
	is($load->{err} =~ s/^pgbench.*\n//mr =~ /ERROR/, '', 'without an error');
}
my $passed = $samples[-1][1] - $before;
my ($reached) = grep { $_->[1] - $before >= $limit } @samples;
my ($ended) = grep { $_->[1] == $samples[-1][1] } @samples;
my ($started) = grep { $_->[1] > $before } @samples;
my $rate = $limit / max($reached->[0] - $started->[0], 0.1);

note sprintf('figure: a limit of %d, %d passed, %d beyond; %.0f a second on three servers; the last %.2f s after the limit was reached',
	$limit, $passed, $passed - $limit, $rate, $ended->[0] - $reached->[0]);
cmp_ok($passed, '>=', $limit, 'all that the limit allows has passed');
# A round and the sampling take their time as well, on a machine that is busy.
cmp_ok($ended->[0] - $reached->[0], '<', 2 * $interval + 1, 'nothing passes two intervals after it was reached');
cmp_ok($passed - $limit, '<=', $rate * (2 * $interval + 1), 'no more is beyond than passes in that time');
wait_for_rounds(2, $first, $second);
cmp_ok(used_of_limit($_, 'limited', 'requests_per_day'), '==', $passed, $_->name . ' knows what has passed') foreach @all;

# ------------------------------------------------------------------ failover

# Wrong answers raise an error.
my $script = q{
	SELECT 1 / (apikey_check('open-key') = 'VALID')::int;
	SELECT 1 / (apikey_check('revoked-key') = 'REVOKED')::int;
	SELECT 1 / (apikey_check('limited-key') = 'RATE_LIMITED')::int;
};
$session{$_}->quit foreach keys %session;
my @survivors = map { start_load($_, 'postgres', $script, '--time', 25) } $first, $second;
my $victim = start_load($primary, 'postgres', $script, '--time', 25);
usleep(2_000_000);
$primary->stop('immediate');
$first->promote;
$second->enable_streaming($first);
$second->reload;
add_keys($first, 'postgres', 'new');
$first->wait_for_catchup($second);
is(verify($second, 'postgres', 'new'), 'VALID', 'second follows first');
foreach my $load (@survivors)
{
	ok(end_load($load), 'no wrong answer where the server lives') or diag $load->{err};
}
end_load($victim);
unlike($victim->{err}, qr/division by zero/, 'nor before the primary died');
wait_for_rounds(2, $second);
is(verify($_, 'postgres', 'limited'), 'RATE_LIMITED', $_->name . ': the limit holds after the failover') foreach $first, $second;
is(last_use($first, 'postgres', 'open') ge last_use($second, 'postgres', 'open'), 1, 'first knows the last use');
is_sound($_, 'postgres', $_->name) foreach $first, $second;

$_->stop foreach $second, $first;
done_testing();
