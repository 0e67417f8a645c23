
# A key is deleted while it is used: until nobody takes it from a cache any more,
# its limits stay as they were.

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
my $reader = $node->background_psql('postgres');
my $writer = $node->background_psql('postgres');

# Each ends a key in its way; false: the commit stops as soon as it is visible.
foreach my $case (
	[ 'deleted', 'SELECT apikey_delete(KEY)', undef ],
	[ 'deleted, as soon as it is visible', 'SELECT apikey_delete(KEY)', 'false' ],
	[ 'cleaned up', 'UPDATE apikeys_data.key SET expires_at = now() WHERE id = KEY; SELECT apikey_cleanup_expired()', undef ])
{
	my ($what, $end, $place) = @$case;

	$node->safe_psql('postgres', q{SELECT apikey_import(digest('key-key', 'sha256'), 'key', 'x', rate_limits => '{"requests_per_day": 2}')});
	my $key = $node->safe_psql('postgres', 'SELECT ' . id_of('key'));
	my $ask = "SELECT apikey_check('key-key')";

	is(join(' ', map { $reader->query_safe($ask) } 1 .. 3), 'VALID VALID RATE_LIMITED', "$what: its limit is reached");
	unlink "$build/stopped", "$build/go_on";
	$end =~ s/KEY/'$key'/g;
	$writer->query_safe(sprintf "BEGIN; $end; SELECT test_pause('$build/stopped', '$build/go_on', %s)", $place // 'NULL');
	$writer->query_until(qr/commits/, "\\echo commits\nCOMMIT;\n");
	wait_until("$what: the commit is stopped", sub { -e "$build/stopped" });
	is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.key'), 0, "$what: it is visible");
	is($reader->query_safe($ask), 'RATE_LIMITED', "$what: who has it in a cache");
	append_to_file("$build/go_on", '');
	$writer->query_safe('SELECT 1');
	is($reader->query_safe($ask), 'NOT_FOUND', "$what: acknowledged");
	is(stats($node, 'entries_used'), 0, "$what: its limits are gone");
}

is_sound($node, 'postgres', 'in the end');
$_->quit foreach $reader, $writer;
$node->stop;
done_testing();
