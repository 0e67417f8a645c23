
# What is spent of budgets, in shared memory: a session that verifies seldom reads
# no table, however much others have spent meanwhile and of whatever; and what it
# is told is what is committed, also in two phases.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '1h'", 'max_prepared_transactions = 4');

# A budget with a key of the same name.
sub add_budget
{
	my ($name, $max_cost, $more) = @_;

	$node->safe_psql('postgres', sprintf q{
		SELECT apikey_import(digest('%1$s-key', 'sha256'), '%1$s', '...',
			budget_id => apikey_budget_create('%1$s', %2$s%3$s))}, $name, $max_cost, $more // '');
}

sub spend
{
	my ($name, $cost, $n) = @_;

	return sprintf 'SELECT count(apikey_record_usage(%s, cost => %s)::text) FROM generate_series(1, %d)', id_of($name), $cost, $n // 1;
}

sub remaining
{
	my ($name) = @_;

	return "SELECT budget_remaining FROM apikey_verify('$name-key')";
}

$node->safe_psql('postgres', q{
	CREATE FUNCTION buffers(query text) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
	  plan jsonb;
	BEGIN
	  EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT json) ' || query INTO plan;
	  RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::bigint + (plan #>> '{0,Plan,Shared Read Blocks}')::bigint;
	END $$});
add_budget('ours', 1000000);
add_budget('theirs', 1000000);

my $reader = $node->background_psql('postgres');

# Reads no table; a minute may just be over, after which the ledger is read again.
sub reads_nothing
{
	my ($test) = @_;
	my $query = q{SELECT buffers('SELECT * FROM apikey_verify(''ours-key'')')};

	ok($reader->query_safe($query) == 0 || $reader->query_safe($query) == 0, "$test: no table is read");
}

is($reader->query_safe(remaining('ours')), '1000000', 'nothing is spent');
$reader->query_safe(q{SELECT buffers('SELECT 1')}) for 1 .. 2;
reads_nothing('quiet');

# Each transaction publishes a record.
my $rounds = 5000;
foreach my $name ('theirs', 'ours')
{
	my $load = start_load($node, 'postgres', spend($name, 0.25) . ';', '--client', 4, '--transactions', $rounds / 4);

	ok(end_load($load), "$rounds costs of $name");
	reads_nothing("$rounds costs of $name");
	is($reader->query_safe(remaining('ours')), $name eq 'ours' ? '998750.00' : '1000000', "$rounds costs of $name: the sum is right");
}

# A session that is new reads the budget, and not its sum anew for everybody.
is($node->safe_psql('postgres', remaining('ours')), '998750.00', 'a new session knows it, too');
reads_nothing('after a new session');

# A transaction of another database, that has spent something, keeps no sum from being shared.
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE template0');
add_extension($node, 'other');
$node->safe_psql('other', q{SELECT apikey_import(digest('ours-key', 'sha256'), 'ours', '...', budget_id => apikey_budget_create('ours', 10))});
my $other = $node->background_psql('other');
$other->query_safe('BEGIN; ' . spend('ours', 1));
$node->safe_psql('postgres', q{UPDATE apikeys_data.budget SET max_cost = max_cost WHERE name = 'ours'});
is($reader->query_safe(remaining('ours')), '998750.00', 'read while another database spends');
reads_nothing('while another database spends');
$other->query_safe('COMMIT');
$other->quit;

# In two phases: what is committed counts from then on, for old sessions and new.
$node->safe_psql('postgres', "BEGIN; ${\spend('ours', 100)}; PREPARE TRANSACTION 'a'");
foreach my $end ('COMMIT', 'ROLLBACK')
{
	my $before = $reader->query_safe(remaining('ours'));

	is($node->safe_psql('postgres', remaining('ours')), $before, "before $end PREPARED");
	$node->safe_psql('postgres', spend('ours', 10));
	is($reader->query_safe(remaining('ours')), sprintf('%.2f', $before - 10), "before $end PREPARED, others spend");
	$node->safe_psql('postgres', "$end PREPARED 'a'");
	my $after = sprintf('%.2f', $before - 10 - ($end eq 'COMMIT' ? 100 : 0));
	is($node->safe_psql('postgres', remaining('ours')), $after, "$end PREPARED: a new session");
	is($reader->query_safe(remaining('ours')), $after, "$end PREPARED: an old session");
	reads_nothing("$end PREPARED");
	$node->safe_psql('postgres', "BEGIN; ${\spend('ours', 1000)}; PREPARE TRANSACTION 'a'") if $end eq 'COMMIT';
}

# Prepared before a restart
my $before = $reader->query_safe(remaining('ours'));
$node->safe_psql('postgres', "BEGIN; ${\spend('ours', 7)}; PREPARE TRANSACTION 'b'");
$reader->quit;
$node->restart;
$reader = $node->background_psql('postgres');
is($reader->query_safe(remaining('ours')), $before, 'restarted, prepared');
is($node->safe_psql('postgres', remaining('ours')), $before, 'restarted, prepared: twice');
$node->safe_psql('postgres', "COMMIT PREPARED 'b'");
is($reader->query_safe(remaining('ours')), sprintf('%.2f', $before - 7), 'restarted, and committed');
is($node->safe_psql('postgres', remaining('ours')), sprintf('%.2f', $before - 7), 'restarted, and committed: a new session');

# What is rolled back in part
$before = $reader->query_safe(remaining('ours'));
$node->safe_psql('postgres', "BEGIN; ${\spend('ours', 1)}; SAVEPOINT s; ${\spend('ours', 2)}; ROLLBACK TO s; COMMIT");
is($reader->query_safe(remaining('ours')), sprintf('%.2f', $before - 1), 'a savepoint that is rolled back');
$node->safe_psql('postgres', "BEGIN; ${\spend('ours', 2)}; ROLLBACK");
is($reader->query_safe(remaining('ours')), sprintf('%.2f', $before - 1), 'a transaction that is rolled back');

# What was recorded is taken back.
$node->safe_psql('postgres', 'SELECT apikey_record_usage(' . id_of('ours') . ", cost => 0.000000000000000001, request_id => 'r')");
is($reader->query_safe(remaining('ours')), sprintf('%d.999999999999999999', $before - 2), '18 decimals');
$node->safe_psql('postgres', 'SELECT apikey_void_usage(' . id_of('ours') . ", 'r')");
is($reader->query_safe('SELECT ' . ($before - 1) . "::numeric = (${\remaining('ours')})"), 't', 'voided');

# More budgets at once than a transaction publishes
$node->safe_psql('postgres', q{
	SELECT count(apikey_import(digest('many ' || n || '-key', 'sha256'), 'many ' || n, '...', budget_id => apikey_budget_create('many', 10)))
	FROM generate_series(1, 100) n});
my $all = q{SELECT sum(v.budget_remaining) FROM generate_series(1, 100) n, LATERAL apikey_verify('many ' || n || '-key') v};
is($reader->query_safe($all), 1000, 'many budgets');
$node->safe_psql('postgres', q{SELECT count(apikey_record_usage(id, cost => 1)::text) FROM apikeys_data.key WHERE name LIKE 'many %'});
is($reader->query_safe($all), 900, 'many budgets: spent in one transaction');
is($node->safe_psql('postgres', $all), 900, 'many budgets: a new session');

# More budgets than there is space for, of those whose hash is the same: the one that was read
# longest ago makes way.
$node->safe_psql('postgres', q{
	INSERT INTO apikeys_data.budget (id, name, max_cost)
	SELECT id, 'crowd', 10 FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 100000)) u WHERE uuid_hash(id) & 1023 = 0 LIMIT 10;
	SELECT count(apikey_import(digest('crowd ' || n || '-key', 'sha256'), 'crowd ' || n, '...', budget_id => id))
	FROM (SELECT id, row_number() OVER () AS n FROM apikeys_data.budget WHERE name = 'crowd') b});
