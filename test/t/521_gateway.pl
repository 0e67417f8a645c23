
# The example of a gateway to language models: it reserves, streams, settles,
# retries and voids, and no budget is overspent.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClientTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_clients();
my $gateway = start_client($node, 'gateway') or done_testing(), exit;

# A key with a credit, in its own budget, of so many tokens at 0.000001 each.
sub key
{
	my ($name, $tokens) = @_;

	return $node->safe_psql('postgres', qq{
		SELECT raw_key FROM apikey_generate('$name', budget_id => apikey_budget_create('$name', $tokens * 0.000001),
			permissions => '{"allowed_models": ["gpt-*"], "max_tokens_per_request": 5000}')});
}

sub budget
{
	my ($name) = @_;

	return $node->safe_psql('postgres', "SELECT round(spent * 1000000), round(reserved * 1000000) FROM apikeys.budget_info WHERE name = '$name'");
}

sub chat
{
	my ($key, %request) = @_;

	return request($gateway, 'POST', '/v1/chat/completions', $key, 'authorization', encode_json(\%request));
}

my $key = key('wallet', 1000);
my $response = chat($key, model => 'gpt-4', prompt => 'word', max_tokens => 20);

is($response->{status}, 200, 'a request is answered') or diag explain $response;
is(scalar(() = $response->{content} =~ /"content"/g), 20, '... word by word');
like($response->{content}, qr/data: \[DONE\]\n\n\z/, '... until its end');
is($response->{headers}{'ratelimit-limit'}, '1', '... with what is left in its headers');
is(budget('wallet'), '20|0', '... and settled');

is(chat('nonsense', model => 'gpt-4')->{status}, 401, 'a bad key gets no answer');
is(chat($key, model => 'claude')->{status}, 403, 'nor does a model that is not allowed');
is(chat($key, model => 'gpt-4', max_tokens => 5001)->{status}, 403, 'nor too long an answer');
is(chat($key, model => 'gpt-4', max_tokens => 1000)->{status}, 402, 'nor one that there is no credit for');
is(chat($key, model => 'gpt-4', max_tokens => JSON::PP::true)->{status}, 400, 'nor nonsense');
is(budget('wallet'), '20|0', '... and none of that has cost anything');

is(chat($key, model => 'gpt-down')->{status}, 502, 'a model that is down is an error');
is(budget('wallet'), '20|0', '... and what was reserved is released');
is(chat($key, model => 'gpt-flaky', prompt => 'a', max_tokens => 10)->{status}, 200, 'one that fails once is asked again');
is(budget('wallet'), '30|0', '... and paid once');
$response = chat($key, model => 'gpt-cut', max_tokens => 10);
like($response->{content}, qr/event: error/, 'one that breaks off says so');
is(budget('wallet'), '33|0', '... and what was sent is paid');

# An answer that was broken is taken back, once, by who has paid.
my $path = "/v1/chat/completions/$response->{headers}{'x-request-id'}";
is(request($gateway, 'DELETE', $path, key('stranger', 1))->{status}, 404, 'nobody else can take it back');
is(request($gateway, 'DELETE', $path, $key)->{status}, 200, 'it can be taken back');
is(request($gateway, 'DELETE', $path, $key)->{status}, 404, '... once');
is(budget('wallet'), '30|0', '... and is not paid any more');

# A client that goes away pays for what it was sent.
my $hasty = key('hasty', 1000);
my $body = '{"model": "gpt-slow", "max_tokens": 100}';
{
	my ($address) = $gateway->{url} =~ m{//(.*)};
	my $socket = IO::Socket::INET->new(PeerAddr => $address) or die "$address: $!";

	print $socket "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: $hasty\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
	1 until <$socket> =~ /"content"/;
	wait_for($node, 'postgres', "SELECT round(reserved * 1000000) = 100 FROM apikeys.budget_info WHERE name = 'hasty'", 'all of it is reserved meanwhile');
	close $socket;
}
wait_for($node, 'postgres', "SELECT reserved = 0 AND spent > 0 AND spent < 0.00002 FROM apikeys.budget_info WHERE name = 'hasty'",
	'a client that goes away pays for what it was sent');

# The connection breaks while the answer is streamed: it is settled all the same.
my $pid = fork // die "fork: $!";
if ($pid == 0)
{
	my $answer = chat($hasty, model => 'gpt-slow', max_tokens => 10);
	POSIX::_exit($answer->{status} == 200 && $answer->{content} =~ /DONE/ ? 0 : 1);
}
my $spent = $node->safe_psql('postgres', "SELECT spent FROM apikeys.budget_info WHERE name = 'hasty'");
wait_for($node, 'postgres', "SELECT reserved > 0 FROM apikeys.budget_info WHERE name = 'hasty'", 'a request is under way');
$node->safe_psql('postgres', "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'web'");
waitpid($pid, 0);
is($?, 0, '... whose answer comes, although connections are lost');
is($node->safe_psql('postgres', "SELECT round((spent - $spent) * 1000000), reserved FROM apikeys.budget_info WHERE name = 'hasty'"),
	'10|0', '... and is settled once');

# Many at once, on a budget that has room for a part of them.
my $rush = key('rush', 250);
my @children;

foreach my $i (1 .. 20)
{
	my $child = fork // die "fork: $!";

	POSIX::_exit(chat($rush, model => 'gpt-4', prompt => $i, max_tokens => 50)->{status} == 200 ? 0 : 1) if $child == 0;
	push @children, $child;
}
my $served = grep { waitpid($_, 0); $? == 0 } @children;
is($served, 5, 'of twenty at once, as many are served as the credit allows');
is(budget('rush'), '250|0', '... and it is not overspent');

is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT model, ' ' ORDER BY model) FROM apikeys.usage_report}),
	'gpt-4 gpt-cut gpt-flaky gpt-slow', 'usage is known by model');
stop_client($gateway);
is_sound($node, 'postgres', 'after all');
$node->stop;
done_testing();
