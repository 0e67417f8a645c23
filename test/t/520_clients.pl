
# The examples, each a program on a driver of its own: all answer the same requests
# in the same way, and none loses a digit or stumbles over a type.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClientTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_clients();

# Makes a key; returns its raw form.
sub key
{
	my ($arguments) = @_;

	return $node->safe_psql('postgres', "SELECT raw_key FROM apikey_generate($arguments)");
}

# A key that was used up, in a state, or bounded in the way that its name says.
sub keys_of
{
	my ($client) = @_;
	my %keys = (
		plain => key("'$client plain'"),
		never => key("'$client never', expires_at => 'infinity'"),
		dated => key("'$client dated', expires_at => '2099-01-02 03:04:05+00'"),
		model => key(qq{'$client model', permissions => '{"allowed_models": ["gpt-*"]}'}),
		home => key("'$client home', allowed_ips => '{10.0.0.0/8}'"),
		here => key("'$client here', allowed_ips => '{127.0.0.1}'"),
		poor => key("'$client poor', budget_id => apikey_budget_create('$client credit', 0)"),
		monthly => key("'$client monthly', budget_id => apikey_budget_create('$client monthly', 0, '1 month')"),
		limited => key(qq{'$client limited', rate_limits => '{"requests_per_minute": 2}'}),
		counted => key(qq{'$client counted', budget_id => apikey_budget_create('$client exact', 12345678901234567.000000001),
			rate_limits => '{"tokens_per_day": 9007199254740991, "windows": [{"per": "36 hours", "requests": 5}]}'}),
		priced => key(qq{'$client priced', rate_limits => '{"windows": [{"per": "1 day", "cost": 2.5}]}'}),
		revoked => key("'$client revoked'"));

	$node->safe_psql('postgres', "SELECT apikey_revoke(id, 'test') FROM apikeys.info WHERE name = '$client revoked'");
	return \%keys;
}

