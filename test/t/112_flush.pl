
# apikey_flush(): what counts as written is what is committed, once, and
# nobody waits for it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node(
	'main',
	"apikeys.flush_interval = '1h'",
	'apikeys.last_used_throttle = 0',
	'max_prepared_transactions = 2');
add_keys($node, 'postgres', map { "k$_" } 1 .. 10);

my $flush = 'SELECT apikey_flush()';
my $use_all = q{SELECT count(v.code) FROM generate_series(1, 10) n, LATERAL apikey_verify('k' || n || '-key') v};
my $record_all = 'SELECT count(apikey_record_usage(id, 10, 0.1)::text) FROM apikeys_data.key';
my $totals = 'SELECT sum(total_requests), sum(total_tokens), sum(total_cost), count(last_used_at) FROM apikeys.info';
my $written = 'SELECT coalesce(sum(total_requests), 0), count(last_used_at) FROM apikeys_data.usage';
my $requests = 0;

# Makes ten uses and ten entries.
sub make_work
{
	$node->safe_psql('postgres', 'UPDATE apikeys_data.usage SET last_used_at = NULL');
	wait_until('ten uses are pending', sub {
		$node->safe_psql('postgres', $use_all);
		return stats($node, 'pending') == 10;
	});
	$node->safe_psql('postgres', $record_all);
	$requests += 10;
}

# How it looks before a flush has been committed, and after.
sub check_pending
{
	my ($what) = @_;
	my $before = $requests - 10;

	is($node->safe_psql('postgres', $written), "$before|0", "$what: nothing is written");
	is(stats($node, 'pending'), 10, "$what: the uses are pending");
	check_totals($what);
}

sub check_written
{
	my ($what) = @_;

	is($node->safe_psql('postgres', $written), "$requests|10", "$what: all is written");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry'), 0, "$what: no entry is left");
	is(stats($node, 'pending'), 0, "$what: nothing is pending");
	check_totals($what);
}

sub check_totals
{
	my ($what) = @_;

	is($node->safe_psql('postgres', $totals), join('|', $requests, $requests * 10, sprintf('%.1f', $requests / 10), 10),
		"$what: the totals are right");
}

make_work();
check_pending('before');
cmp_ok($node->safe_psql('postgres', $flush), '>=', 10, 'a flush');
check_written('a flush');
is($node->safe_psql('postgres', $flush), 0, 'a second one finds nothing');

# Undone, in part or as a whole
make_work();
$node->safe_psql('postgres', "BEGIN; $flush; ROLLBACK");
check_pending('rolled back');
$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; $flush; ROLLBACK TO s; COMMIT");
check_pending('rolled back to a savepoint');
$node->safe_psql('postgres', qq{
	DO \$\$ BEGIN
	  PERFORM apikey_flush();
	  RAISE 'undone';
	EXCEPTION WHEN OTHERS THEN NULL;
	END \$\$});
check_pending('undone by an error');
$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; $flush; ROLLBACK TO s; $flush; COMMIT");
check_written('after a savepoint, flushed again');
make_work();
$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; $flush; RELEASE s; COMMIT");
check_written('in a savepoint that was released');
make_work();
$node->safe_psql('postgres', "BEGIN; SAVEPOINT a; SAVEPOINT b; $flush; RELEASE b; ROLLBACK TO a; COMMIT");
check_pending('released into a savepoint that was rolled back');
$node->safe_psql('postgres', $flush);

# A session that dies in the middle
make_work();
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe("BEGIN; $flush");
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)");
eval { $session->quit };
check_pending('terminated');
$node->safe_psql('postgres', $flush);
check_written('flushed after that');

# Two phases: either it cannot be prepared, or nothing is lost and nothing is
# there twice, whichever way it ends.
foreach my $end ('ROLLBACK', 'COMMIT')
{
	make_work();
	my ($ret) = $node->psql('postgres', "BEGIN; $flush; PREPARE TRANSACTION 'p'");
	if ($ret == 0 && $node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts') == 1)
	{
		$node->safe_psql('postgres', "$end PREPARED 'p'");
	}
	check_totals("PREPARE, $end");
	$node->safe_psql('postgres', $flush);
	check_written("PREPARE, $end, flushed again");
}

# Two at once: one after the other, so that what the second returns is on
# disk.  A writer waits for neither.
$session = $node->background_psql('postgres', on_error_stop => 0);
my $second = $node->background_psql('postgres');
foreach my $end ('COMMIT', 'ROLLBACK')
{
	make_work();
	$session->query_safe("BEGIN; $flush");
	$second->query_until(qr/go/, "\\echo go\n$flush;\n");
	within_5_seconds("two at once, $end: a writer does not wait", sub {
		my ($ret) = $node->psql('postgres', "SET lock_timeout = '4s'; $record_all");
		return $ret == 0;
	});
	$requests += 10;
	check_totals("two at once, $end, before");
	$session->query_safe($end);
	cmp_ok($second->query_safe(''), '>', 0, "two at once, $end: the second has its part");
	check_written("two at once, $end");
}
$second->quit;

# A use that is seen between flush and commit is not taken for written.
make_work();
$session->query_safe("BEGIN; $flush");
my $use = last_use($node, 'postgres', 'k1');
wait_until('a later use', sub {
	verify($node, 'postgres', 'k1');
	return last_use($node, 'postgres', 'k1') gt $use;
});
$use = last_use($node, 'postgres', 'k1');
$session->query_safe('COMMIT');
is(last_use($node, 'postgres', 'k1'), $use, 'a use between flush and commit is seen');
$node->safe_psql('postgres', $flush);
is(stored_use($node, 'postgres', 'k1'), $use, 'and written by the next flush');
check_written('a use between flush and commit');

# A row that somebody holds is left for later, and the others are not.
make_work();
$session->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM apikeys_data.usage WHERE key_id = ${\id_of('k1')} FOR UPDATE) u");
within_5_seconds('a held row: the flush does not wait', sub {
	my ($ret) = $node->psql('postgres', "SET lock_timeout = '4s'; $flush");
	return $ret == 0;
});
is($node->safe_psql('postgres', 'SELECT count(last_used_at) FROM apikeys_data.usage'), 9, 'a held row: the others are written');
check_totals('a held row');
$session->query_safe('COMMIT');
$node->safe_psql('postgres', $flush);
check_written('a held row, let go');

