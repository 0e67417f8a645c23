# Budgets when many verify and record at once, through crashes, in prepared
# transactions and on a standby: verify counts what has been recorded and
# committed before it, and the ledger is the truth.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ApikeysTest;

my $clients = 16;
my $max_cost = 5000;

my $node = new_node('main', 'max_prepared_transactions = 2',
	"apikeys.flush_interval = '200ms'");
$node->append_conf('postgresql.conf', "wal_level = replica\nmax_wal_senders = 4");
$node->start;
add_extension($node, 'postgres');

# A budget with a key of the same name.
sub add_budget
{
	my ($name, $max_cost) = @_;

	$node->safe_psql('postgres', qq{
		SELECT apikey_import(digest('$name-key', 'sha256'), '$name', '...',
			budget_id => apikey_budget_create('$name', $max_cost))});
}

sub spent
{
	my ($name) = @_;

	return $node->safe_psql('postgres',
		"SELECT spent FROM apikeys.budget_info WHERE name = '$name'");
}

sub spend
{
	my ($name, $cost) = @_;

	return 'SELECT apikey_record_usage(' . id_of($name) . ", cost => $cost)";
}

# Each client asks and, if it may, records one unit; what is said is written
# down with the times before and after, in microseconds.
$node->safe_psql('postgres', q{
	CREATE TABLE said (
		name text, valid boolean,
		asked_at bigint, answered_at bigint, recorded_at bigint);
	CREATE FUNCTION micros() RETURNS bigint LANGUAGE sql VOLATILE AS
		'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint'});

sub start_spending
{
	my ($name, $transactions) = @_;
	my $id = $node->safe_psql('postgres', 'SELECT ' . id_of($name));

	return start_load($node, 'postgres', qq{
		SELECT micros() AS asked_at \\gset
		SELECT valid::int AS valid FROM apikey_verify('$name-key') \\gset
		SELECT micros() AS answered_at \\gset
		\\if :valid
		SELECT apikey_record_usage('$id', cost => 1);
		INSERT INTO said VALUES ('$name', true, :asked_at, :answered_at, micros());
		\\else
		INSERT INTO said VALUES ('$name', false, :asked_at, :answered_at);
		\\endif
	}, '--client', $clients, '--jobs', 2, '--transactions', $transactions);
}

# What must hold in the end.  A client that a crash has cut off may have
# recorded a unit without writing that down.
sub check_books
{
	my ($test, $name, $crashed) = @_;
	my $spent = spent($name);
	my $said = $node->safe_psql('postgres',
		"SELECT count(*) FROM said WHERE name = '$name' AND valid");
	my $unsure = $crashed ? $clients : 0;

	cmp_ok($spent, '>=', $max_cost, "$test: it is spent");
	cmp_ok($spent, '<', $max_cost + $clients, "$test: each client is late by one unit at most");
	cmp_ok($said, '<=', $spent, "$test: what was acknowledged is counted");
	cmp_ok($said, '>=', $spent - $unsure, "$test: what is counted was allowed");

	is($node->safe_psql('postgres', "SELECT total_requests, total_cost FROM apikeys.info WHERE name = '$name'"),
		"$spent|$spent", "$test: the key's usage agrees");
	is(verify($node, 'postgres', $name), 'BUDGET_EXCEEDED', "$test: verify agrees");
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	is(spent($name), $spent, "$test: rolled up");
	is($node->safe_psql('postgres', qq{
			SELECT sum(p.spent) FROM apikeys_data.budget_period p
			JOIN apikeys_data.budget b ON b.id = p.budget_id WHERE b.name = '$name'}),
		$spent, "$test: the ledger agrees");

	is($node->safe_psql('postgres', qq{
			SELECT count(*) FROM said WHERE name = '$name' AND valid AND asked_at >
				(SELECT recorded_at FROM said WHERE name = '$name' AND valid
				 ORDER BY recorded_at OFFSET $max_cost - 1 LIMIT 1)}),
		0, "$test: nobody was let in once all was spent") unless $said < $max_cost;
	is($node->safe_psql('postgres', qq{
			SELECT count(*) FROM (
				SELECT min(answered_at) AS refused_at FROM said WHERE name = '$name' AND NOT valid) r
			WHERE (SELECT count(*) FROM said WHERE name = '$name' AND valid
				   AND answered_at <= r.refused_at) < $max_cost - $unsure}),
		0, "$test: nobody was refused before");
}

