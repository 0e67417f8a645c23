
# The examples of the pages work as printed: the SQL of each page runs in order,
# in one session of a new database, and its other blocks are tried too.  Where a page
# has a placeholder ($1, '...'), it stands for a key that was just made.

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
	'doc/verify.md' => {
		2 => q('{"model": "gpt-4o"}'), 3 => q('/v1/chat'), 4 => '1500::numeric', 5 => q('192.0.2.1'::inet) },
	'doc/limits.md' => {
		2 => q('{}'), 3 => q(:'id'), 4 => 1342, 5 => '0.018::float8', 6 => 'gen_random_uuid()' },
	'doc/derived-keys.md' => {},
	'doc/expiry.md' => {},
	'doc/bulk.md' => {},
	'doc/compatibility.md' => {},
	'doc/feed.md' => {},
	'doc/finding.md' => {},
	'doc/operations.md' => {},
	'doc/rights.md' => {},
	'doc/row-level-security.md' => {},
	'doc/scale.md' => {},
	'doc/secrets.md' => {},
	'doc/settings.md' => {},
	'doc/transactions.md' => {},);
my %ran;

my $node = new_node('main');
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE my_app');

# Returns the blocks of a page in a language.
sub blocks
{
	my ($page, $language) = @_;

	$ran{"$page $language"} = 1;
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
		$block =~ s/^\\prompt '.*' (\w+)$/\\set $1 :raw_key/mg;
		$block =~ s/^\\set document `.*`$/\\set document 'a log: ' :raw_key ', and again: ' :raw_key/mg;
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
run($_, '', script("doc/$_.md")) foreach 'bulk', 'compatibility', 'feed', 'finding', 'operations', 'rights', 'scale', 'settings', 'verify';

# What goes wrong does so in the words by which one looks for it in the page.
sub goes_wrong
{
	my ($dbname, $sql) = @_;
	my $stderr = '';

	$node->psql($dbname, "\\set VERBOSITY verbose\n$sql", stderr => \$stderr);
	my ($sqlstate, $message) = $stderr =~ /ERROR:  (\w{5}): (.*)/ or die "no error: $sql";
	like(slurp_file('doc/verify.md'), qr/^\| `\Q$message\E` \($sqlstate\) \|/m, "verify: what to do about $message");
}

$node->safe_psql('postgres', 'CREATE ROLE stranger');
goes_wrong('postgres', q{SELECT code FROM apikey_verify('a key')});
goes_wrong('verify', q{SET ROLE stranger; SELECT code FROM apikey_verify('a key')});
goes_wrong('verify', q{SET ROLE stranger; SELECT key_hash FROM apikeys_data.key});

# A process that a page makes up is nobody's.
run('transactions', '', script('doc/transactions.md') =~ s/\b4711\b/0/gr);

# A page that shows what its SQL prints.
sub as_shown
{
	my ($text) = @_;

	$text =~ s/ +$//mg;
	$text =~ s/^[-+]+$/---/mg;
	$text =~ s/ +\|/ |/g;
	$text =~ s/\| +/| /g;
	$text =~ s/^ +//mg;
	$text =~ s/(Reset|After): \d+/$1: .../g;
	return $text =~ s/\n+\z//r;
}

# Compares that for a page: a block of SQL, and right after it what it prints.
sub shows
{
	my ($name, $nsteps) = @_;

	@ran{ "doc/$name.md sql", "doc/$name.md " } = (1, 1);
	my @steps = slurp_file("doc/$name.md") =~ m{^```sql\n(.*?)^```\n(?:\n```\n(.*?)^```$)?}msg;
	my @prints = split /^== .*\n/m,
	  run($name, '', join('', "\\pset format aligned\n\\pset tuples_only off\n",
			map { "\\echo == $_\n$steps[2 * $_]" } 0 .. $#steps / 2));

	foreach my $i (0 .. $#steps / 2)
	{
		is(as_shown($prints[ 1 + $i ] // ''), as_shown($steps[ 2 * $i + 1 ]), "$name: step $i prints what the page shows")
		  if defined $steps[ 2 * $i + 1 ];
	}
	is(scalar(grep { defined } @steps[ map { 2 * $_ + 1 } 0 .. $#steps / 2 ]), $nsteps, "the page shows what $nsteps steps print");
}

shows('gateway', 8);
shows('migrate', 8);

# More keys than a batch has, one of which cannot be taken over.
my ($moved, $notices) = ('', '');
$node->psql('migrate', q{
	TRUNCATE moving;
	INSERT INTO moving (key_hash, name, key_prefix) SELECT sha256(n::text::bytea), 'key ' || n, 'many...' FROM generate_series(1, 2500) n;
	UPDATE moving SET key_prefix = 'm' || chr(252) WHERE name = 'key 1700';
	CALL move_keys(dry_run => true, batch => 1000);
	SELECT count(*), count(problem), (SELECT count(*) FROM apikeys.info WHERE key_prefix = 'many...') FROM moving WHERE id IS NULL;
	CALL move_keys(dry_run => false, batch => 1000);
	SELECT count(*), count(problem), (SELECT count(*) FROM apikeys.info WHERE key_prefix = 'many...') FROM moving WHERE id IS NULL;
	SELECT code FROM apikey_verify('2500')}, stdout => \$moved, stderr => \$notices, on_error_die => 1);
is($moved, "2500|1|0\n1|1|2499\nVALID", 'migrate: a dry run leaves all where it was, and the other what cannot be taken over');
is(join(' ', $notices =~ /NOTICE:  (\d+) of 2500 keys/g), '1000 2000 2500 1000 2000 2500', 'migrate: ... and it says how far it is');

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

# The C of the first page, in a program around it.
SKIP:
{
	my ($c) = blocks('README.md', 'c');
	my $directory = PostgreSQL::Test::Utils::tempdir('c');
	my ($include) = grep { -e "$_/libpq-fe.h" } `"$ENV{PG_CONFIG}" --includedir` =~ s/\s+$//r, '/usr/include/postgresql';

	skip 'there is no libpq-fe.h', 1 unless $include;
	append_to_file("$directory/page.c", qq{
		#include <stdio.h>
		#include <libpq-fe.h>
		int main(int argc, char **argv)
		{
			PGconn *conn = PQconnectdb(argv[1]);
			const char *key_from_request = argv[argc - 1];
			$c
			printf("%s", PQgetvalue(res, 0, PQfnumber(res, "code")));
			return 0;
		}});
	is(system('cc', '-Wall', '-Wextra', '-Werror', "-I$include", '-o', "$directory/page", "$directory/page.c", '-lpq'), 0, 'the C of README.md compiles');
	my $key = $node->safe_psql('readme', q{SELECT raw_key FROM apikey_generate('libpq')});
	my ($out) = run_command([ "$directory/page", $node->connstr('readme'), $key ]);
	is($out, 'VALID', '... and verifies a key');
}

# The file of secrets, by the commands of the page; in a directory of our own, whose
# owner the page need not change.
my $secrets = PostgreSQL::Test::Utils::tempdir('secrets');
my ($commands) = blocks('doc/secrets.md', 'sh');

$commands =~ s{/etc/postgresql}{$secrets}g;
is(system('sh', '-ec', $commands =~ s/ -o postgres//r), 0, 'the commands of doc/secrets.md work');

# A session takes in a reload between two statements.
my $wait = "SELECT pg_sleep(0.2) WHERE current_setting('apikeys.hmac_secret_file') = '';\n" x 200;
my $hash = '9f' x 32;
run('secrets', '', script('doc/secrets.md') =~ s{/etc/postgresql}{$secrets}gr =~ s/9f86d081\.\.\./$hash/r
	  =~ s/(pg_reload_conf\(\);\n)/$1$wait/r);
is($node->safe_psql('secrets', q{SELECT hash_secret FROM apikeys_data.key WHERE name = 'page' ORDER BY created_at DESC LIMIT 1}), '2025-01', '... and keys are hashed with it');

# Without the library, what takes shared memory.
SKIP:
{
	skip 'PostgreSQL 17 has shared memory all the same', 1 if $node->pg_version >= 17;

	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->restart;
	goes_wrong('verify', q{SELECT raw_key FROM apikey_generate('limited', rate_limits => '{"requests_per_day": 1}') \gset
		SELECT code FROM apikey_verify(:'raw_key')});
}

# All pages were here, and what is a parameter says its type, for drivers that do.
# Output is compared above, or by the test that is named.
my %elsewhere = (
	'doc/architecture.md ' => 'pictures',
	'doc/feed.md ' => 'a picture, and the settings of 601_feed.pl',
	'doc/scale.md ' => 'pictures, and the settings of 611_logical.pl',
	'README.md ' => 'a picture',
	'doc/row-level-security.md ' => '522_postgrest.pl',
	'doc/transactions.md ' => '005_waits.pl',
	'doc/limits.md ' => 'above');

foreach my $page ('README.md', glob 'doc/*.md')
{
	my @languages = slurp_file($page) =~ /^```(\w*)\n.*?^```$/msg;
	my @sql = $page =~ /gateway|migrate/ ? () : slurp_file($page) =~ /^```sql\n(.*?)^```$/msg;

	is(join(' ', grep { !$ran{"$page $_"} && !$elsewhere{"$page $_"} } @languages), '', "$page: each block is tried");
	is(join(' ', map { /\$\d(?!::)/g } @sql), '', "$page: each parameter has a cast");
}

# Four screens.  That links lead somewhere is for make lint.
cmp_ok(scalar(() = slurp_file('README.md') =~ /\n/g), '<=', 200, 'README.md fits four screens');

done_testing();
