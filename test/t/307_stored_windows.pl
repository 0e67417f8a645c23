
# More keys with limits than shared memory has space for: windows are stored in a
# table, evicted and read back, and no limit lets one more through, nor one less,
# beside crashes, rollbacks, old snapshots, standbys and a promotion.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $nkeys = 5000;
my $size = 256;

my $node = start_node(
	'main',
	"apikeys.max_tracked_keys = $size",
	"apikeys.flush_interval = '10ms'",
	'wal_level = replica',
	'max_wal_senders = 4');

# Windows that do not end while this lasts.
sub add_limited
{
	my ($where, $names) = @_;

	$where->safe_psql('postgres', qq{
		SELECT count(apikey_import(digest(n || '-key', 'sha256'), n::text, 'x', rate_limits => '{"windows": [
			{"per": "31 days", "requests": 3}, {"per": "30 days", "requests": 4},
			{"per": "29 days", "tokens": 1000}, {"per": "28 days", "requests": 5}]}'))
		FROM $names n(n)});
}

# The code, or REFUSED if there was no space.
my $outcome = q{CASE WHEN reason LIKE 'shared memory is full%' THEN 'REFUSED' ELSE code END};

sub code_of
{
	my ($name, $where) = @_;
	return ($where // $node)->safe_psql('postgres', "SELECT $outcome FROM apikey_verify('$name-key')");
}

sub used
{
	my ($name, $where) = @_;
	return ($where // $node)->safe_psql('postgres', sprintf q{
		SELECT string_agg(used::text, ' ' ORDER BY max) FROM apikey_limits(%s)}, id_of($name));
}

# -------------------------------------------------------------- many at once

add_limited($node, "generate_series(1, $nkeys)");
$node->safe_psql('postgres', 'CREATE TABLE outcome (n integer, code text, retry_after integer); ANALYZE');

# Keys whose windows do not say what they have passed.
my $wrong = qq{
	SELECT o.n, o.passed, o.limited, l.used
	FROM (SELECT n, count(*) FILTER (WHERE code = 'VALID') AS passed,
				 count(*) FILTER (WHERE code = 'RATE_LIMITED') AS limited
		  FROM outcome GROUP BY n) o
	JOIN apikeys_data.key k ON k.name = o.n::text
	CROSS JOIN LATERAL (SELECT string_agg(used::text, ' ' ORDER BY max) AS used FROM apikey_limits(k.id) WHERE max < 1000) l
	WHERE o.passed > 3 OR (o.limited > 0 AND o.passed < 3)
	   OR l.used <> concat_ws(' ', o.passed, o.passed, o.passed)
	LIMIT 5};
my $script = qq{
\\set n random(1, $nkeys)
INSERT INTO outcome SELECT :n, $outcome, retry_after FROM apikey_verify(:n || '-key');
\\set n 1 + (:n + random(0, 1)) % $nkeys
INSERT INTO outcome SELECT :n, $outcome, retry_after FROM apikey_verify(:n || '-key');
};

my $load = start_load($node, 'postgres', $script, '--client', 8, '--jobs', 2, '--transactions', 1000);
ok(end_load($load), 'many at once: no error') or diag $load->{err};
unlike($load->{err}, qr/error/i, 'many at once: nothing to complain of');
is($node->safe_psql('postgres', $wrong), '', 'many at once: no limit has let one more through, or one less');
is($node->safe_psql('postgres', q{SELECT DISTINCT code, retry_after FROM outcome WHERE code = 'REFUSED' AND retry_after <> 1}), '',
	'many at once: who was refused may come again in a second');
is(stats($node, "refused = (SELECT count(*) FROM outcome WHERE code = 'REFUSED') AND evictions > 4 * $size"), 't',
	'many at once: most were evicted, and the refused are counted');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE code <> 'REFUSED') * 100 / count(*) FROM outcome}), '>', 20,
	'many at once: the space is given to others');
is(stats($node, 'flush_errors, dropped'), '0|0', 'many at once: all flushes went well');
is_sound($node, 'postgres', 'many at once');

# ------------------------------------------------------- killed and restarted

$node->restart;
is($node->safe_psql('postgres', $wrong), '', 'a restart: windows are as they were');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
kill_cluster($node);
$node->start;
is($node->safe_psql('postgres', $wrong), '', 'killed: all that was stored is there');
is_sound($node, 'postgres', 'killed');

