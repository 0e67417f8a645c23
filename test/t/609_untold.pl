
# What a standby has used, and whom it follows may not know, stays in its memory, though
# others find no space for it: also what was on its way when the link was refused.  Who
# read the row instead would let more pass than the limit.  Once it is told, it makes room.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_primary('primary', "apikeys.flush_interval = '200ms'");
$primary->safe_psql('postgres', q{
	CREATE ROLE feeder LOGIN;
	SELECT apikey_grant('feeder', 'feed');
	SELECT count(apikey_import(digest(n || '-key', 'sha256'), n::text, 'x', rate_limits => '{"requests_per_day": 1}'))
	FROM generate_series(1, 1000) n;
	SELECT apikey_import(digest(name || '-key', 'sha256'), name, 'x', rate_limits => '{"requests_per_day": 5}')
	FROM unnest('{gone,back}'::text[]) name;
	SELECT apikey_import(digest('idle-key', 'sha256'), 'idle', 'x', idle_timeout => '1 day');
	SELECT count(apikey_import(digest('held ' || n || '-key', 'sha256'), 'held ' || n, 'x', rate_limits => '{"max_concurrent_requests": 1}'))
	FROM generate_series(1, 400) n});
my $standby = new_standby('standby', $primary, 'apikeys.max_tracked_keys = 200', 'apikeys.last_used_throttle = -1', "apikeys.flush_interval = '200ms'",
	"apikeys.primary_conninfo = 'host=${\$primary->host} port=${\$primary->port} user=feeder'");
wait_for_rounds(1, $standby);

sub set_interval
{
	my ($interval) = @_;

	$standby->append_conf('postgresql.conf', "apikeys.feed_interval = '$interval'");
	$standby->reload;
}

# How many keys of a range pass.
sub passed
{
	my ($from, $to) = @_;

	return $standby->safe_psql('postgres',
		"SELECT count(*) FILTER (WHERE apikey_check(n || '-key') = 'VALID') FROM generate_series($from, $to) n");
}

# Between two rounds keys are used, and the next round tells of them in vain.
set_interval('1h');
sleep 1;
is(passed(1, 50), 50, 'keys are used');
is(verify($standby, 'postgres', $_), 'VALID', "... and $_") foreach 'gone', 'back', 'idle';
my $last_use = last_use($standby, 'postgres', 'idle');
$primary->safe_psql('postgres', q{SELECT apikey_revoke_grant('feeder', 'feed')});
set_interval('100ms');
wait_for($standby, 'postgres', q{SELECT feed_state = 'down' AND feed_error ~ 'permission denied' FROM apikeys.stats}, 'what is told is refused');

# Longer than the primary would take to store it
sleep 1;
cmp_ok(passed(51, 400), '<=', 147, 'others get what space there is');
is(stats($standby, 'refused > 0 AND entries_used = 200'), 't', '... and the rest is refused, which is counted');
is(passed(1, 50), 0, 'nobody passes more often than his limit');
is(last_use($standby, 'postgres', 'idle'), $last_use, 'a last use is known still');
is(used_of_limit($standby, $_, 'requests_per_day'), 1, "... for what was on its way is still known: $_") foreach 1, 50;
is($standby->safe_psql('postgres', q{SELECT code, retry_after FROM apikey_verify('1000-key')}), 'RATE_LIMITED|1', 'one that finds no space may come again');

# The space of keys that have expired goes to others.  What was on its way of them is
# taken out of no later use.
sub set_expiry
{
	my ($at, @names) = @_;

	$primary->safe_psql('postgres', "SELECT apikey_update(${\id_of($_)}, jsonb_build_object('expires_at', $at))") foreach @names;
	$primary->wait_for_catchup($standby);
}

set_expiry("now() + interval '0.1 seconds'", 'gone', 'back');
sleep 1;
is(passed(901, 901), 1, 'another one finds space');
set_expiry('NULL', 'back');
is(verify($standby, 'postgres', 'back'), 'VALID', 'a key has come back');