sub answers
{
	my ($client) = @_;
	my $keys = keys_of($client->{name});
	my $hello = sub { get($client, "/hello" . ($_[2] // ''), $keys->{ $_[0] } // $_[0], $_[1] // 'x-api-key') };
	my $response;

	# Who gets in, and who is told what.
	is_deeply([ map { $hello->($_)->{status} } 'plain', 'here' ], [ 200, 200 ], 'a good key gets in');
	is($hello->('plain', 'authorization')->{status}, 200, '... as a bearer token, too');
	is($hello->('plain')->{json}{name}, "$client->{name} plain", '... and is known by its name');
	foreach my $bad ('', 'nonsense', 'gw-' . '0' x 300, 'revoked')
	{
		$response = $hello->($bad);
		is($response->{status}, 401, 'a bad key does not') or diag explain $response;
		is($response->{headers}{'www-authenticate'}, 'Bearer', '... and is told how to come with one');
	}
	is($hello->('revoked')->{json}{code}, 'REVOKED', '... and why not');
	like(send_bytes($client, "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx-api-key: gw-\xff\xfe\r\n\r\n"),
		qr{^HTTP/1\.[01] 401 }, 'bytes that are no text are no key');
	is_deeply([ map { $hello->('model', undef, $_)->{status} } '?model=gpt-4', '?model=claude', '' ],
		[ 200, 403, 403 ], 'a key for some models gets no other');
	is($hello->('home')->{json}{code}, 'FORBIDDEN', 'nor one from elsewhere');
	is($hello->('plain', undef, '?model=%00')->{status}, 401, 'a zero byte is no text');
	is($hello->('model', undef, '?model=%ff%fe')->{status} =~ /^40[013]$/ ? 1 : 0, 1, 'nor are others');
	is($hello->('poor')->{status}, 402, 'who has no credit cannot wait for it');
	$response = $hello->('monthly');
	is($response->{status}, 429, '... but for a budget that is reset');
	cmp_ok($response->{headers}{'retry-after'}, '>', 0, '... and is told how long');

	# Limits, in the headers.
	my @limited = map { $hello->('limited') } 1 .. 3;
	is_deeply([ map { $_->{status} } @limited ], [ 200, 200, 429 ], 'the third of two is too much');
	is_deeply([ map { $_->{headers}{'ratelimit-limit'} . ' ' . $_->{headers}{'ratelimit-remaining'} } @limited ],
		[ '2 1', '2 0', '2 0' ], 'each response says what is left');
	cmp_ok($_->{headers}{'ratelimit-reset'}, '<=', 120, '... and until when') foreach @limited;
	is_deeply([ map { exists $_->{headers}{'retry-after'} ? 1 : 0 } @limited ], [ 0, 0, 1 ], 'only who is refused is told to wait');
	like($limited[2]{headers}{'retry-after'}, qr/^[1-9]\d*$/, '... whole seconds');
	is($limited[2]{json}{code}, 'RATE_LIMITED', '... for the limit');

	is($hello->('priced')->{headers}{'ratelimit-limit'}, 3, 'a cost is a whole number in a header, rounded up');

	# Types that drivers stumble over.
	is($hello->('plain')->{json}{expires_at}, undef, 'no expiry is null');
	is($hello->('never')->{json}{expires_at}, 'never', 'infinity is no time');
	like($hello->('dated')->{json}{expires_at}, qr/^2099-01-02T03:04:05(\.0+)?(Z|\+00:00)$/, 'a time is a time');
	$response = post($client, '/usage?tokens=9007199254740993&cost=12345678901234567.000000001', $keys->{counted});
	is($response->{status}, 204, 'usage is recorded') or diag explain $response;
	is($node->safe_psql('postgres', "SELECT total_tokens, total_cost FROM apikeys.info WHERE name = '$client->{name} counted'"),
		'9007199254740993|12345678901234567.000000001', '... with all digits');

	my $id = $node->safe_psql('postgres', "SELECT id FROM apikeys.info WHERE name = '$client->{name} counted'");
	$node->safe_psql('postgres', "SELECT apikey_update('$id', '{\"budget_id\": null, \"rate_limits\": {\"windows\": [{\"per\": \"36 hours\", \"requests\": 9007199254740991}]}}')");
	my $used = get($client, '/usage', $keys->{counted});
	is_deeply([ map { "$_" } @{ $used->{json} }{qw(total_requests total_tokens total_cost)} ],
		[ 1, '9007199254740993', '12345678901234567.000000001' ], '... and read with all of them') or diag explain $used;
	my $limits = get($client, '/limits', $keys->{counted});
	is($limits->{json}[0]{name}, 'requests per 36 hours', 'a limit has its name');
	is($limits->{json}[0]{max}, '9007199254740991', '... a large number');
	cmp_ok($limits->{json}[0]{resets_in}, '>', 36 * 3600, '... and an interval of days, in seconds');
	cmp_ok($limits->{json}[0]{resets_in}, '<=', 2 * 36 * 3600, '... not too many') or diag explain $limits;

	# A database that does not answer is no yes.
	$node->safe_psql('postgres', 'ALTER FUNCTION apikey_verify RENAME TO apikey_verify_away');
	is($hello->('plain')->{status}, 503, 'without an answer nobody gets in');
	$node->safe_psql('postgres', 'ALTER FUNCTION apikey_verify_away RENAME TO apikey_verify');
	is($hello->('plain')->{status}, 200, '... until there is one');

	# Of each lost connection a pool may learn by a failure, once.  A CGI program has none.
	my $lost = $node->safe_psql('postgres', "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity WHERE usename = 'web'");
	my $failed = grep { $hello->('plain')->{status} != 200 } 1 .. 10 + 10 * $lost;
	cmp_ok($failed, '<=', $lost, 'a lost connection is replaced');
}

foreach my $name ($ENV{CLIENT} ? $ENV{CLIENT} : qw(express fastify fastapi jdbc libpq pgx pdo))
{
	subtest $name => sub {
		my $client = start_client($node, $name) or return;

		answers($client);
		stop_client($client);
	};
}
is(count_in_log($node, qr/gw-[0-9A-Za-z]{32}/), 0, 'no key is in the log of the server');
is_sound($node, 'postgres', 'after all');
$node->stop;
done_testing();
