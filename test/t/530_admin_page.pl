
# The page for administrators, by its requests, and as a person uses it in a browser.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use Browser;
use ClientTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "listen_addresses = '127.0.0.1'");
my $alice = '00000000-0000-0000-0000-00000000a11c';
my $bob = '00000000-0000-0000-0000-000000000b0b';

$node->safe_psql('postgres', q{
	CREATE ROLE web LOGIN;
	CREATE ROLE portal LOGIN;
	SELECT apikey_grant('web', 'manage');
	SELECT apikey_grant('portal', 'own')});

sub key
{
	my ($arguments) = @_;

	return $node->safe_psql('postgres', "SELECT raw_key FROM apikey_generate($arguments)");
}

sub send_json { my ($client, $path, $key, $json) = @_; return request($client, 'POST', "/api$path", $key, 'authorization', $json) }
sub ask { my ($client, $path, $key) = @_; return request($client, 'GET', "/api$path", $key, 'authorization') }

my $admin = key(q{'root', permissions => '{"is_admin": true}'});
my $alices = key("'alice', user_id => '$alice'");
my $bobs = key("'bob <b>&', user_id => '$bob'");

$node->safe_psql('postgres', q{
	SELECT apikey_budget_create('team a', 100), apikey_budget_create('team b', 50);
	SELECT apikey_record_usage(id, 1000 * n, 3.5 * n, model => 'gpt-' || n % 3, budget_id => b.budget_id)
	FROM apikeys.info, generate_series(1, 12) n,
		LATERAL (SELECT id AS budget_id FROM apikeys.budget_info WHERE name = 'team a' OR n < 4) b
	WHERE name = 'alice'});

# -------------------------------------------------------------- the requests

subtest 'level manage' => sub {
	my $page = start_client($node, 'admin', ACCESS => 'manage') or return;

	is(ask($page, '/me', $_)->{status}, 401, 'a bad key does not get in') foreach '', 'nonsense', 'x' x 5000;
	is(ask($page, '/keys', $alices)->{status}, 403, 'nor does one that is no administrator\'s');
	is(ask($page, '/me', $admin)->{json}{name}, 'root', 'an administrator\'s does');
	is(scalar @{ ask($page, '/keys', $admin)->{json} }, 3, '... and sees all keys');
	is_deeply([ map { $_->{name} } @{ ask($page, '/keys?search=%3Cb%3E', $admin)->{json} } ], ['bob <b>&'], 'by name');
	is(scalar @{ ask($page, '/keys?search=%25', $admin)->{json} }, 0, 'a percent sign is one');
	is(ask($page, '/keys?status=strange', $admin)->{status}, 400, 'a bad status is bad input');
	is(ask($page, '/keys?after=strange', $admin)->{status}, 400, '... and so is a bad id');

	my $made = send_json($page, '/keys', $admin, '{"name": "made", "rate_limits": {"requests_per_minute": 5}}');
	is($made->{status}, 200, 'makes a key') or diag explain $made;
	is(verify_code($made->{json}{raw_key}), 'VALID', '... that is one');
	is(send_json($page, '/keys', $admin, '{"name": ""}')->{status}, 400, 'a key without a name is bad input');
	is(send_json($page, '/keys', $admin, '{"name": "x", "permissions": {"strange": 1}}')->{status}, 400, '... strange permissions, too');
	is(send_json($page, '/keys', $admin, '{')->{status}, 400, '... and half a document');

	my $rotated = send_json($page, "/keys/$made->{json}{id}/rotate", $admin, '{}');
	is(verify_code($rotated->{json}{raw_key}), 'VALID', 'rotates it');
	is(verify_code($made->{json}{raw_key}), 'REVOKED', '... so that the old one has ended');
	is(send_json($page, "/keys/$rotated->{json}{id}/revoke", $admin, '{"reason": "test"}')->{status}, 200, 'revokes it');
	is(send_json($page, "/keys/$rotated->{json}{id}/revoke", $admin, '{}')->{status}, 409, '... once');
	is(send_json($page, "/keys/$alice/revoke", $admin, '{}')->{status}, 404, 'there is no such key');
	is(verify_code($rotated->{json}{raw_key}), 'REVOKED', 'revoked it is');

	is(scalar @{ ask($page, '/usage', $admin)->{json} }, 3, 'usage by model');
	is_deeply([ map { $_->{name} } @{ ask($page, '/budgets', $admin)->{json} } ], [ 'team a', 'team b' ], 'budgets');
	my ($event) = @{ ask($page, '/events', $admin)->{json} };
	is("$event->{action} $event->{acting_role}", 'revoke web', 'events');

	my $headers = request($page, 'GET', '/', '')->{headers};
	like($headers->{'content-security-policy'}, qr/default-src 'none'/, 'nothing is loaded from elsewhere');
	unlike(slurp_file($page->{log}), qr/gw-/, 'no key in its log');
	stop_client($page);
};

