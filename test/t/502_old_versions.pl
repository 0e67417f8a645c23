
# Each version of the extension works with this library: who has installed the
# new package keeps the old SQL until ALTER EXTENSION UPDATE.  The scripts of
# released versions lie in sql/released/.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use Test::More;

my $node = start_node('main');
my $default = $node->safe_psql('postgres', "SELECT extversion FROM pg_extension WHERE extname = 'apikeys'");
my @versions = split /\n/, $node->safe_psql('postgres',
	"SELECT version FROM pg_available_extension_versions WHERE name = 'apikeys' ORDER BY version");

ok((grep { $_ eq $default } @versions), "version $default can be installed");
foreach my $file (glob "$FindBin::RealBin/../../sql/released/apikeys--*.sql")
{
	my ($released) = $file =~ /apikeys--(.*)\.sql$/;

	ok((grep { $_ eq $released } @versions), "version $released can be installed")
	  unless $released =~ /--/;
}

# What everybody calls, in a database that has a version.
sub try_life
{
	my ($dbname, $what) = @_;
	my ($id, $raw_key) = split /\|/, $node->safe_psql($dbname,
		qq{SELECT * FROM apikey_generate('$what', rate_limits => '{"requests_per_minute": 2}')});

	is($node->safe_psql($dbname, "SELECT string_agg(v.code, ' ') FROM generate_series(1, 3) n, LATERAL apikey_verify('$raw_key', model => n::text) v"),
		'VALID VALID RATE_LIMITED', "$what: verify, up to a limit");
	is($node->safe_psql($dbname, "SELECT apikey_record_usage('$id', 3, 0.5); SELECT total_tokens, total_cost FROM apikey_usage('$id')"),
		"t\n3|0.5", "$what: usage");
	my $next = $node->safe_psql($dbname, "SELECT raw_key FROM apikey_rotate('$id')");
	is($node->safe_psql($dbname, "SELECT apikey_check('$raw_key'), apikey_check('$next')"),
		'REVOKED|RATE_LIMITED', "$what: rotate");
	is($node->safe_psql($dbname, "SELECT (apikey_update(id, '{\"name\": \"other\"}')).name, apikey_revoke(id) FROM apikeys.info WHERE rotated_from = '$id'; SELECT apikey_check('$next')"),
		"other|\nREVOKED", "$what: update and revoke");
	is($node->safe_psql($dbname, "SELECT count(*) FROM apikeys.info"), $node->safe_psql($dbname, 'SELECT apikey_count()'), "$what: count");
	$node->safe_psql($dbname, 'SELECT apikey_flush()');
	is_sound($node, $dbname, $what);
}

foreach my $version (@versions)
{
	my $dbname = "version $version";

	$node->safe_psql('postgres', qq{CREATE DATABASE "$dbname"});
	$node->safe_psql($dbname, "SET client_min_messages = warning; CREATE EXTENSION apikeys VERSION '$version' CASCADE");
	try_life($dbname, $version);
	next if $version eq $default;
	$node->safe_psql($dbname, 'ALTER EXTENSION apikeys UPDATE');
	try_life($dbname, "$version, updated");
}

$node->stop;
done_testing();