my $crowd = q{SELECT string_agg(n::text, ' ' ORDER BY n) FROM generate_series(%d, %d) n WHERE buffers(format('SELECT * FROM apikey_verify(''crowd %%s-key'')', n)) > 0};
is($reader->query_safe(sprintf $crowd, 1, 10), '1 2 3 4 5 6 7 8 9 10', 'ten budgets are read');
is($reader->query_safe(sprintf $crowd, 3, 10), '', 'eight of them stay in memory');
is($reader->query_safe(sprintf $crowd, 1, 2), '1 2', 'two do not');

# Sums that are too large for shared memory
add_budget('large', '999999999999999999');
is($reader->query_safe(remaining('large')), '999999999999999999', 'large');
$node->safe_psql('postgres', spend('large', '900000000000000000', 20));
is($reader->query_safe("SELECT code FROM apikey_verify('large-key')"), 'BUDGET_EXCEEDED', 'large: the sum of many');
$node->safe_psql('postgres', "SELECT apikey_budget_update(budget_id, '{\"metadata\": {\"a\": 1}}') FROM apikeys_data.key WHERE name = 'large'");
is($reader->query_safe("SELECT code FROM apikey_verify('large-key')"), 'BUDGET_EXCEEDED', 'large: again');
is($node->safe_psql('postgres', q{SELECT spent FROM apikeys.budget_info WHERE name = 'large'}), '18000000000000000000', 'large: in the ledger');

# Periods: another length has another sum, and each has its own.
add_budget('periods', 100, ", reset_every => '1 day'");
is($reader->query_safe(remaining('periods')), '100', 'a day');
$node->safe_psql('postgres', spend('periods', 30));
is($reader->query_safe(remaining('periods')), '70', 'a day: spent');
$node->safe_psql('postgres', q{
	INSERT INTO apikeys_data.budget_period (budget_id, started_at, spent)
	SELECT budget_id, now() - interval '3 days', 50 FROM apikeys_data.key WHERE name = 'periods'});
my $change = q{SELECT apikey_budget_update(budget_id, '%s') FROM apikeys_data.key WHERE name = 'periods'};
$node->safe_psql('postgres', sprintf $change, '{"reset_every": null}');
is($reader->query_safe(remaining('periods')), '20', 'for ever');
$node->safe_psql('postgres', spend('periods', 5));
is($reader->query_safe(remaining('periods')), '15', 'for ever: spent');
$node->safe_psql('postgres', sprintf $change, '{"reset_every": "1 day"}');
is($reader->query_safe(remaining('periods')), '65', 'a day again');
is($node->safe_psql('postgres', remaining('periods')), '65', 'a day again: a new session');

# The extension is dropped and made again, with what was dumped.
$node->safe_psql('postgres', 'CREATE TABLE dump AS SELECT * FROM apikeys_data.budget; CREATE TABLE keys AS SELECT name, budget_id FROM apikeys_data.key');
$reader->quit;
$node->safe_psql('postgres', q{
	DROP EXTENSION apikeys;
	CREATE EXTENSION apikeys;
	INSERT INTO apikeys_data.budget SELECT * FROM dump;
	SELECT count(apikey_import(digest(name || '-key', 'sha256'), name, '...', budget_id => budget_id)) FROM keys});
is($node->safe_psql('postgres', remaining('theirs')), '1000000', 'dropped and made again: nothing is spent');

$node->stop;
done_testing();
