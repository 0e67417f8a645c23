
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

my $node = start_node('main', "apikeys.flush_interval = '1h'");
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
$_->quit foreach $reader, $writer, $waiter;

done_testing();
