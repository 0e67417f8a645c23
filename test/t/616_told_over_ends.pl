
# What a standby has used and could not tell yet, in windows that go on meanwhile: it
# counts where it was used, what was given back is taken out where it was reserved, and
# of windows that are over nothing is told.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = 20;
my $primary = new_primary('primary', "apikeys.reservation_timeout = '1h'");
$primary->safe_psql('postgres', qq{
	SELECT apikey_import(digest(n || '-key', 'sha256'), n, 'x', rate_limits => l)
	FROM (VALUES ('day', '{"tokens_per_day": 1000}'::jsonb), ('second', '{"windows": [{"name": "w", "per": "1 second", "tokens": 1000}]}'),
				 ('untold', '{"windows": [{"name": "w", "per": "$seconds seconds", "tokens": 1000}]}'),
				 ('single', '{"windows": [{"name": "w", "per": "$seconds seconds", "requests": 1}]}'),
				 ('held', '{"windows": [{"name": "w", "per": "$seconds seconds", "tokens": 1000}]}')) v (n, l)});
my $standby = new_standby('standby', $primary);
wait_for_rounds(1, $standby);

sub spend
{
	my ($key, $tokens, $and) = @_;

	$and = $and ? ", apikey_release('$and')" : '';
	return $standby->safe_psql('postgres', "SELECT v.code$and FROM apikey_verify('$key-key', tokens => $tokens, reserve => true) v");
}

sub reserve
{
	my ($key, $tokens) = @_;
	my $id = $standby->safe_psql('postgres', "SELECT reservation FROM apikey_verify('$key-key', tokens => $tokens, reserve => true)");

	like($id, qr/^[0-9a-f-]{36}$/, "$key: $tokens reserved");
	return $id;
}

# Used in one moment with what gives back something of before.
my $reservation = reserve('day', 300);
my $held = reserve('held', 50);
wait_for_rounds(1, $standby);
is(used_of_limit($primary, 'day', 'tokens_per_day'), 300, 'what is reserved counts');
is(spend('day', 50, $reservation), 'VALID|t', 'some is used, and that is given back');
wait_for_rounds(1, $standby);
is(used_of_limit($_, 'day', 'tokens_per_day'), 50, $_->name . ': what is used counts') foreach $primary, $standby;

# The link is down for longer than the windows are long.
$standby->append_conf('postgresql.conf', "apikeys.primary_conninfo = 'host=127.0.0.1 port=1'");
$standby->reload;
wait_for($standby, 'postgres', q{SELECT feed_state = 'down' FROM apikeys.stats}, 'the link is down');
is(spend('second', 400), 'VALID', 'used meanwhile');
$standby->safe_psql('postgres', 'SELECT pg_sleep(1.1)');
is(spend('second', 100), 'VALID', '... and in the next');
$standby->safe_psql('postgres', 'SELECT pg_sleep(2.1)');
is(spend('second', 100), 'VALID', '... and after some');
is(spend('day', 7), 'VALID', '... and in a long one');
is(spend('untold', 400), 'VALID', '... and in one that will be the one before');
is(spend('single', 1), 'VALID', '... once');
$standby->safe_psql('postgres', "SELECT pg_sleep($seconds)");
is($standby->safe_psql('postgres', "SELECT apikey_release('$held')"), 't', 'what was reserved in the window before is given back');
$standby->append_conf('postgresql.conf', "apikeys.primary_conninfo = ''");
$standby->reload;
wait_for_rounds(1, $standby);
is(used_of_limit($_, 'day', 'tokens_per_day'), 57, $_->name . ': what could not be told counts') foreach $primary, $standby;
is(used_of_limit($_, 'second', 'w'), 0, $_->name . ': what is over does not') foreach $primary, $standby;
is(used_of_limit($_, 'held', 'w'), 0, $_->name . ': nor what was given back') foreach $primary, $standby;
my ($here, $there) = map { used_of_limit($_, 'untold', 'w') } $standby, $primary;
ok($here <= 400 && $there <= $here, "no more than was used in the window before: $here, and then $there");
cmp_ok($there, '>', 0, 'it was told');
is(verify($primary, 'postgres', 'single'), 'RATE_LIMITED', 'so was a single request');

$standby->stop;
$primary->stop;
done_testing();
