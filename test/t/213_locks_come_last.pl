
# Who waits for a lock of a transaction that revokes a key goes on only when no
# cache answers from before the commit.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $build = build_module('pause');

my $node = start_node('main', "apikeys.flush_interval = '1h'", 'max_prepared_transactions = 2',
	"shared_preload_libraries = '$build/pause, apikeys'");
$node->safe_psql('postgres', "CREATE FUNCTION test_pause(text, text, boolean) RETURNS void LANGUAGE C AS '$build/pause'");
add_keys($node, 'postgres', 'key');
my $key = $node->safe_psql('postgres', 'SELECT ' . id_of('key'));

my $reader = $node->background_psql('postgres');
is($reader->query_safe("SELECT apikey_check('key-key')"), 'VALID', 'it is cached');

my $writer = $node->background_psql('postgres');
my $waiter = $node->background_psql('postgres', on_error_stop => 0);
$writer->query_safe("BEGIN; SELECT apikey_revoke('$key'), test_pause('$build/stopped', '$build/go_on', true)");
$waiter->query_safe(q{SET lock_timeout = '3s'; BEGIN});
$waiter->query_until(qr/sent/, "\\echo sent\nLOCK TABLE apikeys_data.key;\n\\echo :LAST_ERROR_SQLSTATE\n");
wait_for($node, 'postgres', 'SELECT count(*) > 0 FROM pg_locks WHERE NOT granted', 'somebody waits for its lock');
$writer->query_until(qr/commits/, "\\echo commits\nCOMMIT;\n");
wait_until('the commit is stopped', sub { -e "$build/stopped" });
like($waiter->query('ROLLBACK'), qr/55P03/, 'its locks are held');
is($node->safe_psql('postgres', "SELECT status FROM apikey_get('$key')"), 'revoked', '... though it is visible');

append_to_file("$build/go_on", '');
$writer->query_safe('SELECT 1');
is($reader->query_safe("SELECT apikey_check('key-key')"), 'REVOKED', 'acknowledged: the reader');
is($node->safe_psql('postgres', "SELECT apikey_check('key-key')"), 'REVOKED', 'acknowledged: a new session');
$_->quit foreach $writer, $waiter;

# COMMIT PREPARED releases them before it can tell, so until then nobody believes a
# cache: of whoever has waited he may have heard of the commit.
add_keys($node, 'postgres', 'waited', 'ended', 'other');
my $data = $node->data_dir;

# What a new session says, and how it got there.
sub fresh
{
	my ($name) = @_;
	my $misses = stats($node, 'cache_misses');
	my $answer = $node->safe_psql('postgres', "SELECT apikey_check('$name-key')");

	return $answer . (stats($node, 'cache_misses') > $misses ? ', read' : ', shared');
}

# Prepares a transaction, and commits it in a session that is stopped then.
sub stop
{
	my ($name, $sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	unlink "$data/stopped", "$data/go_on";
	$node->safe_psql('postgres', "BEGIN; $sql; PREPARE TRANSACTION 'stops'");
	$session->{pid} = $session->query_safe('SELECT pg_backend_pid()');
	$session->{commit} = sub {
		$session->query_until(qr/commits/, "\\echo commits\nCOMMIT PREPARED 'stops';\n");
		wait_until("$name: COMMIT PREPARED is stopped", sub { -e "$data/stopped" });
	};
	return $session;
}

sub go_on
{
	my ($session) = @_;

	append_to_file("$data/go_on", '');
	$session->query_safe('SELECT 1');
	$session->quit;
}

$reader->query_safe("SELECT apikey_check('$_-key')") foreach 'waited', 'ended', 'other';
is(fresh($_), 'VALID, shared', "prepared: $_, before") foreach 'waited', 'ended', 'other';
my $revoke = 'SELECT apikey_revoke(%s)';
$waiter = $node->background_psql('postgres');
my $session = stop('who waits', sprintf $revoke, id_of('waited'));
is(answer_after($node, $waiter, q{SELECT apikey_revoke_raw('waited-key') IS NOT NULL}, $session->{commit}), 't',
	'prepared: who has waited hears that it is revoked');
is($reader->query_safe("SELECT apikey_check('waited-key')"), 'REVOKED', '... the reader');
is(fresh('waited'), 'REVOKED, read', '... a new session');
go_on($session);
is(fresh('waited'), 'REVOKED, read', '... acknowledged');
is(fresh('waited'), 'REVOKED, shared', '... and shared again');
is(fresh('other'), 'VALID, shared', '... another key');

$session = stop('something else', 'CREATE TABLE something ()');
$session->{commit}->();
is(fresh('other'), 'VALID, shared', 'prepared, of something else: caches are believed');
go_on($session);

$session = stop('who ends', sprintf $revoke, id_of('ended'));
$session->{commit}->();
is(fresh('other'), 'VALID, read', 'prepared, of keys: no cache is believed');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pid}, 60000)");
is($reader->query_safe("SELECT apikey_check('ended-key')"), 'REVOKED', 'its session was ended: the reader');
is(fresh('ended'), 'REVOKED, shared', '... a new session');
is(fresh('other'), 'VALID, read', '... and everything is read again');
is(fresh('other'), 'VALID, shared', '... once');
$_->quit foreach $reader, $waiter;

done_testing();
