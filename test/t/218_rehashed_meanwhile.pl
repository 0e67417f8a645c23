
# A key that is rehashed is named by another number from then on.  Whoever ends it
# is told so only when no cache knows it by the one it had before.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use SecretsTest;
use Test::More;

my $build = build_module('pause');

my $node = new_node('main', "apikeys.flush_interval = '1h'");
$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = '" . secret_file($node) . "'");
write_secrets($node, 'new', 'old');
$node->start;
add_extension($node, 'postgres');
$node->safe_psql('postgres', "CREATE FUNCTION test_pause(text, text, boolean) RETURNS void LANGUAGE C AS '$build/pause'");

# Ends a key while the transaction that has rehashed it is stopped where others
# see it and no cache was told.
sub end_while_rehashed
{
	my ($test_name, $name, $place, $end, $after) = @_;
	my $flusher = $node->background_psql('postgres');
	my $ender = $node->background_psql('postgres', on_error_stop => 0);
	my $reader = $node->background_psql('postgres');

	unlink "$build/stopped", "$build/go_on";
	$node->safe_psql('postgres', sprintf q{
		SELECT apikey_import(hmac('%1$s-key', '%2$s', 'sha256'), '%1$s', 'x', hash_secret => 'old')}, $name, secret_of('old'));
	my $id = $node->safe_psql('postgres', 'SELECT ' . id_of($name));
	my $child = $node->safe_psql('postgres', "SELECT raw_key FROM apikey_derive('$name-key', '1 hour', '$name child')");
	my $codes = "SELECT apikey_check('$name-key') || ' ' || apikey_check('$child')";
	is($reader->query_safe($codes), 'VALID VALID', "$test_name: it is cached, with one derived from it") foreach 1, 2;

	$flusher->query_safe("BEGIN; SAVEPOINT s; SELECT apikey_flush(); RELEASE s; SELECT apikey_flush(), test_pause('$build/stopped', '$build/go_on', $place)");
	$flusher->query_until(qr/commits/, "\\echo commits\nCOMMIT;\n");
	wait_until("$test_name: the commit is stopped", sub { -e "$build/stopped" });
	is($node->safe_psql('postgres', "SELECT hash_secret FROM apikeys_data.key WHERE id = '$id'"), 'new', '... and visible');

	$ender->query_safe("SET lock_timeout = '1s'");
	my ($state) = $ender->query("SELECT $end('$id');\n\\echo :SQLSTATE") =~ /(\w{5})\s*$/;
	is("$state: " . $reader->query_safe($codes), '55P03: VALID VALID', "$test_name: nobody is told that it has ended");
	append_to_file("$build/go_on", '');
	$flusher->query_safe('SELECT 1');
	$ender->query("SELECT $end('$id')");
	is($reader->query_safe($codes), $after, "$test_name: told, it has");
	$_->quit foreach $flusher, $ender, $reader;
}

end_while_rehashed('counted', 'a', 'true', 'apikey_revoke', 'REVOKED REVOKED');
end_while_rehashed('counted, deleted', 'b', 'true', 'apikey_delete', 'NOT_FOUND NOT_FOUND');

# Where caches go by messages alone.
$node->append_conf('postgresql.conf', 'apikeys.cache_memory = 0');
$node->restart;
end_while_rehashed('messages', 'c', 'NULL', 'apikey_revoke', 'REVOKED REVOKED');

$node->stop;
done_testing();
