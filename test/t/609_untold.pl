
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
	FROM generate_series(1, 1000) n});
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
$primary->safe_psql('postgres', q{SELECT apikey_revoke_grant('feeder', 'feed')});
set_interval('100ms');
wait_for($standby, 'postgres', q{SELECT feed_state = 'down' AND feed_error ~ 'permission denied' FROM apikeys.stats}, 'what is told is refused');

# Longer than the primary would take to store it
sleep 1;
cmp_ok(passed(51, 400), '<=', 150, 'others get what space there is');
is(stats($standby, 'refused > 0 AND entries_used = 200'), 't', '... and the rest is refused, which is counted');
is(passed(1, 50), 0, 'nobody passes more often than his limit');
is(used_of_limit($standby, $_, 'requests_per_day'), 1, "... for what was on its way is still known: $_") foreach 1, 50;
is($standby->safe_psql('postgres', q{SELECT code, retry_after FROM apikey_verify('1000-key')}), 'RATE_LIMITED|1', 'one that finds no space may come again');

$primary->safe_psql('postgres', q{SELECT apikey_grant('feeder', 'feed')});
wait_for_rounds(2, $standby);
sleep 1;
is(passed(501, 600), 100, 'once it is told, there is space for others');
wait_for_rounds(2, $standby);
is($primary->safe_psql('postgres', q{
	SELECT max(l.used), sum(l.used) = (SELECT valid FROM apikeys.servers) FROM apikeys_data.key k, LATERAL apikey_limits(k.id) l}),
	'1|t', 'the primary knows each use, once');
is(passed(1, 50), 0, '... and so does the standby');

is_sound($_, 'postgres', $_->name) foreach $primary, $standby;
$_->stop foreach $standby, $primary;
done_testing();
