
# Changes from another server are applied with the rights of who owns the subscription, if
# it runs as its owner, as it does on PostgreSQL 15: a superuser needs none, and another
# role so many that doc/scale.md says to leave that.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use LogicalTest;
use PostgreSQL::Test::Utils;
use Test::More;

my ($source, $target) = map { new_server($_, "apikeys.notify_channel = 'changes'", "apikeys.expiry_notice = '2 days'") } 1, 2;
my $options = $target->pg_version >= 16 ? 'WITH (run_as_owner = true, password_required = false)' : '';

publish($source, 1, 'keys', 'usage');
$source->safe_psql('postgres', q{
	SELECT apikey_import(digest('key-key', 'sha256'), 'key', 'x', expires_at => now() + interval '1 day',
		budget_id => apikey_budget_create('budget', 10))});
$target->safe_psql('postgres', sprintf q{
	CREATE ROLE applier SUPERUSER LOGIN;
	SET ROLE applier;
	CREATE SUBSCRIPTION node2_from_node1 CONNECTION 'host=%s port=%s dbname=postgres' PUBLICATION apikeys_keys, apikeys_usage %s},
	$source->host, $source->port, $options);
wait_for($target, 'postgres', q{SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel}, 'the first copy is done');
$source->safe_psql('postgres', q{SELECT apikey_update(id, '{"name": "renamed"}') FROM apikeys.info});
wait_for_apply($target, $source);
is($target->safe_psql('postgres', 'SELECT name FROM apikeys.info'), 'renamed', 'a superuser who does not own the extension');

my $log = -s $target->logfile;
$target->safe_psql('postgres', 'ALTER SUBSCRIPTION node2_from_node1 DISABLE; ALTER ROLE applier NOSUPERUSER; ALTER SUBSCRIPTION node2_from_node1 ENABLE');
$source->safe_psql('postgres', q{
	SELECT apikey_record_usage(id, 3, 0.5, model => 'a', request_id => 'r') FROM apikeys.info;
	SELECT apikey_flush();
	SELECT apikey_plan_set('team', rate_limits => '{"requests_per_day": 9}');
	SELECT apikey_update(id, '{"plan": "team"}'), apikey_budget_add(budget_id, 5) FROM apikeys.info;
	SELECT apikey_revoke(id) FROM apikeys.info});
$target->wait_for_log(qr/permission denied for schema apikeys_data/, $log);
pass('another role lacks rights, which is logged');
is(verify($target, 'postgres', 'key'), 'VALID', '... and nothing is applied');

# With the rights that the page names, and no fewer of them, it goes on.
$target->safe_psql('postgres', q{
	GRANT USAGE ON SCHEMA apikeys_data TO applier;
	GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA apikeys_data TO applier});
$target->wait_for_log(qr/permission denied for function/, $log);
pass('the rights on the tables are not enough');
$target->safe_psql('postgres', 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA apikeys, apikeys_data TO applier');
wait_for_apply($target, $source);
is(verify($target, 'postgres', 'key'), 'REVOKED', 'with those on the functions all is applied');
is($target->safe_psql('postgres', 'SELECT total_tokens FROM apikeys.info'), 3, '... usage as well');
is_sound($source, 'postgres', 'source');
is( $target->safe_psql('postgres', q{
		SELECT DISTINCT level, regexp_replace(problem, '^(role applier) .*', '\1 may do too much') FROM apikeys.check()}),
	'warning|role applier may do too much', '... but apikeys.check() warns of these rights, and of nothing else');

$_->stop foreach $target, $source;
done_testing();