# Killed in the middle of it: what is lost passes once more, and no more than was
# counted since the last flush.
$node->safe_psql('postgres', 'TRUNCATE outcome; DELETE FROM apikeys_data.window_state');
$node->stop('immediate');
$node->start;
$load = start_load($node, 'postgres', $script, '--client', 8, '--jobs', 2, '--transactions', 100000);
wait_for($node, 'postgres', 'SELECT count(*) > 5000 FROM outcome', 'killed under load: under load');
kill_cluster($node);
end_load($load);
$node->start;
my $behind = $node->safe_psql('postgres', q{
	SELECT coalesce(max(o.passed - l.used), 0) || ' ' || coalesce(sum(greatest(o.passed - l.used, 0)), 0)
	FROM (SELECT n, count(*) FILTER (WHERE code = 'VALID') AS passed FROM outcome GROUP BY n) o
	JOIN apikeys_data.key k ON k.name = o.n::text
	CROSS JOIN LATERAL (SELECT used FROM apikey_limits(k.id) WHERE max = 3) l});
my ($most, $lost) = split ' ', $behind;
my $passed = $node->safe_psql('postgres', q{SELECT count(*) FROM outcome WHERE code = 'VALID'});
cmp_ok($lost, '<=', $passed / 2, "killed under load: of $passed requests that passed, $lost were not stored");
is_sound($node, 'postgres', 'killed under load');

# ----------------------------------------------------------- step by step

# There is no worker but the launcher (and the server's own): what is stored, and
# when, is up to us.
$node->append_conf('postgresql.conf', "max_worker_processes = 2\napikeys.last_used_throttle = -1");
$node->safe_psql('postgres', 'SELECT apikey_flush()');
$node->restart;

# Fills the memory with keys that nobody has used before, so that others leave it.
my $next = 0;

sub displace
{
	my $names = join ', ', map { "('other $_')" } $next + 1 .. $next + 2 * $size;

	$next += 2 * $size;
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	add_limited($node, "(VALUES $names)");
	foreach my $part (0 .. 3)
	{
		my $from = $next - 2 * $size + $part * $size / 2 + 1;

		$node->safe_psql('postgres', sprintf q{
			SELECT count(*) FROM generate_series(%d, %d) i, LATERAL apikey_verify('other ' || i || '-key') v WHERE v.valid},
			$from, $from + $size / 2 - 1);
		$node->safe_psql('postgres', 'SELECT apikey_flush()');
	}
}

# How often rows have been looked for since the session began.
my $reads = q{SELECT coalesce(idx_scan, 0) + coalesce(seq_scan, 0) FROM pg_stat_xact_user_tables WHERE relid = 'apikeys_data.window_state'::regclass};

add_limited($node, "(VALUES ('a'), ('b'), ('c'), ('d'))");
is($node->safe_psql('postgres', qq{
		BEGIN;
		SELECT code FROM apikey_verify('a-key');
		$reads;
		SELECT code FROM apikey_verify('a-key');
		$reads;
		COMMIT}), "VALID\n1\nVALID\n1", 'a new key costs one read');
displace();
is($node->safe_psql('postgres', qq{
		BEGIN READ ONLY;
		SELECT code FROM apikey_verify('a-key');
		$reads;
		SELECT pg_current_xact_id_if_assigned() IS NULL;
		SELECT code FROM apikey_verify('a-key');
		$reads;
		COMMIT}), "VALID\n1\nt\nRATE_LIMITED\n1", 'one that has left memory costs one more, and writes nothing');
is(used('a'), '3 3 3 0', '... and has used what it has used');

# To look at limits puts nothing into memory.
displace();
my $evictions = stats($node, 'evictions');
is(used('a'), '3 3 3 0', 'limits are shown from the table');
is(stats($node, 'evictions'), $evictions, '... and nobody has to go for that');

# Others use a key while its row is read, or it comes and goes: all counts once.  Who
# has the table for himself lets a reader wait before it has read anything.
my $old = $node->background_psql('postgres');
my $reader = $node->background_psql('postgres');

sub read_while
{
	my ($query, @changes) = @_;
	my @said;

	$old->query_safe('BEGIN; LOCK TABLE apikeys_data.window_state IN ACCESS EXCLUSIVE MODE');
	my $answer = answer_after($node, $reader, $query, sub {
		@said = map { $old->query_safe($_) } @changes;
		$old->query_safe('COMMIT');
	});
	return join ', ', @said, $answer;
}