# All at once
add_budget('calm', $max_cost);
my $load = start_spending('calm', 400);
ok(end_load($load), 'calm: the clients are through');
is( stats($node, 'valid, budget_exceeded'),
	$node->safe_psql('postgres',
		'SELECT count(*) FILTER (WHERE valid), count(*) FILTER (WHERE NOT valid) FROM said'),
	'calm: every answer is in the statistics');
check_books('calm', 'calm', 0);

# Once for each fraction, whoever it was
$node->safe_psql('postgres', q{SELECT apikey_budget_update(id, '{"warn_at": [0.01, 0.2, 0.5, 0.9, 1]}') FROM apikeys_data.budget WHERE name = 'calm'});
is( $node->safe_psql('postgres', q{SELECT string_agg(details->>'fraction', ' ') FROM apikeys_data.event WHERE action = 'budget_warning'}),
	'', 'warnings: not by a change');
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('warn-key', 'sha256'), 'warn', '...',
		budget_id => apikey_budget_create('warn', 4000, warn_at => '{0.01, 0.2, 0.5, 0.9, 1}'))});
my $warn_id = $node->safe_psql('postgres', 'SELECT ' . id_of('warn'));
$load = start_load($node, 'postgres', "SELECT apikey_record_usage('$warn_id', cost => 1);",
	'--client', $clients, '--transactions', 250);
ok(end_load($load), 'warnings: the clients are through');
my $warned = q{SELECT string_agg(details->>'fraction', ' ' ORDER BY id) FROM apikeys_data.event WHERE action = 'budget_warning'};
ok($node->poll_query_until('postgres', "SELECT ($warned) = '0.01 0.2 0.5 0.9 1'"), 'warnings: each once, in order')
  or diag $node->safe_psql('postgres', $warned);
is( $node->safe_psql('postgres', q{
		SELECT count(*) FROM apikeys_data.event WHERE action = 'budget_warning'
		AND (details->>'spent')::numeric < (details->>'fraction')::numeric * 4000}),
	0, 'warnings: none too early');

# A process is killed in the middle.
add_budget('crash', $max_cost);
$load = start_spending('crash', 400);
my $victim;
wait_until('crash: there are sessions', sub {
	$victim = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' LIMIT 1");
});
$node->poll_query_until('postgres', "SELECT spent > 0 FROM apikeys.budget_info WHERE name = 'crash'")
  or die 'nothing is spent';
kill 'KILL', $victim;
end_load($load);
$node->stop('immediate', fail_ok => 1);
$node->start;
cmp_ok(spent('crash'), '<', $max_cost, 'crash: it came in the middle');
cmp_ok(
	$node->safe_psql('postgres', "SELECT count(*) FROM said WHERE name = 'crash' AND valid"),
	'<=', spent('crash'), 'crash: nothing acknowledged is lost');
$load = start_spending('crash', 400);
ok(end_load($load), 'crash: the clients are through');
check_books('crash', 'crash', 1);

# A tree: keys of three levels spend at once, some of that is taken back, and
# the team moves from one company to the other and back.  What is written down is
# so in the same transaction, so that it has to agree to the unit; through a crash.
$node->safe_psql('postgres', q{
	CREATE TABLE tree (name text, id uuid);
	INSERT INTO tree VALUES ('here', apikey_budget_create('here')), ('there', apikey_budget_create('there', NULL, '1 hour'));
	INSERT INTO tree SELECT 'team', apikey_budget_create('team', 1e9, '1 month', id, warn_at => '{0.0000001}') FROM tree WHERE name = 'here';
	INSERT INTO tree SELECT 'person', apikey_budget_create('person', parent_id => id) FROM tree WHERE name = 'team';
	SELECT apikey_import(digest('tree ' || name, 'sha256'), 'tree ' || name, '...', budget_id => id) FROM tree;
	CREATE TABLE tree_said (key text, n bigint, PRIMARY KEY (key, n));
	CREATE SEQUENCE tree_n});
