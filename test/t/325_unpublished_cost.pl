
# A transaction that others see, and that has not published yet what it has spent:
# who reads the ledger meanwhile counts it once, and so does everybody after that.

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
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('key', 'sha256'), 'key', '...', budget_id => apikey_budget_create('b', 1000))});

my $remaining = q{SELECT budget_remaining FROM apikey_verify('key')};
my $left = 1000;

# What a transaction does, and what it leaves of the budget.
sub try_spending
{
	my ($what, $statement, $spent) = @_;
	my ($stopped, $go_on) = map { "$build/$_ $what" } qw(stopped go_on);

	$left -= $spent;
	$node->restart;				# nobody has read the ledger
	my $spender = $node->background_psql('postgres');
	my $reader = $node->background_psql('postgres');
	$spender->query_until(qr/sent/, sprintf "\\echo sent\nSELECT %s, test_pause('%s', '%s', false);\n", $statement, $stopped, $go_on);
	wait_until('the commit is stopped', sub { -e $stopped });
	is($reader->query_safe($remaining), $left, "$what: who reads the ledger");
	is($node->safe_psql('postgres', $remaining), $left, "$what: who comes after him");
	append_to_file($go_on, '');
	$spender->query_safe('SELECT 1');
	is($reader->query_safe($remaining), $left, "$what: it is published, and he asks again");
	is($node->safe_psql('postgres', $remaining), $left, "$what: somebody else does");
	$_->quit foreach $spender, $reader;
}

try_spending('a cost', sprintf(q{apikey_record_usage(%s, cost => 5, request_id => 'r')}, id_of('key')), 5);
try_spending('one more', sprintf(q{apikey_record_usage(%s, cost => 7)}, id_of('key')), 7);
try_spending('a void', sprintf(q{apikey_void_usage(%s, 'r')}, id_of('key')), -5);
is_sound($node, 'postgres');

done_testing();