add_limited($node, "(VALUES ('read 1'), ('read 2'))");
is(code_of($_), 'VALID', "$_ is used") foreach 'read 1', 'read 2';
displace();
my $verify = q{SELECT code FROM apikey_verify('read 1-key')};
is(read_while($verify, $verify), 'VALID, VALID', 'a key is used by two of whom one waits for its row');
is(used('read 1'), '3 3 3 0', '... and has been used by both');
displace();
my $limits = 'SELECT used FROM apikey_limits(' . id_of('read 2') . ') WHERE max = 3';
is(read_while($limits, q{SELECT code FROM apikey_verify('read 2-key')}), 'VALID, 2', 'what is used while a row is read for apikey_limits() is shown');
displace();
add_limited($node, "(SELECT 'crowd ' || i FROM generate_series(1, $size) i)");
is(read_while($limits =~ s/read 2/read 1/r, $verify,
		"SELECT count(*) FROM generate_series(1, $size) i, LATERAL apikey_verify('crowd ' || i || '-key') v WHERE v.valid"),
	"RATE_LIMITED, $size, 3", '... also if its key comes and goes meanwhile');
$reader->quit;
displace();

# An old snapshot sees the row as it was; verify sees what is.
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($old->query_safe('SELECT count(*) FROM apikeys_data.window_state WHERE owner_id = ' . id_of('b')), 0, 'an old snapshot');
is(code_of('b'), 'VALID', 'another session uses a key') for 1 .. 3;
displace();
is($old->query_safe("SELECT code FROM apikey_verify('b-key')"), 'RATE_LIMITED', 'the old snapshot does not matter');
is($old->query_safe(sprintf q{SELECT used FROM apikey_limits(%s) WHERE max = 3}, id_of('b')), 3, '... nor for what is shown');
$old->query_safe('COMMIT');

# A flush that is not committed stores nothing, nor one of which a savepoint is
# rolled back.
is(code_of('c'), 'VALID', 'a key is used');
$old->query_safe('BEGIN; SELECT apikey_flush()');
$node->safe_psql('postgres', sprintf q{SELECT count(*) FROM generate_series(1, %d) i, LATERAL apikey_verify('other ' || i || '-key') v}, 3 * $size);
is(code_of('c'), 'VALID', '... and is in memory while a flush is not committed');
$old->query_safe('ROLLBACK');
$node->safe_psql('postgres', sprintf q{SELECT count(*) FROM generate_series(1, %d) i, LATERAL apikey_verify('other ' || i || '-key') v}, 3 * $size);
$old->query_safe('BEGIN; SAVEPOINT s; SELECT apikey_flush(); ROLLBACK TO s; COMMIT');
is(code_of('c'), 'VALID', '... nor does one count that was rolled back');
is(used('c'), '3 3 3 0', '... so nothing is forgotten');
is(code_of('c'), 'RATE_LIMITED', '... or passed');

# What changes while it is written is not taken for stored.
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is(code_of('d'), 'VALID', 'a key is used');
$old->query_safe('BEGIN; SELECT apikey_flush()');
is(code_of('d'), 'VALID', '... while it is written');
$old->query_safe('COMMIT');
displace();
is(used('d'), '2 2 2 0', '... and both uses count');

# Usage that is recorded, voided and settled of keys that are not in memory.
displace();
my $d = id_of('d');
$node->safe_psql('postgres', "SELECT apikey_record_usage($d, tokens => 300, request_id => 'one')");
is(used('d'), '2 2 2 300', 'usage is recorded of a key that is not in memory');
displace();
$node->safe_psql('postgres', "SELECT apikey_record_usage($d, tokens => 50); SELECT apikey_void_usage($d, 'one')");
is(used('d'), '2 2 2 50', '... and voided');
displace();
my $reservation = $node->safe_psql('postgres', q{SELECT reservation FROM apikey_verify('d-key', tokens => 400, reserve => true)});
displace();
is(used('d'), '3 3 3 450', 'a key that has reserved');
is($node->safe_psql('postgres', "SELECT windows[array_position(windows, 29 * 86400) + 3] FROM apikeys_data.window_state WHERE owner_id = $d"), 50,
	'... is stored without that');