$primary->safe_psql('postgres', q{SELECT apikey_grant('feeder', 'feed')});
wait_for_rounds(2, $standby);
is(used_of_limit($_, 'back', 'requests_per_day'), 2, $_->name . ': both uses of it are known') foreach $primary, $standby;
sleep 1;
is(passed(501, 600), 100, 'once it is told, there is space for others');
wait_for_rounds(2, $standby);
is($primary->safe_psql('postgres', q{
	SELECT max(l.used), sum(l.used) + 1 = (SELECT valid FROM apikeys.servers) FROM apikeys_data.key k, LATERAL apikey_limits(k.id) l}),
	'2|t', 'the primary knows each use, once');
is(last_use($primary, 'postgres', 'idle'), $last_use, '... and the last one');
is(passed(1, 50), 0, '... and so does the standby');

# A primary that starts anew is told whole windows, but for what was used meanwhile and follows.
$primary->safe_psql('postgres', q{SELECT apikey_revoke_grant('feeder', 'feed')});
wait_for($standby, 'postgres', q{SELECT feed_state = 'down' FROM apikeys.stats}, 'refused again');
is(passed(601, 610), 10, 'keys are used meanwhile');
$primary->restart;
$primary->safe_psql('postgres', q{SELECT apikey_grant('feeder', 'feed')});
wait_for_rounds(2, $standby);
is($primary->safe_psql('postgres', q{
	SELECT min(l.used), max(l.used) FROM apikeys_data.key k, LATERAL apikey_limits(k.id) l WHERE k.name::text BETWEEN '601' AND '609'}),
	'1|1', 'each counts once');

# It is told itself, of more than an integer holds, and tells the most that one does.
set_interval('1h');
sleep 1;
my $session = $standby->background_psql('postgres');
my $now = $standby->safe_psql('postgres', q{SELECT (extract(epoch FROM now() - '2000-01-01 00:00+00') * 1000000)::bigint});
my %from = (at => $now, epoch => feed_exchange($session, at => $now, kind => FEED_HELLO)->{epoch});
my ($known) = grep { $_->{limit} != 0 } @{ feed_exchange($session, %from, batch => 1)->{items} };
my %owner = map { $_ => $standby->safe_psql('postgres', "SELECT replace(id::text, '-', '') FROM apikeys_data.key WHERE name = '$_'") } 501, 502;
my $most = 9_223_372_036_854_775_807;

foreach my $case ([ 501, 2, $most ], [ 502, 3, -$most ])
{
	my ($name, $batch, $amount) = @$case;
	my $item = feed_item(owner => $owner{$name}, limit => $known->{limit}, seconds => 86400, unit => $known->{unit}, start => $now, current => $amount);

	feed_exchange($session, %from, batch => $batch, items => [ ($item) x 2 ]);
}
set_interval('100ms');
wait_for_rounds(2, $standby);
is(join(' ', map { used_of_limit($_, '501', 'requests_per_day') } $standby, $primary), "$most $most", 'the most that can be told');
is(join(' ', map { used_of_limit($_, '502', 'requests_per_day') } $standby, $primary), '0 0', '... and taken back');
is($primary->safe_psql('postgres', q{SELECT string_agg(apikey_check(n || '-key'), ' ' ORDER BY n) FROM unnest('{501,502}'::int[]) n}),
	'RATE_LIMITED VALID', 'one passes, the other does not');
$session->quit;

# Reservations hold their space until they end, and no longer.  All else is told
# and stored before, and makes room.
wait_for_rounds(2, $standby);
$primary->safe_psql('postgres', 'SELECT apikey_flush()');
$primary->wait_for_catchup($standby);
sub reserved
{
	my ($from, $to) = @_;

	return $standby->safe_psql('postgres', qq{
		SELECT count(*) FILTER (WHERE v.valid) FROM generate_series($from, $to) n, LATERAL apikey_verify('held ' || n || '-key', reserve => true) v});
}

sub set_timeout
{
	my ($timeout) = @_;

	$standby->append_conf('postgresql.conf', "apikeys.reservation_timeout = '$timeout'");
	$standby->reload;
	wait_for($standby, 'postgres', "SELECT current_setting('apikeys.reservation_timeout') = '$timeout'", "reservations end after $timeout");
}

set_timeout('5s');
is(reserved(1, 300), 200, 'reservations get what space there is');
sleep 6;
is(reserved(201, 400), 200, 'once they have ended, there is space for others');

is_sound($_, 'postgres', $_->name) foreach $primary, $standby;
$_->stop foreach $standby, $primary;
done_testing();
