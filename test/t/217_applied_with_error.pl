
# When a worker of logical replication has committed a prepared transaction, somebody
# else's callback may get its messages before us, or fail, or the extension may be
# another one: no cache answers from before the commit.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $build = build_module('pause');

my $node = new_node('main', 'wal_level = logical', 'max_wal_senders = 4', 'max_prepared_transactions = 4',
	"shared_preload_libraries = 'apikeys, $build/pause'");
$node->start;
foreach my $dbname ('source', 'target')
{
	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	add_extension($node, $dbname);
}
add_keys($node, 'source', 'taken', 'failed', 'other');

# Within one server the slot cannot be made by CREATE SUBSCRIPTION.
$node->safe_psql('source', 'CREATE PUBLICATION keys FOR TABLE apikeys_data.key');
$node->safe_psql('source', q{SELECT pg_create_logical_replication_slot('keys', 'pgoutput', false, true)});
$node->safe_psql('target', sprintf q{
	CREATE SUBSCRIPTION keys CONNECTION 'host=%s port=%s dbname=source' PUBLICATION keys
	WITH (create_slot = false, two_phase = true)}, $node->host, $node->port);
wait_for($node, 'target', q{
	SELECT (SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel) AND subtwophasestate = 'e'
	FROM pg_subscription}, 'prepared transactions are replicated');

my $reader = $node->background_psql('target');

# What a session that has verified the key says, and a new one.
sub answers
{
	my ($name) = @_;

	return $reader->query_safe("SELECT apikey_check('$name-key')") . ' ' . verify($node, 'target', $name);
}

sub prepare
{
	my ($name) = @_;

	$node->safe_psql('source', sprintf q{BEGIN; SELECT apikey_revoke(%s); PREPARE TRANSACTION 'p'}, id_of($name));
	$node->wait_for_catchup('keys');
	is(answers($_), 'VALID VALID', "$name: the key $_, before") foreach $name, 'other';
}

prepare('taken');
$node->safe_psql('source', q{COMMIT PREPARED 'p'});
$node->wait_for_catchup('keys');
is(answers('taken'), 'REVOKED REVOKED', 'somebody else has got the messages');

# A worker that has failed is started again after five seconds.
prepare('failed');
append_to_file($node->data_dir . '/fail', '');
$node->safe_psql('source', q{COMMIT PREPARED 'p'});
wait_until('the worker fails', sub { count_in_log($node, 'test_pause: applied') });
is(answers('failed'), 'REVOKED REVOKED', 'somebody else has failed');
$node->wait_for_catchup('keys');
is($node->safe_psql('target', 'SELECT count(*) FROM pg_prepared_xacts'), '0', '... and it was committed');
is(answers('other'), 'VALID VALID', 'another key');

# Many keys are changed by a message about a table, which the worker has to know when it
# is another one.
$reader->quit;
$node->safe_psql('target', 'SET client_min_messages = warning; DROP EXTENSION apikeys CASCADE');
add_extension($node, 'target');
$node->safe_psql('target', 'ALTER SUBSCRIPTION keys REFRESH PUBLICATION WITH (copy_data = false)');
$reader = $node->background_psql('target');
add_keys($node, 'source', 'many', map "many$_", 1 .. 100);
$node->safe_psql('source', q{
	BEGIN; UPDATE apikeys_data.key SET revoked_at = now() WHERE name LIKE 'many%'; PREPARE TRANSACTION 'p'});
$node->wait_for_catchup('keys');
is(answers('many'), 'VALID VALID', 'many keys of another extension, before');
$node->safe_psql('source', q{COMMIT PREPARED 'p'});
$node->wait_for_catchup('keys');
is(answers('many'), 'REVOKED REVOKED', 'many keys of another extension');

$reader->quit;
$node->safe_psql('target', 'DROP SUBSCRIPTION keys');
$node->stop;
done_testing();