$node->safe_psql('postgres', "SELECT apikey_record_usage($d, tokens => 20, reservation => '$reservation')");
displace();
is(used('d'), '3 3 3 70', '... and is settled');

# Nobody finds space: a row that says so, which costs nothing.
$old->quit;
$node->stop('immediate');
$node->start;
$old = $node->background_psql('postgres');
my $spent = $node->safe_psql('postgres', "SELECT count(*) FROM generate_series(1, $nkeys) i, LATERAL apikey_verify(i || '-key') v WHERE v.valid");
cmp_ok($spent, '<=', $size, 'memory is full of what is not stored');
is($node->safe_psql('postgres', qq{SELECT code, retry_after, valid, limit_name IS NULL FROM apikey_verify('a-key')}), 'RATE_LIMITED|1|f|t', 'a key that finds no space');
my ($ret, $stdout, $stderr) = $node->psql('postgres', 'SELECT apikey_record_usage(' . id_of('a') . ', tokens => 5)');
is("$ret$stdout", '0t', '... its usage is recorded');
like($stderr, qr/WARNING:  not enough shared memory/, '... with a warning');
is(used('a'), '3 3 3 0', '... its limits are shown');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is(code_of('a'), 'RATE_LIMITED', '... and limit once there is space');

# There is space for the key, and for some of the windows in its row.
my $wide = sub {
	my ($names) = @_;
	$node->safe_psql('postgres', qq{
		SELECT count(apikey_import(digest(n || '-key', 'sha256'), n::text, 'x', rate_limits => jsonb_build_object('windows',
			(SELECT jsonb_agg(jsonb_build_object('per', d || ' days', 'requests', 1)) FROM generate_series(24, 31) d))))
		FROM $names n(n)});
};
$wide->("(VALUES ('wide'))");
is(code_of('wide'), 'VALID', 'a key with many windows');
displace();
$wide->("(SELECT 'wide ' || i FROM generate_series(1, $size) i)");
$spent = $node->safe_psql('postgres', "SELECT count(*) FROM generate_series(1, $size) i, LATERAL apikey_verify('wide ' || i || '-key') v WHERE v.valid");
cmp_ok($spent, '<=', $size / 2, 'memory has no space for windows, and for entries it has');
is(code_of('wide'), 'REFUSED', '... so it finds no space');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is(code_of('wide'), 'RATE_LIMITED', '... and is limited once there is some');

# ------------------------------------------------------ rows that nobody needs

add_limited($node, "(VALUES ('gone'), ('unseen'))");
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('short-key', 'sha256'), 'short', 'x', rate_limits => '{"windows": [{"per": "1 second", "requests": 3}]}');
	SELECT apikey_budget_create('limits', rate_limits => '{"requests_per_day": 5}');
	UPDATE apikeys_data.key SET budget_id = (SELECT id FROM apikeys_data.budget) WHERE name = 'gone'});
is(code_of($_), 'VALID', "$_ is used") foreach qw(gone short);
$node->safe_psql('postgres', 'SELECT apikey_flush()');
my $rows = sub {
	return $node->safe_psql('postgres', q{
		SELECT string_agg(COALESCE(k.name, b.name, 'nobody'), ' ' ORDER BY k.name, b.name) FROM apikeys_data.window_state s
		LEFT JOIN apikeys_data.key k ON k.id = s.owner_id LEFT JOIN apikeys_data.budget b ON b.id = s.owner_id
		WHERE k.name IN ('gone', 'short') OR b.name = 'limits' OR (k.id IS NULL AND b.id IS NULL)});
};
is($rows->(), 'gone short limits', 'a row for each owner');
$old->query_safe('BEGIN; SELECT apikey_delete(' . id_of('gone') . ')');
$node->poll_query_until('postgres', q{SELECT ends_at < now() FROM apikeys_data.window_state JOIN apikeys_data.key ON id = owner_id WHERE name = 'short'});
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($rows->(), 'gone limits', 'one whose windows are over is deleted, one whose key is being deleted is not');
$old->query_safe('COMMIT');
is($rows->(), 'limits nobody', 'one whose key is gone');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($rows->(), 'limits', '... is deleted');
$old->query_safe(q{BEGIN; SELECT apikey_import(digest('open-key', 'sha256'), 'open', 'x', rate_limits => '{"requests_per_day": 1}',
	budget_id => apikey_budget_create('open', rate_limits => '{"requests_per_day": 5}'))});
