
# The ledgers of usage: what is rolled up costs nobody anything any more, also
# while somebody has an old snapshot and nothing can be vacuumed; and what is not
# rolled up is always seen, once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '1h'", 'max_prepared_transactions = 2');

$node->safe_psql('postgres', q{
	SELECT apikey_import(digest(name || '-key', 'sha256'), name, '...', budget_id => apikey_budget_create(name, 1000000))
	FROM unnest('{busy,idle}'::text[]) name;
	CREATE FUNCTION buffers(query text) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
	  plan jsonb;
	BEGIN
	  EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT json) ' || query INTO plan;
	  RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::bigint + (plan #>> '{0,Plan,Shared Read Blocks}')::bigint;
	END $$});

sub record
{
	my ($name, $n) = @_;

	return "SELECT count(apikey_record_usage(" . id_of($name) . ", 1, 1)::text) FROM generate_series(1, $n)";
}

# What a session reads for a query when it has been run before.
sub buffers
{
	my ($query) = @_;

	return $node->safe_psql('postgres', join ';', ("SELECT buffers(\$q\$$query\$q\$)") x 3) =~ s/.*\n//sr;
}

# What a key and its budget have used, as all readers say.
sub used
{
	my ($name) = @_;

	return $node->safe_psql('postgres', sprintf q{
		SELECT string_agg(DISTINCT n::numeric::int::text, ',') FROM (
			SELECT total_requests FROM apikey_usage(%1$s)
			UNION ALL SELECT sum(requests) FROM apikey_usage_history(%1$s)
			UNION ALL SELECT sum(requests) FROM apikeys.usage_report WHERE key_id = %1$s
			UNION ALL SELECT spent FROM apikeys.budget_info WHERE name = '%2$s') u (n)},
		id_of($name), $name);
}

my $flush = 'SELECT apikey_flush()';
my %reads = (
	'the usage of a key' => 'SELECT * FROM apikey_usage(' . id_of('busy') . ')',
	'its history' => 'SELECT * FROM apikey_usage_history(' . id_of('busy') . ')',
	'a report' => 'SELECT * FROM apikeys.usage_report WHERE key_id = ' . id_of('busy'),
	'what is spent of a budget' => q{SELECT spent FROM apikeys.budget_info WHERE name = 'busy'});
my %before;
my $total = 0;

# Records and rolls up; returns what a flush of a few entries reads.
sub roll_up
{
	my ($n) = @_;

	$node->safe_psql('postgres', record('busy', $n));
	$node->safe_psql('postgres', $flush);
	$node->safe_psql('postgres', record('busy', 100));
	$total += $n + 100;
	return $node->safe_psql('postgres', "SELECT buffers('$flush')");
}

my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');

roll_up(100);
my $first = roll_up(100);
$before{$_} = buffers($reads{$_}) foreach keys %reads;
my $second = roll_up(70_000);

note "a flush of 100 entries read $first buffers, behind 70,000 others $second";
cmp_ok($second, '<', $first * 1.5 + 100, 'a flush does not read what is rolled up');
foreach my $what (sort keys %reads)
{
	my $buffers = buffers($reads{$what});

	note "$what: $before{$what}, then $buffers buffers";
	cmp_ok($buffers, '<', $before{$what} + 20, "$what: neither");
}
is(used('busy'), $total, 'all is counted');
is($old->query_safe("SELECT total_requests FROM apikey_usage(${\id_of('busy')})"), 0, 'an old snapshot sees what there was');
$old->query_safe('COMMIT');

# A key is written once a flush, however many entries it has.
my $updates = q{SELECT pg_stat_force_next_flush(); SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'usage'};
my $updated = $node->safe_psql('postgres', $updates) =~ s/.*\n//sr;
$node->safe_psql('postgres', record('busy', 15_000));
$node->safe_psql('postgres', "$flush; SELECT pg_stat_force_next_flush()");
$total += 15_000;
is($node->safe_psql('postgres', $updates) =~ s/.*\n//sr, $updated + 1, 'totals are written once a flush');
is(used('busy'), $total, 'and are right');

# An entry that is committed after later ones have been rolled up is seen all the
# same, and is rolled up by the next flush: of an open transaction, and of one
# that is prepared.
my $late = $node->background_psql('postgres');
foreach my $end ('COMMIT', "PREPARE TRANSACTION 'late'")
{
	$late->query_safe("BEGIN; ${\record('busy', 2)}");
	$node->safe_psql('postgres', record('busy', 3));
	$node->safe_psql('postgres', $flush);
	is(used('busy'), $total + 3, "$end: an open transaction");
	$late->query_safe($end);
	if ($end ne 'COMMIT')
	{
		$node->safe_psql('postgres', record('busy', 1));
		$node->safe_psql('postgres', $flush);
		$total++;
		is(used('busy'), $total + 3, "$end: prepared");
		$node->safe_psql('postgres', "COMMIT PREPARED 'late'");
	}
	$total += 5;
	is(used('busy'), $total, "$end: committed after the flush");
	$node->safe_psql('postgres', $flush);
	is(used('busy'), $total, "$end: and rolled up");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry'),
		0, "$end: nothing is left");
}