subtest 'level own' => sub {
	my $page = start_client($node, 'admin', ACCESS => 'own', PGUSER => 'portal') or return;

	is_deeply([ map { $_->{name} } @{ ask($page, '/keys', $alices)->{json} } ], ['alice'], 'alice sees her keys');
	is_deeply([ map { $_->{name} } @{ ask($page, '/keys', $bobs)->{json} } ], ['bob <b>&'], 'bob his');
	my $id = $node->safe_psql('postgres', "SELECT id FROM apikeys.info WHERE name = 'alice'");
	is(send_json($page, "/keys/$id/revoke", $bobs, '{}')->{status}, 404, '... and hers are not there for him');
	is(send_json($page, '/keys', $bobs, qq{{"name": "x", "user_id": "$alice"}})->{status}, 400, 'he makes none for her');
	is(ask($page, '/usage', $alices)->{json}[0]{requests}, 24 - 9, 'her usage');
	is(ask($page, $_, $alices)->{status}, 404, 'no page of all') foreach '/budgets', '/events';
	is(ask($page, '/keys', $admin)->{status}, 401, 'a key without a user looks after none');
	stop_client($page);
};

sub verify_code
{
	my ($key) = @_;

	return $node->safe_psql('postgres', "SELECT code FROM apikey_verify('$key')");
}

# -------------------------------------------------------------- the browser

subtest 'in a browser' => sub {
	my $page = start_client($node, 'admin') or return;
	my $browser = Browser->start or plan skip_all => 'there is no chromedriver';

	$browser->open("$page->{url}/");
	$browser->type('#login input', 'nonsense');
	$browser->click('#login button');
	wait_until('a bad key is refused', sub { $browser->text('#error') ne '' });
	$browser->type('#login input', $admin);
	$browser->click('#login button');
	wait_until('a good one shows the keys', sub { $browser->value(q{document.querySelectorAll('#keys tbody tr').length}) >= 3 });
	like($browser->text('#keys tbody'), qr/bob <b>&/, 'a name is text, whatever it is');
	is($browser->value(q{document.querySelectorAll('#keys tbody b').length}), 0, '... and no element');

	$browser->click('#new');
	$browser->type('#make input[name=name]', 'from the browser');
	$browser->type('#make input[name=models]', 'gpt-*, claude-*');
	$browser->click('#make button[value=make]');
	wait_until('a new key is shown', sub { $browser->text('#made output') =~ /^gw-\w{32}$/ });
	my $key = $browser->text('#made output');
	is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('$key', model => 'claude-3')"), 'VALID', '... it is one');
	$browser->click('#made button');
	wait_until('... once', sub { $browser->value(q{document.body.textContent.includes('gw-' + 'x') ||
		document.querySelector('#made output').textContent === ''}) });
	wait_until('it is listed', sub { $browser->text('#keys tbody') =~ /from the browser/ });

	$browser->click('#keys tbody tr:first-child td.actions button:last-child');
	$browser->type('#ask input', 'no longer needed');
	$browser->click('#ask button[value=yes]');
	wait_until('revoked', sub { $browser->text('#keys tbody tr:first-child') =~ /revoked/ });
	is(verify_code($key), 'REVOKED', 'the key has been revoked');
	$browser->picture("$PostgreSQL::Test::Utils::log_path/admin-keys.png");

	$browser->click('#tabs button[value=usage]');
	wait_until('usage is drawn', sub { $browser->value(q{document.querySelectorAll('#usage svg rect').length}) >= 3 });
	$browser->picture("$PostgreSQL::Test::Utils::log_path/admin-usage.png");
	$browser->click('#tabs button[value=budgets]');
	wait_until('budgets are bars', sub { $browser->value(q{document.querySelectorAll('#budgets svg').length}) == 2 });
	$browser->picture("$PostgreSQL::Test::Utils::log_path/admin-budgets.png");
	$browser->click('#tabs button[value=events]');
	wait_until('events', sub { $browser->text('#events tbody') =~ /revoke/ });
	$browser->click('#leave');
	wait_until('logged out', sub { $browser->value(q{!document.querySelector('#login').hidden && sessionStorage.length === 0}) });
	$browser->stop;
	stop_client($page);
};