is($old->query_safe(q{SELECT code FROM apikey_verify('open-key')}), 'VALID', 'a key and a budget that only their own transaction sees are used');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($rows->(), 'limits nobody nobody', '... have rows');
displace();
is($rows->(), 'limits nobody nobody', '... which stay');
is($old->query_safe(q{SELECT code FROM apikey_verify('open-key')}), 'RATE_LIMITED', '... and limit it');
$old->query_safe('COMMIT');
$old->quit;
is($node->safe_psql('postgres', 'SELECT string_agg(used::text, \' \') FROM apikey_limits(' . id_of('open') . ')'), '1 1', '... with what they have used');
# A family without its first key has its row as long as one of its keys is there, which
# may be extended.
add_limited($node, "(VALUES ('first'))");
is(code_of('first'), 'VALID', 'the first key of a family is used');
my $successor = $node->safe_psql('postgres', 'SELECT id FROM apikey_rotate(' . id_of('first') . q{, '0')});
$node->safe_psql('postgres', 'SELECT apikey_delete(' . id_of('first') . qq{); SELECT apikey_flush();
	UPDATE apikeys_data.key SET expires_at = now() - interval '1 s' WHERE id = '$successor'; SELECT apikey_flush();
	UPDATE apikeys_data.key SET expires_at = NULL WHERE id = '$successor'});
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT used::text, ' ') FROM apikey_limits('$successor') WHERE name LIKE 'requests%'"), 1,
	'... which counts for its successor, that has expired and is extended');
is_sound($node, 'postgres', 'step by step');

# ------------------------------------------------- a database that is copied

# The copy goes on from what was stored, by itself.
add_limited($node, "(VALUES ('copied'))");
is(code_of('copied'), 'VALID', 'a key is used');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is(code_of('copied'), 'VALID', '... and once more, which is not stored');
$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
my $copied = sub {
	return $node->safe_psql($_[0], sprintf q{SELECT used FROM apikey_limits(%s) WHERE max = 3}, id_of('copied'));
};
is($copied->('copy'), 1, 'a copy of the database has what was stored');
is($node->safe_psql('copy', q{SELECT string_agg(apikey_check('copied-key'), ' ') FROM generate_series(1, 3)}),
	'VALID VALID RATE_LIMITED', '... and goes on from there');
is($copied->('postgres'), 2, '... by itself');
is_sound($node, 'copy', 'a copy');
$node->safe_psql('template1', 'DROP DATABASE copy');

# -------------------------------------------------------------- a standby

$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'apikeys.feed_interval = 0');
$standby->start;
add_limited($node, "(VALUES ('e'), ('f'), ('g'))");
is(code_of('e'), 'VALID', 'the primary: used') for 1 .. 2;
is(code_of($_), 'VALID', 'the primary: used') foreach qw(f g);
$node->safe_psql('postgres', 'SELECT apikey_flush()');
$node->wait_for_catchup($standby);
is(used('e', $standby), '2 2 2 0', 'a standby knows what is stored');
is(code_of('e', $standby), 'VALID', '... and goes on from there');
is(code_of('e', $standby), 'RATE_LIMITED', '... to the limit');
is(code_of('f', $standby), 'VALID', '... by itself');
is(code_of('f'), 'VALID', 'the primary goes on, too') for 1 .. 2;
$node->safe_psql('postgres', 'SELECT apikey_flush()');
$node->wait_for_catchup($standby);
is(used('f', $standby), '2 2 2 0', 'a standby counts for itself what it has read');
$node->stop;
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is(used('e', $standby), '3 3 3 0', 'promoted: what the standby has counted counts');
is(used('f', $standby), '3 3 3 0', '... and what the primary had stored since');
is(code_of('f', $standby), 'RATE_LIMITED', '... and limits');
is(used('g', $standby), '1 1 1 0', '... and what it has not yet used');
$standby->safe_psql('postgres', 'SELECT apikey_flush()');
$standby->stop('immediate');
$standby->start;
is(used('e', $standby), '3 3 3 0', '... and is stored');
is_sound($standby, 'postgres', 'promoted');

$standby->stop;
done_testing();
