
# A subscriber that uses what it gets, caches warm: each change of a key, a plan or
# a budget, and what others have spent of it, counts from when it is applied.  It
# may subscribe to all tables: what it has used itself is in nobody's way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use LogicalTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @settings = ("apikeys.last_used_throttle = 0", "apikeys.flush_interval = '1h'", "apikeys.expiry_notice = '2 days'");
my ($source, $target) = map { new_server($_, @settings, 'max_prepared_transactions = 4') } 1, 2;

# From before the first copy.
$source->safe_psql('postgres', q{
	SELECT apikey_plan_set('team', permissions => '{"allowed_models": ["a"]}');
	SELECT apikey_import(digest('key-key', 'sha256'), 'key', '...', plan => 'team',
		budget_id => apikey_budget_create('budget', 10, warn_at => '{0.5}'), expires_at => now() + interval '1 day');
	SELECT apikey_record_usage(id, cost => 1), apikey_record_usage(id, cost => 1, request_id => 'first') FROM apikeys.info;
	SELECT apikey_flush();
	SELECT apikey_record_usage(id, cost => 1) FROM apikeys.info});
publish($source, 1, 'all');
subscribe($target, $source, 'apikeys_all');

my $reader = $target->background_psql('postgres');

# What a session of the target says that has the key in its cache.
sub answers
{
	my ($expected, $test, $more) = @_;
	my $query = sprintf q{SELECT code, budget_remaining FROM apikey_verify('key-key', 'a'%s)}, $more // '';

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($reader->query_safe($query), $expected, "the target, when $test");
}

# Does something on the source, and returns once it is applied.
sub on_source
{
	my ($sql) = @_;
	my $result = $source->safe_psql('postgres', $sql);

	wait_for_apply($target, $source);
	return $result;
}

my $id = id_of('key');
my $budget = '(SELECT id FROM apikeys.budget_info)';

answers('VALID|7', 'all is copied') for 1 .. 2;

# Costs by entry, of savepoints that are rolled back, taken back, rolled up.
on_source("SELECT apikey_record_usage($id, cost => 2)");
answers('VALID|5', 'the source has spent');
$target->safe_psql('postgres', "SELECT apikey_record_usage($id, cost => 1)");
answers('VALID|4', 'the target has spent');
on_source("BEGIN; SELECT apikey_record_usage($id, cost => 0.5); SAVEPOINT s; SELECT apikey_record_usage($id, cost => 0.25); ROLLBACK TO s; COMMIT");
answers('VALID|3.5', 'half of it was rolled back');
on_source("SELECT apikey_void_usage($id, 'first')");
answers('VALID|4.5', 'a request is taken back');
on_source('SELECT apikey_flush()');
answers('VALID|4.5', 'the source has rolled up');
on_source("SELECT apikey_record_usage($id, cost => 4.5)");
answers('BUDGET_EXCEEDED|0', 'the source has spent the rest');
on_source("SELECT id FROM apikey_budget_add($budget, 5)");
answers('VALID|5.0', 'more is added');
on_source(qq(SELECT id FROM apikey_budget_update($budget, '{"max_cost": 4}')));
answers('BUDGET_EXCEEDED|0', 'the budget is lowered');
on_source(qq(SELECT id FROM apikey_budget_update($budget, '{"max_cost": 14}')));
answers('VALID|9.0', 'the budget is raised');

# Plans and keys.
on_source(q{SELECT apikey_plan_set('team', permissions => '{"allowed_models": ["b"]}')});
answers('INSUFFICIENT_PERMISSIONS|', 'the plan has changed');
on_source(q{SELECT apikey_plan_set('team', permissions => '{"allowed_models": ["a", "b"]}')});
answers('VALID|9.0', 'the plan has changed back');
on_source(qq(SELECT id FROM apikey_update($id, '{"enabled": false}')));
answers('DISABLED|', 'the key is disabled');
on_source(qq(SELECT id FROM apikey_update($id, '{"enabled": true}')));
answers('VALID|9.0', 'the key is enabled');

# A roll-up of more budgets than a transaction names in shared memory at first.
on_source(q{
	CREATE TABLE many AS
	SELECT n, (apikey_generate('n' || n, budget_id => apikey_budget_create('n' || n, 100))).id FROM generate_series(1, 300) n});
$target->safe_psql('postgres', q{SELECT count(apikey_import(digest(gen_random_uuid()::text, 'sha256'), 'x', '...')) FROM generate_series(1, 0)});
my $sums = q{
	SELECT count(*), sum(v.budget_remaining) FROM apikeys_data.budget b
	CROSS JOIN LATERAL apikey_verify('key-key', 'a', budget_id => b.id) v WHERE b.name ~ '^n'};
