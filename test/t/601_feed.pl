
# What standbys learn reaches the primary and all other servers: last use with its
# address, what was used of limits, and how verifies ended.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_primary('primary');
add_keys($primary, 'postgres', 'one', 'two', 'three');
$primary->safe_psql('postgres', q{
	SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x',
		rate_limits => '{"requests_per_day": 20, "tokens_per_day": 1000}')});

my $first = new_standby('first', $primary);
my $second = new_standby('second', $primary);
my $third = new_standby('third', $second);
my @standbys = ($first, $second, $third);
my @all = ($primary, @standbys);

wait_for_rounds(1, @standbys);
ok(feed_is_up($_), $_->name . ': the feed is up') foreach @standbys;
is(stats($primary, 'feed_state IS NULL AND feed_lag IS NULL'), 't', 'a primary has none');

# ------------------------------------------------------------------ last use

$first->safe_psql('postgres', q{SELECT code FROM apikey_verify('one-key', client_ip => '192.0.2.1')});
$third->safe_psql('postgres', q{SELECT code FROM apikey_verify('two-key', client_ip => '192.0.2.3')});
$primary->safe_psql('postgres', q{SELECT code FROM apikey_verify('three-key')});
my %used = (one => last_use($first, 'postgres', 'one'), two => last_use($third, 'postgres', 'two'),
	three => last_use($primary, 'postgres', 'three'));
wait_for_rounds(2, @standbys);
foreach my $node (@all)
{
	is(last_use($node, 'postgres', $_), $used{$_}, $node->name . ": the last use of $_") foreach sort keys %used;
	is($node->safe_psql('postgres', q{SELECT string_agg(host(last_used_ip), ' ' ORDER BY name) FROM apikeys.info WHERE name IN ('one', 'two')}),
		'192.0.2.1 192.0.2.3', $node->name . ': the addresses');
}
$primary->safe_psql('postgres', 'SELECT apikey_flush()');
is(stored_use($primary, 'postgres', $_), $used{$_}, "the primary stores the use of $_") foreach 'one', 'two';

# -------------------------------------------------------------------- limits

sub spend
{
	my ($node, $n) = @_;

	return $node->safe_psql('postgres',
		"SELECT count(*) FILTER (WHERE apikey_check('limited-key') = 'VALID') FROM generate_series(1, $n)");
}

is(spend($second, 1), 1, 'a single request on the second standby');
wait_for_rounds(3, @standbys);
is(used_of_limit($_, 'limited', 'requests_per_day'), 1, $_->name . ': it counts once, however often it could be told') foreach @all;
is(spend($primary, 3), 3, '3 requests on the primary');
is(spend($first, 4), 4, '4 on the first standby');
is(spend($second, 1), 1, 'another one on the second');
is(spend($third, 5), 5, '5 on the standby of that');
wait_for_rounds(2, @standbys);
is(used_of_limit($_, 'limited', 'requests_per_day'), 14, $_->name . ': 14 requests are used') foreach @all;
is(spend($third, 10), 6, 'six are left, wherever');
wait_for_rounds(2, @standbys);
is(used_of_limit($_, 'limited', 'requests_per_day'), 20, $_->name . ': all are used') foreach @all;
is(spend($_, 2), 0, $_->name . ': none is left') foreach @all;

# Reservations, and usage, which only the primary records
$primary->safe_psql('postgres', q{
	SELECT apikey_import(digest('tokens-key', 'sha256'), 'tokens', 'x', rate_limits => '{"tokens_per_day": 1000}')});
$primary->wait_for_catchup($_) foreach $first, $second;
$second->wait_for_catchup($third, 'replay', $primary->lsn('flush'));
my $reserved = $third->safe_psql('postgres', q{SELECT reservation FROM apikey_verify('tokens-key', reserve => true, tokens => 600)});
wait_for_rounds(2, @standbys);
is(used_of_limit($_, 'tokens', 'tokens_per_day'), 600, $_->name . ': what is reserved on a standby counts') foreach @all;
is($first->safe_psql('postgres', q{SELECT code FROM apikey_verify('tokens-key', reserve => true, tokens => 600)}), 'RATE_LIMITED', '... for others');
is($third->safe_psql('postgres', "SELECT apikey_release('$reserved')"), 't', 'it is released');
wait_for_rounds(2, @standbys);
is(used_of_limit($_, 'tokens', 'tokens_per_day'), 0, $_->name . ': and counts no more') foreach @all;
$primary->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('tokens')}, 250)");
wait_for_rounds(2, @standbys);
is(used_of_limit($_, 'tokens', 'tokens_per_day'), 250, $_->name . ': usage is recorded on the primary') foreach @all;

