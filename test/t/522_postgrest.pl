
# PostgREST's contract: tenants behind it, each with a key.  Where PostgREST is not
# installed, a stand-in sends its statements.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClientTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_clients();

$node->safe_psql('postgres', slurp_file('examples/postgrest/schema.sql'));
$node->safe_psql('postgres', q{ALTER ROLE authenticator SET apikeys.cache = on});

my $server = start_client($node, 'postgrest') or done_testing(), exit;

sub key
{
	my ($name, $more) = @_;

	return $node->safe_psql('postgres',
		"SELECT raw_key FROM apikey_generate('$name', user_id => md5('$name')::uuid, external_id => '$name'" . ($more // '') . ')');
}

my $alice = key('alice', q{, rate_limits => '{"requests_per_day": 100}'});
my $bob = key('bob');

is(get($server, '/rpc/whoami', $alice)->{content}, '"alice"', 'a key says who it is');
is(get($server, '/rpc/whoami', '')->{content}, '"nobody"', '... without one it is nobody');
is(request($server, 'POST', '/note', $alice, undef, '{"body": "of alice"}')->{status}, 201, 'a note is made');
is(request($server, 'POST', '/note', $bob, undef, '{"body": "of bob"}')->{status}, 201, '... and another');
is(request($server, 'POST', '/note', '', undef, '{"body": "of nobody"}')->{status} =~ /^40/ ? 1 : 0, 1, '... and none of nobody');
is_deeply([ map { $_->{body} } @{ get($server, '/note', $alice)->{json} } ], ['of alice'], 'each reads his own');
is_deeply([ map { $_->{body} } @{ get($server, '/note', $bob)->{json} } ], ['of bob'], '... and so does the other');
is_deeply(get($server, '/note', '')->{json}, [], '... and nobody none');

my $response = get($server, '/note', $alice);
is($response->{headers}{'ratelimit-limit'}, 100, 'a response has the headers of its limit');
is($response->{headers}{'ratelimit-remaining'}, 96, '... and what is left');

# The statuses of a refusal.
$response = get($server, '/note', 'nonsense');
is_deeply([ $response->{status}, $response->{headers}{'www-authenticate'}, $response->{json}{details} ],
	[ 401, 'Bearer', 'NOT_FOUND' ], 'a bad key is 401');
is(get($server, '/note', key('elsewhere', q{, allowed_ips => '{10.0.0.0/8}'}))->{status}, 403, 'one from elsewhere 403');
is(get($server, '/note', key('other', q{, permissions => '{"allowed_endpoints": ["/rpc/*"]}'}))->{status}, 403, 'one for other pages, too');
my $limited = key('limited', q{, rate_limits => '{"requests_per_minute": 1}'});
is(get($server, '/rpc/whoami', $limited)->{status}, 200, 'one within its limit gets in');
$response = get($server, '/rpc/whoami', $limited);
is($response->{status}, 429, '... and beyond it not');
cmp_ok($response->{headers}{'retry-after'}, '>', 0, '... and is told how long to wait');
is($response->{json}{code}, 'PT429', '... in the body of such an error');

stop_client($server);
is(count_in_log($node, qr/gw-[0-9A-Za-z]{32}/), 0, 'no key is in the log of the server');
$node->stop;
done_testing();