# Entries that are left behind, since their totals are locked, are seen as well.
$late->query_safe("BEGIN; SELECT FROM apikeys_data.usage WHERE key_id = ${\id_of('busy')} FOR UPDATE");
$node->safe_psql('postgres', record('busy', 4));
$node->safe_psql('postgres', record('idle', 1));
$node->safe_psql('postgres', $flush);
$node->safe_psql('postgres', record('busy', 1));
$node->safe_psql('postgres', $flush);
$total += 5;
is(used('busy'), $total, 'locked totals: all is seen');
is(used('idle'), 1, 'locked totals: those of another key are not');
$late->query_safe('COMMIT');
is(used('busy'), $total, 'unlocked: the same');
$node->safe_psql('postgres', $flush);
is(used('busy'), $total, 'unlocked and rolled up: the same');

# Entries themselves that somebody has locked
$node->safe_psql('postgres', record('busy', 5));
$late->query_safe('BEGIN; SELECT count(*) FROM (SELECT FROM apikeys_data.usage_entry LIMIT 2 FOR UPDATE) e');
within_5_seconds('locked entries: a flush does not wait', sub {
	$node->safe_psql('postgres', "SET lock_timeout = '4s'; $flush");
});
$total += 5;
is(used('busy'), $total, 'locked entries: all is seen');
$late->query_safe('ROLLBACK');
$node->safe_psql('postgres', $flush);
is(used('busy'), $total, 'locked entries: all is rolled up, once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry'), 0, 'locked entries: none is left');

# Readers, writers and flushes at once: what a reader has seen never becomes less,
# and in the end each entry counts once.
$node->safe_psql('postgres', 'CREATE TABLE seen (at bigint GENERATED ALWAYS AS IDENTITY, reader int, requests bigint, spent numeric)');
my @loads = (
	start_load($node, 'postgres', "${\record('busy', 1)};\n", '--client', 4, '--transactions', 300),
	start_load($node, 'postgres', "BEGIN;\n${\record('busy', 1)};\n\\sleep 20 ms\nCOMMIT;\n", '--client', 2, '--transactions', 50),
	start_load($node, 'postgres', "$flush;\n\\sleep 5 ms\n", '--client', 1, '--transactions', 150),
	start_load($node, 'postgres', qq{
INSERT INTO seen (reader, requests, spent)
SELECT :client_id, (SELECT total_requests FROM apikey_usage(${\id_of('busy')})),
	(SELECT spent FROM apikeys.budget_info WHERE name = 'busy');
}, '--client', 2, '--transactions', 300));
ok(end_load($_), 'all at once: no error') or diag $_->{err} foreach @loads;
$total += 4 * 300 + 2 * 50;
is(used('busy'), $total, 'all at once: each entry counts once');
is($node->safe_psql('postgres', q{
		SELECT count(*) FROM (
			SELECT requests < lag(requests) OVER w OR spent < lag(spent) OVER w AS less FROM seen
			WINDOW w AS (PARTITION BY reader ORDER BY at)) s WHERE less}),
	0, 'all at once: what was seen stays');
$node->safe_psql('postgres', $flush);
is(used('busy'), $total, 'all at once: rolled up');

# Someone has restarted the ids.
$node->safe_psql('postgres', 'TRUNCATE apikeys_data.usage_entry RESTART IDENTITY');
$node->safe_psql('postgres', record('busy', 1));
$node->safe_psql('postgres', $flush);
$total++;
is(used('busy'), $total, 'restarted ids: what is recorded is rolled up all the same');
$node->safe_psql('postgres', record('busy', 1));
$total++;
is(used('busy'), $total, 'restarted ids: and from then on seen at once');

# Of a budget that is seldom used only what is new is read, not all that others have
# recorded since, whichever index the planner takes.
$node->safe_psql('postgres', record('idle', 1) . "; $flush");
my $idle = used('idle');
$old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
$node->safe_psql('postgres', "${\record('busy', 20_000)}; ANALYZE apikeys_data.usage_entry");
$node->safe_psql('postgres', $flush);
my $spent = buffers(q{SELECT spent FROM apikeys.budget_info WHERE name = 'idle'});
note "what is spent of a seldom used budget: $spent buffers";
cmp_ok($spent, '<', 100, 'a seldom used budget: what is rolled up is not read');
is(used('idle'), $idle, 'and it is right');
$old->query_safe('COMMIT');
$total += 20_000;

$_->quit foreach $old, $late;
$node->stop;
done_testing();