# What is reserved at one time, of concurrent requests and of a budget, each server counts for itself.
$primary->safe_psql('postgres', q{
	SELECT apikey_import(digest('slots-key', 'sha256'), 'slots', 'x', rate_limits => '{"max_concurrent_requests": 2}');
	SELECT apikey_import(digest('spender-key', 'sha256'), 'spender', 'x', budget_id => apikey_budget_create('ten', 10))});
$primary->wait_for_catchup($_) foreach $first, $second;
$second->wait_for_catchup($third, 'replay', $primary->lsn('flush'));
my @reserved = map { $_->safe_psql('postgres', q{
	SELECT count(*) FILTER (WHERE (apikey_verify('slots-key', reserve => true)).valid),
		count(*) FILTER (WHERE (apikey_verify('spender-key', reserve => true, cost => 5)).valid)
	FROM generate_series(1, 5)}) } @all;
is("@reserved", '2|2 2|2 2|2 2|2', 'four servers: 8 of 2 concurrent requests, and 40 of a budget of 10');

# ------------------------------------------------------------------ idleness

# It is used on one server alone, for longer than its timeout.
$primary->safe_psql('postgres', q{
	SELECT apikey_import(digest('idle-key', 'sha256'), 'idle', 'x', idle_timeout => '8 seconds')});
$primary->wait_for_catchup($_) foreach $first, $second;
$second->wait_for_catchup($third, 'replay', $primary->lsn('flush'));
my $until = time() + 12;
while (time() < $until)
{
	verify($third, 'postgres', 'idle');
	sleep(1);
}
is(verify($_, 'postgres', 'idle'), 'VALID', $_->name . ': the use of a key elsewhere keeps it from being idle') foreach $primary, $first;
wait_for_rounds(2, @standbys);
sleep(9);
is(verify($_, 'postgres', 'idle'), 'EXPIRED', $_->name . ': what nobody uses is idle') foreach @all;

# ------------------------------------------------------------------ outcomes

my $outcomes = 'valid, not_found, rate_limited';
$_->safe_psql('postgres', q{SELECT code FROM apikey_verify('nobody')}) foreach $first, $third, $third;
wait_for_rounds(2, @standbys);
foreach my $node (@standbys)
{
	is($primary->safe_psql('postgres', "SELECT $outcomes FROM apikeys.servers WHERE name = '${\$node->name}'"),
		$node->safe_psql('postgres', "SELECT $outcomes FROM apikeys.stats"), $node->name . ': the primary knows the outcomes');
}
is($primary->safe_psql('postgres', q{SELECT string_agg(name || ' ' || direct, ', ' ORDER BY name) FROM apikeys.servers}),
	'first true, second true, third false', 'the primary knows who follows it');

# ------------------------------------------------------------ whole windows

sub set_interval
{
	my ($node, $interval) = @_;

	$node->append_conf('postgresql.conf', "apikeys.feed_interval = '$interval'");
	$node->reload;
}

# What a standby is told as a whole, others know already: it is nothing to be told on.
$primary->safe_psql('postgres', q{
	SELECT apikey_import(digest('whole-key', 'sha256'), 'whole', 'x', rate_limits => '{"requests_per_day": 100}')});
$primary->wait_for_catchup($_) foreach $first, $second;
$second->wait_for_catchup($third, 'replay', $primary->lsn('flush'));
is(verify($third, 'postgres', 'whole'), 'VALID', 'one request');
wait_for_rounds(2, @standbys);
my $follower = $third->background_psql('postgres');
my $key = $third->safe_psql('postgres', "SELECT id FROM apikeys_data.key WHERE name = 'whole'") =~ tr/-//dr;
my $epoch = feed_exchange($follower, node => 5, kind => FEED_HELLO)->{epoch};
my ($window) = grep { $_->{owner} eq $key && $_->{limit} != 0 } @{ feed_exchange($follower, node => 5, epoch => $epoch)->{items} };
is($window->{current}, 1, 'a follower is told of it');
set_interval($third, '1h');
sleep 1;
is(verify($third, 'postgres', 'whole'), 'VALID', 'another request, which is not told yet');
feed_exchange($follower, node => 5, epoch => $epoch, kind => FEED_WHOLE, items => [ feed_item(%$window, current => 50) ]);
is(used_of_limit($third, 'whole', 'requests_per_day'), 50, 'it knows of more');
set_interval($third, '100ms');
wait_for_rounds(2, @standbys);
is(used_of_limit($primary, 'whole', 'requests_per_day'), 2, 'the primary is told of what was used there alone');
$follower->quit;

is_sound($_, 'postgres', $_->name) foreach @all;
$_->stop foreach reverse @all;
done_testing();