# ------------------------------------------------- as examples/run shows it

subtest 'the keys of examples/run' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE shown');
	add_extension($node, 'shown');
	my $key = $node->safe_psql('shown', '\i examples/admin/schema.sql');

	# As if it had been there for a month.
	$node->safe_psql('shown', q{
		INSERT INTO apikeys_data.usage_day (key_id, day, model, requests, tokens, cost)
		SELECT d.key_id, d.day, d.model, sum(d.n), sum(d.n * 900), sum(d.n * 0.021)
		FROM (SELECT u.key_id, current_date - g AS day, u.model,
				(40 + 300 * abs(sin(g * 12.9898 + ascii(right(u.model, 1))))
					* CASE WHEN extract(isodow FROM current_date - g) > 5 THEN 0.2 ELSE 1 END)::integer AS n
			FROM (SELECT DISTINCT key_id, model FROM apikeys.usage_report) u, generate_series(1, 29) g) d
		GROUP BY 1, 2, 3;
		INSERT INTO apikeys_data.usage AS u (key_id, total_requests, total_tokens, total_cost)
		SELECT key_id, sum(requests), sum(tokens), sum(cost) FROM apikeys_data.usage_day WHERE day < current_date GROUP BY key_id
		ON CONFLICT (key_id, node) DO UPDATE SET total_requests = u.total_requests + excluded.total_requests,
			total_tokens = u.total_tokens + excluded.total_tokens, total_cost = u.total_cost + excluded.total_cost});

	my $page = start_client($node, 'admin', PGDATABASE => 'shown') or return;
	is(scalar @{ ask($page, '/keys', $key)->{json} }, 7, 'the key that it prints logs in');
	is_deeply([ map { $_->{name} } @{ ask($page, '/budgets', $key)->{json} } ], [ 'prepaid credit', 'research', 'support' ], 'there are budgets');
	is_sound($node, 'shown', 'and what the picture adds');

	my $browser = Browser->start or plan skip_all => 'there is no chromedriver';
	$browser->size(1000, 620);
	$browser->open("$page->{url}/");
	$browser->type('#login input', $key);
	$browser->click('#login button');
	wait_until('keys are listed', sub { $browser->value(q{document.querySelectorAll('#keys tbody tr').length}) == 7 });
	$browser->picture("$PostgreSQL::Test::Utils::log_path/keys.png");
	$browser->click('#tabs button[value=usage]');
	wait_until('usage is drawn', sub { $browser->value(q{document.querySelectorAll('#usage svg rect').length}) >= 90 });
	$browser->picture("$PostgreSQL::Test::Utils::log_path/usage.png");
	$browser->stop;
	stop_client($page);
};

$node->stop;
done_testing();