my $tree_load = q{
	\set which random(1, 4)
	SELECT k.id, k.name AS key, nextval('tree_n') AS n FROM apikeys_data.key k WHERE k.name = 'tree ' || (ARRAY['here', 'there', 'team', 'person'])[:which] \gset
	BEGIN;
	SELECT apikey_record_usage(':id', cost => 1, request_id => ':n');
	INSERT INTO tree_said VALUES (':key', :n);
	COMMIT;
	\set takes_back random(0, 1)
	\if :takes_back
	BEGIN;
	SELECT apikey_void_usage(':id', ':n');
	DELETE FROM tree_said WHERE key = ':key' AND n = :n;
	COMMIT;
	\endif
};
my $move = q{
	\set to random(1, 2)
	SELECT apikey_budget_update((SELECT id FROM tree WHERE name = 'team'), jsonb_build_object('parent_id',
		(SELECT id FROM tree WHERE name = (ARRAY['here', 'there'])[:to])));
};

sub check_tree
{
	my ($test) = @_;
	my %said = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
		q{SELECT substr(name, 6), count(s.n) FROM apikeys_data.key LEFT JOIN tree_said s ON key = name WHERE name LIKE 'tree %' GROUP BY name});
	my $sum = $said{here} + $said{there} + $said{team} + $said{person};

	is(spent('person'), $said{person}, "$test: the lowest level");
	is(spent('team'), $said{person} + $said{team}, "$test: the one above");
	is(spent('here') + spent('there'), $sum, "$test: the topmost, wherever the team was");
	cmp_ok(spent('here'), '>=', $said{here}, "$test: each has its own");
	is( $node->safe_psql('postgres', q{SELECT sum(total_cost) FROM apikeys.info WHERE name LIKE 'tree %'}),
		$sum, "$test: the usage of the keys agrees");
	return $sum;
}

foreach my $crash (1, 0)
{
	my @loads = (
		start_load($node, 'postgres', $tree_load, '--client', 8, '--transactions', $crash ? 5000 : 150),
		start_load($node, 'postgres', $move, '--client', 2, '--transactions', $crash ? 5000 : 100));

	if ($crash)
	{
		$node->poll_query_until('postgres', 'SELECT count(*) > 200 FROM tree_said') or die 'nothing is spent';
		kill 'KILL', $node->safe_psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' LIMIT 1");
		end_load($_) foreach @loads;
		$node->stop('immediate', fail_ok => 1);
		$node->start;
		check_tree('tree, after a crash');
	}
	else
	{
		ok(end_load($_), 'tree: the clients are through') foreach @loads;
		my $sum = check_tree('tree');
		$node->safe_psql('postgres', 'SELECT apikey_flush()');
		is(check_tree('tree, rolled up'), $sum, 'tree: the same');
		is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry'), 0, 'tree: all is rolled up');
	}
}
is( $node->safe_psql('postgres', q{SELECT count(*) FROM apikeys_data.event WHERE action = 'budget_warning' AND details->>'name' = 'team'}),
	1, 'tree: one warning');

# A session that has read all levels sees what others spend on any of them.
my $reader = $node->background_psql('postgres');
$node->safe_psql('postgres', q{SELECT apikey_budget_update(id, jsonb_build_object('max_cost', spent + 2)) FROM apikeys.budget_info WHERE name IN ('here', 'team')});
$node->safe_psql('postgres', q{SELECT apikey_budget_update(id, jsonb_build_object('parent_id', (SELECT id FROM tree WHERE name = 'here'))) FROM tree WHERE name = 'team'});
is($reader->query_safe(q{SELECT code FROM apikey_verify('tree person')}), 'VALID', 'tree: read');
$node->safe_psql('postgres', spend('tree here', 2));
is($reader->query_safe(q{SELECT code, reason FROM apikey_verify('tree person')}), 'BUDGET_EXCEEDED|budget "here" is spent', 'tree: the topmost is spent');
is($reader->query_safe(q{SELECT code FROM apikey_verify('tree there')}), 'VALID', 'tree: the other is not');
$node->safe_psql('postgres', q{SELECT apikey_budget_update(id, jsonb_build_object('parent_id', (SELECT id FROM tree WHERE name = 'there'))) FROM tree WHERE name = 'team'});
is($reader->query_safe(q{SELECT code FROM apikey_verify('tree person')}), 'VALID', 'tree: moved to the other');
$node->safe_psql('postgres', spend('tree person', 2));
is($reader->query_safe(q{SELECT code, reason FROM apikey_verify('tree person')}), 'BUDGET_EXCEEDED|budget "team" is spent', 'tree: the one in the middle is spent');
$reader->quit;