# Keys that are deleted meanwhile, with uses and entries pending
make_work();
$node->safe_psql('postgres', "SELECT apikey_delete(${\id_of('k10')})");
$node->safe_psql('postgres', $flush);
is($node->safe_psql('postgres', q{
		SELECT count(*) FROM apikeys_data.usage u FULL JOIN apikeys_data.key k ON k.id = u.key_id WHERE k.id IS NULL OR u.key_id IS NULL}),
	0, 'a deleted key leaves nothing behind');
is($node->safe_psql('postgres', q{
		SELECT (SELECT count(*) FROM apikeys_data.usage_entry)
		     + (SELECT count(*) FROM apikeys_data.usage_day d WHERE NOT EXISTS (SELECT FROM apikeys_data.key k WHERE k.id = d.key_id))}),
	0, 'nor do its entries');
is(stats($node, 'pending'), 0, 'nor is it pending');

# A delete that is not committed, and is undone
$node->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('k9')})");
my $total = "SELECT total_requests FROM apikey_usage(${\id_of('k9')})";
my $before = $node->safe_psql('postgres', $total);
$session->query_safe("BEGIN; SELECT apikey_delete(${\id_of('k9')})");
within_5_seconds('a delete under way: the flush does not wait', sub {
	my ($ret) = $node->psql('postgres', "SET lock_timeout = '4s'; $flush");
	return $ret == 0;
});
$session->query_safe('ROLLBACK');
is($node->safe_psql('postgres', $total), $before, 'a delete under way, undone: nothing is lost');
$node->safe_psql('postgres', $flush);
is($node->safe_psql('postgres', $total), $before, 'flushed again: nor then');

# Isolation levels: a flush may fail there to be tried again, or see less, but
# what it leaves is right.
foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	$node->safe_psql('postgres', $record_all);
	my $sums = $node->safe_psql('postgres', $totals);
	$session->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM apikeys_data.usage");
	$node->safe_psql('postgres', $flush);
	$session->query($flush);
	$session->query('COMMIT');
	$session->{stderr} = '';
	is($node->safe_psql('postgres', $totals), $sums, "$level: an old snapshot counts nothing twice");
	is($session->query("BEGIN ISOLATION LEVEL $level; $flush; COMMIT"), 0, "$level: a flush works");
}

# A flush that may not write says so.
my ($ret, $stdout, $stderr) = $node->psql('postgres', "BEGIN READ ONLY; $flush",
	extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($stderr, qr/ERROR:  25006/, 'a flush in a READ ONLY transaction is refused');

# Writers and flushes all at once: each entry is counted once.
$node->safe_psql('postgres', "UPDATE apikeys_data.usage SET total_requests = 0, total_tokens = 0, total_cost = 0; DELETE FROM apikeys_data.usage_day");
my $load = start_load($node, 'postgres', q{
\set n random(1, 9)
SELECT apikey_record_usage(id, :n, :n * 0.01) FROM apikeys_data.key WHERE name = 'k' || :n;
SELECT apikey_flush();
}, '--client', 8, '--jobs', 2, '--transactions', 250);
ok(end_load($load), 'flushes by many: no error') or diag $load->{err};
unlike($load->{err}, qr/error/i, 'flushes by many: nothing to complain of');
my $by_key = q{SELECT sum(total_requests) = 2000, bool_and(total_tokens = total_requests * substr(name, 2)::int),
	bool_and(total_cost = total_tokens * 0.01) FROM apikeys.info};
is($node->safe_psql('postgres', $by_key), 't|t|t', 'flushes by many: each entry is counted once');
$node->safe_psql('postgres', $flush);
is($node->safe_psql('postgres', $by_key), 't|t|t', 'flushes by many: after the last one, too');
is($node->safe_psql('postgres', 'SELECT sum(requests) FROM apikeys_data.usage_day'), 2000, 'flushes by many: and by day');

# The flush worker comes while a flush by hand is not committed.  It goes away
# again, and comes back.
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '10ms'");
$node->reload;
wait_for_flush_worker($node, 'postgres');
foreach my $end ('COMMIT', 'ROLLBACK')
{
	$session->query_safe("BEGIN; $flush");
	my $started = stats($node, 'workers_started');
	$node->safe_psql('postgres', $record_all);
	wait_until('a flush worker has come and gone', sub {
		return $node->safe_psql('postgres', qq{
			SELECT workers_started > $started AND NOT EXISTS (
				SELECT FROM pg_stat_activity WHERE backend_type = 'apikeys flush worker')
			FROM apikeys.stats}) eq 't';
	});
	$session->query_safe($end);
	wait_for($node, 'postgres', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry',
		"$end of a flush by hand: the flush worker does the rest");
}

# It leaves the entries of a key whose row somebody holds to a later one.
$session->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM apikeys_data.usage WHERE key_id = ${\id_of('k1')} FOR UPDATE) u");
$node->safe_psql('postgres', $record_all);
wait_for($node, 'postgres', 'SELECT count(*) = 1 FROM apikeys_data.usage_entry', 'a held row: a flush worker does the others');
$session->query_safe('COMMIT');
wait_for($node, 'postgres', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', '... and a later one does it');

$session->quit;
is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
