
# A primary and its standby change places, and nothing that was counted is lost: not
# on the new primary, nor on the former one, which has windows in its restart file
# that are older than their rows by now.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $former = new_primary('former');
add_keys($former, 'postgres', 'used');
$former->safe_psql('postgres', q{
	SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x', rate_limits => '{"requests_per_day": 10}')});
$former->safe_psql('postgres', 'CREATE DATABASE other');
my $new = new_standby('new', $former);
wait_for_rounds(1, $new);

sub spend
{
	my ($node, $n) = @_;

	return $node->safe_psql('postgres',
		"SELECT count(*) FILTER (WHERE apikey_check('limited-key') = 'VALID') FROM generate_series(1, $n)");
}

is(spend($former, 2), 2, 'the former primary: 2 requests');
is(spend($new, 1), 1, 'its standby: 1');
wait_for_rounds(2, $new);
verify($former, 'postgres', 'used');
my $used_at = last_use($former, 'postgres', 'used');
$former->safe_psql('postgres', 'SELECT apikey_flush()');
$former->stop;
$new->promote;
is(spend($new, 2), 2, 'the new primary: 2');
is(used_of_limit($new, 'limited', 'requests_per_day'), 5, '... which is 5 with what it knew');
is(last_use($new, 'postgres', 'used'), $used_at, '... as well as the last use');
$new->safe_psql('postgres', 'SELECT apikey_flush()');

# Nobody tells it anything: it has its restart file, and what it replays.
$former->enable_streaming($new);
$former->append_conf('postgresql.conf', 'apikeys.feed_interval = 0');
$former->start;
$new->wait_for_catchup($former);
is(used_of_limit($former, 'limited', 'requests_per_day'), 5, 'the former primary has read the row');
is(spend($former, 10), 5, '... and lets no more pass than the limit');

# Then it tells.
$former->append_conf('postgresql.conf', "apikeys.feed_interval = '100ms'");
$former->reload;
wait_for_rounds(2, $former);
is(used_of_limit($_, 'limited', 'requests_per_day'), 10, $_->name . ': all are used') foreach $former, $new;

# And back again, while an answer is on its way: nobody is asked any more.
my $definition = $new->safe_psql('postgres', q{SELECT pg_get_functiondef('apikeys.feed_exchange(bytea)'::regprocedure)});
$new->safe_psql('postgres', q{
	CREATE FUNCTION feed_exchange_now(bytea) RETURNS bytea LANGUAGE c AS '$libdir/apikeys', 'apikeys_feed_exchange';
	CREATE OR REPLACE FUNCTION apikeys.feed_exchange(request bytea) RETURNS bytea LANGUAGE sql SECURITY DEFINER
	AS $$SELECT pg_sleep(3); SELECT public.feed_exchange_now(request)$$});
wait_for($new, 'postgres', q{
	SELECT count(*) = 1 FROM pg_stat_activity
	WHERE application_name = 'apikeys feed' AND datname = 'postgres' AND state = 'active' AND clock_timestamp() - query_start < interval '1 second'}, 'a request has just come');
$former->promote;
wait_for($former, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'apikeys feed worker'", 'promoted: its feed worker has ended');
$new->stop;
$former->safe_psql('postgres', $definition);
is(spend($former, 1), 0, 'the former primary is the primary: none is left');
is_sound($former, 'postgres', 'former');
$former->stop;
done_testing();
