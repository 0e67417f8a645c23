
# The examples of the pages work as printed: the SQL of each page runs in order,
# in one session of a new database.  Where a page has a placeholder ($1, '...'),
# it stands for a key that was just made.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What the placeholders of a page stand for, other than a key.
my %pages = (
	'README.md' => {
		2 => q('{"model": "gpt-4o"}'), 3 => q('/v1/chat'), 4 => 1500, 5 => q('[2001:db8::1]:443') },
	'doc/limits.md' => {
		2 => q('{}'), 3 => q(:'id'), 4 => 1342, 5 => '0.018::float8', 6 => 'gen_random_uuid()' },
	'doc/derived-keys.md' => {},
	'doc/expiry.md' => {},
	'doc/bulk.md' => {},
	'doc/feed.md' => {},
	'doc/finding.md' => {},
	'doc/operations.md' => { 2 => q('a log') },
	'doc/rights.md' => {},
	'doc/row-level-security.md' => {},);

my $node = new_node('main');
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE my_app');

# Returns the blocks of a page in a language.
sub blocks
{
	my ($page, $language) = @_;

	return slurp_file($page) =~ /^```$language\n(.*?)^```$/msg;
}

# Returns the SQL of a page, with a new key for each block.
sub script
{
	my ($page) = @_;
	my $script = '';

	for my $block (blocks($page, 'sql'))
	{
		$block =~ s/\$(\d)/$1 == 1 ? ":'raw_key'" : $pages{$page}{$1} \/\/ die "$page: what is \$$1?"/ge;
		$block =~ s/'\.\.\.'/:'id'/g;
		$block =~ s/'\\x\.\.\.'/sha256(gen_random_uuid()::text::bytea)/g;
		$script .= "SELECT id, raw_key FROM apikey_generate('page') \\gset\n$block";
	}
	return $script;
}

# Runs it in a database of its own; returns what it prints.
sub run
{
	my ($dbname, $setup, $script) = @_;
	my ($out, $err) = ('', '');
	my $status;

	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	add_extension($node, $dbname);
	$node->safe_psql($dbname, $setup) if $setup ne '';
	$status = $node->psql($dbname, $script, stdout => \$out, stderr => \$err, on_error_stop => 1);
	is($status, 0, "$dbname: its examples work") or diag $err;
	return $out;
}

run('readme', 'CREATE TABLE note (owner_id uuid)', script('README.md'));
run('derived', '', script('doc/derived-keys.md'));
run('expiry', '', script('doc/expiry.md'));
my $limits = run('limits', '', script('doc/limits.md'));
my @responses = slurp_file('doc/limits.md') =~ m{^```\n(HTTP/.*?)^```$}msg;

foreach my $response (@responses)
{
	$response =~ s/(Reset|After): \d+/$1: \\d+/g;
	like($limits, qr/^$response$/m, 'limits: the response that the page shows');
}
is(scalar @responses, 2, 'the page shows two responses');
run($_, '', script("doc/$_.md")) foreach 'bulk', 'finding', 'operations', 'rights';

# A page that shows what its SQL prints.
sub as_shown
{
	my ($text) = @_;

	$text =~ s/ +$//mg;
	$text =~ s/(Reset|After): \d+/$1: .../g;
	return $text =~ s/\n+\z//r;
}

my @steps = slurp_file('doc/gateway.md') =~ m{^```sql\n(.*?)^```\n(?:\n```\n(.*?)^```$)?}msg;
my @prints = split /^== .*\n/m,
  run('gateway', '', join('', "\\pset format aligned\n\\pset tuples_only off\n",
		map { "\\echo == $_\n$steps[2 * $_]" } 0 .. $#steps / 2));

foreach my $i (0 .. $#steps / 2)
{
	is(as_shown($prints[ 1 + $i ] // ''), as_shown($steps[ 2 * $i + 1 ]), "gateway: step $i prints what the page shows")
	  if defined $steps[ 2 * $i + 1 ];
}
is(scalar(grep { defined } @steps[ map { 2 * $_ + 1 } 0 .. $#steps / 2 ]), 8, 'the page shows what eight steps print');

# The bodies that PostgREST makes of errors, as the page has them.
my $page = 'doc/row-level-security.md';
my $bodies = q{
	CREATE FUNCTION body(key text) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		detail text;
		hint text;
	BEGIN
		PERFORM set_config('request.headers', json_build_object('x-api-key', key)::text, true);
		PERFORM apikey_pre_request();
		RETURN NULL;
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
		RETURN CASE WHEN SQLSTATE = 'PGRST' THEN SQLERRM::jsonb
			ELSE jsonb_build_object('code', SQLSTATE, 'message', SQLERRM, 'details', detail, 'hint', hint) END;
	END $$;
	SELECT raw_key FROM apikey_generate('limited', rate_limits => '{"requests_per_minute": 60}') \gset limited_
	SELECT count(*) FROM generate_series(1, 60) i, apikey_verify(:'limited_raw_key', tokens => i) v WHERE v.valid;
	SELECT id, raw_key FROM apikey_generate('revoked') \gset revoked_
	SELECT count(apikey_revoke(:'revoked_id'));
};
my @samples = blocks($page, 'json');

for my $sample (@samples)
{
	my $key = $sample =~ /PT429/ ? 'limited' : 'revoked';

	$bodies .= qq{
	SELECT body(:'${key}_raw_key')::text ~ regexp_replace(regexp_replace('$sample'::jsonb::text, '([{}])', '\\\\\\1', 'g'), '\\d+ seconds', '\\\\d+ seconds');};
}
is(scalar @samples, 2, 'the page shows two bodies');
is( run('tenants', '', script($page) . $bodies),
	join("\n",
		'alice', 'a note of alice', 'bob', 'a note of bob', '0',
		'GET|/note|t', '', 'a note of alice',
		'60', '1', 't', 't'),
	'its examples say what the page says');

done_testing();