# Sessions that read the budget while others are spending it, each unit of
# which must count once: when all but one is spent, and when that is, too.
add_budget('reading', 8 * 1000 + 1);
my @sessions = map { $node->background_psql('postgres') } 1 .. 20;
$load = start_load($node, 'postgres', spend('reading', 1) . ';',
	'--client', 8, '--transactions', 1000);
foreach my $reader (@sessions)
{
	my $before = spent('reading');
	$node->poll_query_until('postgres',
		"SELECT spent > $before OR spent = 8000 FROM apikeys.budget_info WHERE name = 'reading'");
	$reader->query_safe("SELECT code FROM apikey_verify('reading-key')");
}
ok(end_load($load), 'reading: the clients are through');
is( join(' ', map { $_->query_safe("SELECT code FROM apikey_verify('reading-key')") } @sessions),
	join(' ', ('VALID') x @sessions), 'reading: one unit is left');
$node->safe_psql('postgres', spend('reading', 1));
is( join(' ', map { $_->query_safe("SELECT code FROM apikey_verify('reading-key')") } @sessions),
	join(' ', ('BUDGET_EXCEEDED') x @sessions), 'reading: none is left');
$_->quit foreach @sessions;

# That a budget is not there is kept as well, until somebody makes it.
my $no_budget = '00000000-0000-0000-0000-000000000001';
my $make = "INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES ('$no_budget', 'made', 0)";
my $ask = "SELECT code FROM apikey_verify('nothing-key')";
my $asker = $node->background_psql('postgres');
my $maker = $node->background_psql('postgres');
$node->safe_psql('postgres', qq{
	SELECT apikey_import(digest('nothing-key', 'sha256'), 'nothing', '...');
	UPDATE apikeys_data.key SET budget_id = '$no_budget' WHERE name = 'nothing'});
$asker->query_safe(q{SET lock_timeout = '10s'});
is($asker->query_safe($ask), 'VALID', 'no budget: read');
$maker->query_safe('BEGIN; LOCK TABLE apikeys_data.budget');
is($asker->query_safe($ask), 'VALID', 'no budget: from memory');
$maker->query_safe($make);
is($maker->query_safe($ask), 'BUDGET_EXCEEDED', 'no budget: one of its own');
is($asker->query_safe($ask), 'VALID', 'no budget: one that is not committed');
$maker->query_safe('ROLLBACK');
is($maker->query_safe($ask), 'VALID', 'no budget: one that is rolled back');
$maker->query_safe("BEGIN; SAVEPOINT here; $make; ROLLBACK TO here");
is($maker->query_safe($ask), 'VALID', 'no budget: one that is rolled back with a savepoint');
$maker->query_safe("COMMIT; BEGIN; $make; COMMIT");
is($asker->query_safe($ask), 'BUDGET_EXCEEDED', 'no budget: now there is one');
is($maker->query_safe($ask), 'BUDGET_EXCEEDED', 'no budget: for everybody');
$maker->query_safe("BEGIN; DELETE FROM apikeys_data.budget WHERE id = '$no_budget'");
is($maker->query_safe($ask), 'VALID', 'no budget: deleted');
$maker->query_safe('ROLLBACK');
is($maker->query_safe($ask), 'BUDGET_EXCEEDED', 'no budget: and yet not');
$_->quit foreach $asker, $maker;

