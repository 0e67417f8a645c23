
# COMMIT PREPARED may fail when the transaction has committed, as by a hook of
# somebody else: no cache answers from before it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $build = build_module('pause');

my $node = start_node('main', 'max_prepared_transactions = 4', "shared_preload_libraries = '$build/pause, apikeys'");
add_keys($node, 'postgres', 'key');

my $reader = $node->background_psql('postgres');
is($reader->query_safe("SELECT apikey_check('key-key')"), 'VALID', 'it is cached');
$node->safe_psql('postgres', sprintf q{BEGIN; SELECT apikey_revoke(%s); PREPARE TRANSACTION 'fails'}, id_of('key'));
my ($ret, $out, $err) = $node->psql('postgres', q{COMMIT PREPARED 'fails'});
like($err, qr/test_pause: committed/, 'COMMIT PREPARED raises an error');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0', '... and has committed');
is($reader->query_safe("SELECT apikey_check('key-key')"), 'REVOKED', 'who has verified the key');
is($node->safe_psql('postgres', "SELECT apikey_check('key-key')"), 'REVOKED', 'a new session');
$reader->quit;

done_testing();