on_source('SELECT apikey_record_usage(id, cost => 1) FROM many');
is($reader->query_safe($sums), '300|2700.0', 'the least of both budgets is told') for 1 .. 2;
on_source(qq(SELECT id FROM apikey_budget_update((SELECT id FROM apikeys.budget_info WHERE name = 'budget'), '{"max_cost": 10000}')));
is($reader->query_safe($sums), '300|29700', 'many budgets have spent') for 1 .. 2;
on_source('SELECT apikey_record_usage(id, cost => 1) FROM many');
is($reader->query_safe($sums), '300|29400', 'many budgets have spent again, in one transaction');
on_source('SELECT apikey_flush()');
is($reader->query_safe($sums), '300|29400', 'many budgets are rolled up');

# The sum of what was spent may be more than what one cost may be.
on_source(q{
	SELECT apikey_import(digest('much-key', 'sha256'), 'much', '...', budget_id => apikey_budget_create('much', 999999999999999999))});
my $much = q{SELECT code, budget_remaining FROM apikey_verify('much-key')};
is($reader->query_safe($much), 'VALID|999999999999999999', 'a large budget') for 1 .. 2;
on_source("SELECT apikey_record_usage(${\id_of('much')}, cost => 600000000000000000)") for 1 .. 2;
is($reader->query_safe($much), 'BUDGET_EXCEEDED|0', 'a large budget is spent') for 1 .. 2;
on_source('SELECT apikey_flush()');
is($reader->query_safe($much), 'BUDGET_EXCEEDED|0', 'a large budget is rolled up') for 1 .. 2;
is($target->safe_psql('postgres', q{SELECT spent FROM apikeys.budget_info WHERE name = 'much'}), '1200000000000000000', '... and its sum told');

# What the target has used is in nobody's way, nor are its notices.
$reader->query_safe(q{SELECT count(*) FROM apikey_verify('key-key', 'a')});
$target->safe_psql('postgres', q{SELECT apikey_flush(); SELECT apikey_flush()});
$source->safe_psql('postgres', q{SELECT count(*) FROM apikey_verify('key-key', 'a')});
on_source('SELECT apikey_flush(); SELECT apikey_flush()');
is($target->safe_psql('postgres', "SELECT node, last_used_at IS NOT NULL FROM apikeys_data.usage WHERE key_id = $id ORDER BY node"),
	"1|t\n2|t", 'both have used it');
is($target->safe_psql('postgres', q{SELECT id >> 48, count(*) FROM apikeys_data.event WHERE action = 'expiring' GROUP BY 1 ORDER BY 1}),
	"1|1\n2|1", 'each has given notice');

# Revocation, and deletion, also in two phases.
on_source("SELECT apikey_revoke($id)");
answers('REVOKED|', 'the key is revoked');
on_source(qq{BEGIN; SELECT apikey_delete(id) FROM many; PREPARE TRANSACTION 'deletion'});
on_source(q{COMMIT PREPARED 'deletion'});
is($target->safe_psql('postgres', q{SELECT count(*) FROM apikeys_data.key WHERE name ~ '^n'}), '0', 'keys are deleted');
on_source("SELECT apikey_delete($id)");
answers('NOT_FOUND|', 'the key is deleted');
$target->safe_psql('postgres', q{SELECT apikey_cleanup_expired(); SELECT apikey_flush()});

sub refused
{
	my ($wrong) = @_;
	my ($ret, $out, $err) = $target->psql('postgres', $wrong, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	like($err, qr/ERROR:  (?:22023|55P02)/, "refused: $wrong");
	return;
}

# What a server has recorded that is lost is rolled up by others, and their own use is
# not taken for its.
add_keys($source, 'postgres', 'last');
on_source('SELECT apikey_record_usage(' . id_of('last') . ', 5) FROM generate_series(1, 3)');
$reader->quit;
is_sound($_, 'postgres', $_->name) foreach $source, $target;
is(count_in_log($target, qr/ERROR/), 0, 'nothing stopped the replication');
# The number of a node is the server's, and no session's.
refused('SET apikeys.node = 1');
$target->safe_psql('postgres', 'DROP SUBSCRIPTION node2_from_node1');
$source->stop('immediate');
is(verify($target, 'postgres', 'last'), 'VALID', 'the target goes on alone');
is($target->safe_psql('postgres', 'SELECT apikey_flush_node(1), apikey_flush_node(1)'), '3|0', 'it rolls up what the source has recorded');
my $last = 'SELECT node, total_requests, total_tokens, last_used_at IS NULL FROM apikeys_data.usage WHERE key_id = ' . id_of('last') . ' ORDER BY node';
is($target->safe_psql('postgres', $last), '1|3|15|t', '... as the use of the source');
$target->safe_psql('postgres', 'SELECT apikey_record_usage(' . id_of('last') . ', 1); SELECT apikey_flush()');
is($target->safe_psql('postgres', $last), "1|3|15|t\n2|1|1|f", 'and its own as its own');
refused($_) foreach 'SELECT apikey_flush_node(2)', 'SELECT apikey_flush_node(-1)', 'SELECT apikey_flush_node(32768)',
	'SELECT apikey_flush_node(NULL)';
is_sound($target, 'postgres', 'alone');
$target->stop;
done_testing();