# A session that has read the budget, with an old snapshot, and what others do
my $session = $node->background_psql('postgres');
sub session_says
{
	my ($name) = @_;

	return $session->query_safe("SELECT code FROM apikey_verify('$name-key')");
}

add_budget($_, 10) foreach qw(many ring other digits prepared moved);
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is(session_says($_), 'VALID', "$_: before") foreach qw(many ring other digits prepared moved);

# More budgets in one transaction than it can tell of one by one
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('budget ' || n, 'sha256'), 'budget ' || n, '...',
		budget_id => apikey_budget_create('budget ' || n, 1))
	FROM generate_series(1, 100) n});
$node->safe_psql('postgres', "BEGIN; "
	  . q{SELECT apikey_record_usage(id, cost => 1) FROM apikeys_data.key WHERE name LIKE 'budget %'; }
	  . spend('many', 10) . '; COMMIT');
is(session_says('many'), 'BUDGET_EXCEEDED', 'many budgets in one transaction');

# More transactions than there is room for
my $id = $node->safe_psql('postgres', 'SELECT ' . id_of('ring'));
$load = start_load($node, 'postgres', "SELECT apikey_record_usage('$id', cost => 0.005);",
	'--client', 2, '--transactions', 999);
ok(end_load($load), 'ring: nearly all is spent');
is(session_says('ring'), 'VALID', 'ring: nearly all is spent');
is(session_says('other'), 'VALID', 'ring: another budget');
$node->safe_psql('postgres', spend('ring', 0.01));
is(session_says('ring'), 'BUDGET_EXCEEDED', 'ring: all is spent');
is(spent('ring'), '10.000', 'ring: to the last digit');

# A cost of many digits
$node->safe_psql('postgres', spend('digits', '9.' . '9' x 18));
is(session_says('digits'), 'VALID', 'digits: nearly all is spent');
$node->safe_psql('postgres', spend('digits', '0.' . '0' x 17 . '1'));
is(session_says('digits'), 'BUDGET_EXCEEDED', 'digits: all is spent');

# What was added
$node->safe_psql('postgres', q{SELECT apikey_budget_add(id, 0.5) FROM apikeys_data.budget WHERE name = 'digits'});
is(session_says('digits'), 'VALID', 'digits: topped up');
$node->safe_psql('postgres', q{SELECT apikey_budget_add(id, -0.5) FROM apikeys_data.budget WHERE name = 'digits'});
is(session_says('digits'), 'BUDGET_EXCEEDED', 'digits: taken back');

# A prepared transaction counts from COMMIT PREPARED on.
my $spend = spend('prepared', 10);
$node->safe_psql('postgres', "BEGIN; $spend; PREPARE TRANSACTION 'spend'");
is(session_says('prepared'), 'VALID', 'prepared');
is(verify($node, 'postgres', 'prepared'), 'VALID', 'prepared: a new session');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'spend'});
is(session_says('prepared'), 'VALID', 'prepared and rolled back');
$node->safe_psql('postgres', "BEGIN; $spend; PREPARE TRANSACTION 'spend'");
is(session_says('prepared'), 'VALID', 'prepared again');
$node->safe_psql('postgres', q{COMMIT PREPARED 'spend'});
is(session_says('prepared'), 'BUDGET_EXCEEDED', 'prepared and committed');

$session->query_safe('COMMIT');
$session->quit;

# On a standby, from the moment the commit is replayed
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$session = $standby->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is(session_says('moved'), 'VALID', 'standby: before');
is(session_says('prepared'), 'BUDGET_EXCEEDED', 'standby: spent');
$node->safe_psql('postgres', spend('moved', 10));
$node->wait_for_catchup($standby);
is(session_says('moved'), 'BUDGET_EXCEEDED', 'standby: after');
$session->query_safe('COMMIT');

# ... and after it has been promoted, in the same session
$standby->promote;
is(session_says('other'), 'VALID', 'promoted: before');
$standby->safe_psql('postgres', spend('other', 10));
is(session_says('other'), 'BUDGET_EXCEEDED', 'promoted: after');
is_sound($standby, 'postgres', 'promoted');
$session->quit;
$standby->stop;

is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
