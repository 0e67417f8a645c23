
# What was used of a limit is still used after pg_upgrade, and after a dump is restored:
# windows are rows, once they are flushed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = start_node('old', "apikeys.flush_interval = '1h'");

# Keys with a limit of three, of which some is used; one has its limit from a budget.
$old->safe_psql('postgres', q{
	SELECT apikey_import(digest(name || '-key', 'sha256'), name, 'x', rate_limits => '{"requests_per_day": 3, "windows": [{"per": "30 days", "tokens": 100}]}')
	FROM unnest('{used up,used,unused,void}'::text[]) name;
	SELECT apikey_import(digest('of a pool-key', 'sha256'), 'of a pool', 'x',
		budget_id => apikey_budget_create('pool', rate_limits => '{"requests_per_day": 2}'))});

sub code_of
{
	my ($node, $dbname, $name) = @_;

	return $node->safe_psql($dbname, "SELECT apikey_check('$name-key')");
}

is(code_of($old, 'postgres', 'used up'), 'VALID', 'used up') for 1 .. 3;
is(code_of($old, 'postgres', $_), 'VALID', $_) foreach 'used', 'void', 'of a pool', 'of a pool';
$old->safe_psql('postgres', sprintf q{
	SELECT apikey_record_usage(%1$s, tokens => 70);
	SELECT apikey_record_usage(%2$s, tokens => 60, request_id => 'one');
	SELECT apikey_flush();
	SELECT apikey_void_usage(%2$s, 'one');
	SELECT apikey_flush()}, id_of('used'), id_of('void'));

my $limits = q{
	SELECT string_agg(concat_ws(' ', k.name, l.name, l.used), ', ' ORDER BY k.name, l.name)
	FROM apikeys_data.key k, LATERAL apikey_limits(k.id) l};
my $used = $old->safe_psql('postgres', $limits);
like($used, qr/used requests_per_day 1.*used up requests_per_day 3.*void requests_per_day 1/, 'what is used');
like($used, qr/used [^,]*30 days[^,]* 70,/, '... of tokens as well');

# Passes if all is as it was before, and limits.
sub goes_on
{
	my ($node, $dbname, $test_name) = @_;

	is($node->safe_psql($dbname, $limits), $used, "$test_name: as much is used");
	is(code_of($node, $dbname, $_), 'RATE_LIMITED', "$test_name: $_") foreach 'used up', 'of a pool';
	is(code_of($node, $dbname, 'unused'), 'VALID', "$test_name: one that was not used");
	is( $node->safe_psql($dbname, q{SELECT string_agg(apikey_check('used-key'), ' ') FROM generate_series(1, 3)}),
		'VALID VALID RATE_LIMITED', "$test_name: one of which some was left");
	is_sound($node, $dbname, $test_name);
}

my $dump = $old->basedir . '/dump';
$old->command_ok([ 'pg_dump', '--format=custom', '--file', $dump, 'postgres' ], 'pg_dump');
$old->safe_psql('postgres', 'CREATE DATABASE restored');
$old->command_ok([ 'pg_restore', '--exit-on-error', '--dbname', 'restored', $dump ], 'pg_restore');
goes_on($old, 'restored', 'restored');
$old->safe_psql('postgres', 'DROP DATABASE restored');
$old->stop;

my $new = new_node('new', "apikeys.flush_interval = '1h'");
my $bindir = $old->config_data('--bindir');
chdir $new->basedir or die $!;
command_ok(
	[
		'pg_upgrade', '--no-sync', '--old-bindir', $bindir, '--new-bindir', $bindir, '--old-datadir', $old->data_dir,
		'--new-datadir', $new->data_dir, '--socketdir', $new->host, '--old-port', $old->port, '--new-port', $new->port
	],
	'pg_upgrade');
$new->start;
goes_on($new, 'postgres', 'pg_upgrade');
$new->stop;
done_testing();
