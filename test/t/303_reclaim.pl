
# Keys that nobody can use any more take no space from others: a table of 16
# entries sees many more keys with limits come and go, and refuses none.  What
# the limits of living keys have counted is never forgotten for that.
#
# There is no worker but the launcher (and the server's own), so that windows are not stored but by
# apikey_flush(): what is not stored cannot be evicted.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $size = 16;
my $node = start_node(
	'main',
	"apikeys.max_tracked_keys = $size",
	"apikeys.flush_interval = '1h'",
	'max_prepared_transactions = 2',
	'max_worker_processes = 2',
	'wal_level = replica',
	'max_wal_senders = 4');

sub add_limited
{
	my ($names, %options) = @_;

	$node->safe_psql($options{dbname} // 'postgres', sprintf q{
		SELECT apikey_import(digest(name || '-key', 'sha256'), name, name || '-...',
			rate_limits => '{"requests_per_day": 2, "max_concurrent_requests": 2}')
		FROM unnest('{%s}'::text[]) name}, join ',', @$names);
}

# The code, REFUSED if there was no space, or the SQLSTATE of the error.
sub try_verify
{
	my ($name, %options) = @_;
	my ($ret, $stdout, $stderr) = ($options{node} // $node)->psql(
		$options{dbname} // 'postgres',
		sprintf("%s SELECT CASE WHEN reason LIKE 'shared memory is full%%' THEN 'REFUSED' ELSE code END FROM apikey_verify('%s-key'%s)",
			$options{before} // '', $name, $options{reserve} ? ', reserve => true' : ''),
		extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	return $ret == 0 ? $stdout : $stderr =~ /ERROR:  (\w+)/ ? $1 : $stderr;
}

# How often a key has been used by its window.
sub used
{
	my ($name) = @_;

	return $node->safe_psql('postgres',
		sprintf q{SELECT used FROM apikey_limits(%s) WHERE name = 'requests_per_day'}, id_of($name));
}

sub delete_directly
{
	my ($names, %options) = @_;

	$node->safe_psql($options{dbname} // 'postgres',
		sprintf q{DELETE FROM apikeys_data.key WHERE name = ANY ('{%s}')}, join ',', @$names);
}

# Nobody looks for the dead where nobody has found any in the last second.
sub pause_is_over
{
	my $from = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

	$node->poll_query_until('postgres', "SELECT clock_timestamp() > '$from'::timestamptz + interval '1 s'")
	  or die 'time stands still';
}

# Empties the table: after a crash there is nothing in it.
sub clear
{
	$node->safe_psql('postgres', 'DELETE FROM apikeys_data.key');
	$node->stop('immediate');
	$node->start;
	is(stats($node, 'entries_used'), 0, 'the table is empty');
}

# ------------------------------------------------------- coming and going

my @living = map { "living $_" } 1 .. 8;
add_limited(\@living);
is(try_verify($_), 'VALID', "$_ is used") foreach @living;

# One that is derived has limits of its own, beside its parent's.
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('parent-key', 'sha256'), 'parent', 'parent-...');
	SELECT apikey_derive('parent-key', '1 hour', 'derived', rate_limits => '{"requests_per_day": 2}');
	UPDATE apikeys_data.key SET key_hash = digest('derived-key', 'sha256') WHERE name = 'derived'});
is(try_verify('derived'), 'VALID', 'a derived key is used');
push @living, 'derived';

my $derived = q{PERFORM v.valid FROM apikey_derive(k.raw_key, '1 hour', rate_limits => '{"requests_per_day": 5}') d, apikey_verify(d.raw_key) v};
my %ends = (
	'its parent deleted' => "$derived; PERFORM apikey_delete(k.id)",
	'its parent revoked' => "$derived; PERFORM apikey_revoke(k.id)",
	'deleted' => 'PERFORM apikey_delete(k.id)',
	'deleted by hand' => 'DELETE FROM apikeys_data.key WHERE id = k.id',
	'revoked' => 'PERFORM apikey_revoke(k.id)',
	'expired' => 'UPDATE apikeys_data.key SET expires_at = clock_timestamp() WHERE id = k.id',
	'expired and cleaned up' =>
	  q{UPDATE apikeys_data.key SET expires_at = clock_timestamp() WHERE id = k.id; PERFORM apikey_cleanup_expired('0 s')},
	'rotated and revoked' =>
	  q{SELECT * INTO k FROM apikey_rotate(k.id); PERFORM apikey_verify(k.raw_key); PERFORM apikey_revoke(k.id)},
	'rotated and deleted' =>
	  q{PERFORM apikey_delete((apikey_rotate(k.id)).id); PERFORM apikey_delete(k.id)},
);

# That a transaction with an id is open all the time changes nothing.
my $older = $node->background_psql('postgres');
$older->query_safe('BEGIN; SELECT pg_current_xact_id()');
foreach my $end (sort keys %ends)
{
	my ($ret, $stdout, $stderr) = $node->psql('postgres', qq{
		DO \$\$
		DECLARE
			k record;
		BEGIN
			FOR i IN 1 .. 100 LOOP
				SELECT * INTO k FROM apikey_generate('short-lived', rate_limits => '{"requests_per_day": 5}');
				COMMIT;
				IF NOT (SELECT valid FROM apikey_verify(k.raw_key)) THEN
					RAISE 'not valid';
				END IF;
				$ends{$end};
				COMMIT;
			END LOOP;
		END \$\$});
	is($ret, 0, "100 keys used and then $end") or diag $stderr;
}
$older->quit;
is(stats($node, 'refused'), 0, 'nobody was refused');
is(stats($node, 'reclaimed > 300'), 't', 'entries were reclaimed');
is(used($_), 1, "$_: its window is as it was") foreach @living;

# Many sessions at once
$node->safe_psql('postgres', 'SELECT apikey_flush()');
my $load = start_load($node, 'postgres', q{
SELECT quote_literal(id) AS key_id, quote_literal(raw_key) AS raw_key
FROM apikey_generate('x', rate_limits => '{"requests_per_day": 5}') \gset
SELECT 1 / valid::int FROM apikey_verify(:raw_key);
DELETE FROM apikeys_data.key WHERE id = :key_id;
}, '--client', 4, '--jobs', 2, '--transactions', 200);
ok(end_load($load), 'four sessions at once: no error') or diag $load->{err};
unlike($load->{err}, qr/error/i, 'four sessions at once: nothing to complain of');
is(used($_), 1, "$_: its window is as it was") foreach @living;

# --------------------------------------------------- a table of the living

my @more = map { "more $_" } 1 .. $size;
clear();
add_limited([ @more, 'new', 'newer' ]);
is(try_verify($_), 'VALID', "$_ is used") foreach @more;
my $reclaimed = stats($node, 'reclaimed');
is(try_verify('new'), 'REFUSED', 'a table full of living keys');
is(try_verify('new'), 'REFUSED', '... refuses another, again');
is(stats($node, 'entries_used, entries_free, entries_limited, entries_other_databases, refused, reclaimed'),
	"$size|0|$size|0|2|$reclaimed", '... and apikeys.stats says why');
$node->safe_psql('postgres', sprintf 'UPDATE apikeys_data.key SET enabled = false WHERE name = %s', q{'more 2'});
pause_is_over();
is(try_verify('new'), 'REFUSED', 'a key that is disabled is alive');
$node->safe_psql('postgres', sprintf 'UPDATE apikeys_data.key SET enabled = true WHERE name = %s', q{'more 2'});
$node->safe_psql('postgres', sprintf 'SELECT apikey_delete(%s)', id_of('more 1'));
is(try_verify('new'), 'VALID', 'there is space once one is deleted');
is(used($_), 1, "$_: its window is as it was") foreach @more[1 .. $size - 1];

# ------------------------------------------------- what is not yet certain

# A transaction that deletes keys, and does not commit
my $deleted = q{DELETE FROM apikeys_data.key WHERE name LIKE 'more %'};
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; $deleted");
pause_is_over();
is($session->query_safe(q{
	SELECT code, retry_after FROM apikey_verify('newer-key')}), 'RATE_LIMITED|1', 'a transaction that has deleted keys gains nothing');
pause_is_over();
is(try_verify('newer'), 'REFUSED', '... and others gain nothing by it');
$session->query_safe('ROLLBACK');
is(used($_), 1, "$_: its window is as it was") foreach @more[1 .. $size - 1];
$session->quit;

# Nor one that has locked an expired key in a subtransaction, and extends it:
# the number of a multixact stands in its row, and not that of a transaction.
$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET expires_at = clock_timestamp() WHERE name = 'more 2'});
$session = $node->background_psql('postgres');
$session->query_safe(sprintf q{BEGIN; SAVEPOINT s;
	SELECT FROM apikeys_data.key WHERE name = 'more 2' FOR UPDATE; RELEASE s;
	SELECT FROM apikey_update(%s, '{"expires_at": null}')}, id_of('more 2'));
pause_is_over();
is(try_verify('newer'), 'REFUSED', 'an expired key that is being extended is alive');
$session->query_safe('COMMIT');
$session->quit;
is(used('more 2'), 1, '... and its window is as it was');

# Nor does one that is prepared, before it commits
$node->safe_psql('postgres', "BEGIN; $deleted AND name = 'more 2'; PREPARE TRANSACTION 'p'");
pause_is_over();
is(try_verify('newer'), 'REFUSED', 'prepared: refused');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'p'");
is(used('more 2'), 1, 'prepared and rolled back: the window is as it was');
$node->safe_psql('postgres', "BEGIN; $deleted AND name = 'more 2'; PREPARE TRANSACTION 'p'");
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
pause_is_over();
is(try_verify('newer'), 'VALID', 'prepared and committed: there is space');

# A key that only its own transaction sees is alive, also if that is prepared
# and the server restarted.
clear();
$session = $node->background_psql('postgres');
my $key = $session->query_safe(q{BEGIN;
	SELECT raw_key FROM apikey_generate('unseen', rate_limits => '{"requests_per_day": 2}')});
is($session->query_safe("SELECT code FROM apikey_verify('$key')"), 'VALID', 'used where it was made');
add_limited(\@more);
is(try_verify($_), 'VALID', "$_ is used") foreach @more[0 .. $size - 2];
is(try_verify("more $size"), 'REFUSED', 'the entry of an unseen key is not taken');
$session->query_safe(q{PREPARE TRANSACTION 'q'});
$session->quit;
pause_is_over();
is(try_verify("more $size"), 'REFUSED', '... prepared');
$node->restart;
is(try_verify("more $size"), 'REFUSED', '... after a restart');
$node->safe_psql('postgres', "COMMIT PREPARED 'q'");
is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('$key') UNION ALL SELECT code FROM apikey_verify('$key')"),
	"VALID\nRATE_LIMITED", 'it has passed twice, as often as it may');
delete_directly(['more 1']);
pause_is_over();
is(try_verify("more $size"), 'VALID', 'there is space again');

# A key expires while a transaction rotates it.
clear();
add_limited([ @more, 'root' ]);
is(try_verify('root'), 'VALID', 'a key is used') for 1 .. 2;
$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET expires_at = clock_timestamp() + '1 s' WHERE name = 'root'});
$session = $node->background_psql('postgres');
$key = $session->query_safe(sprintf q{BEGIN; SELECT raw_key FROM apikey_rotate(%s, expires_at => 'infinity')}, id_of('root'));
wait_for($node, 'postgres', q{SELECT status = 'expired' FROM apikeys.info WHERE name = 'root'}, '... and expires');
is(try_verify($_), 'VALID', "$_ is used") foreach @more[0 .. $size - 2];
is(try_verify("more $size"), 'REFUSED', 'a family that is being rotated is alive');
$session->query_safe('COMMIT');
$session->quit;
is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('$key')"), 'RATE_LIMITED',
	'the successor shares what was spent');

# Deleting a key leaves the windows to its successor.
my $successor = $node->safe_psql('postgres', sprintf q{SELECT raw_key FROM apikey_rotate(%s, '1 h')}, id_of('more 1'));
$node->safe_psql('postgres', sprintf 'SELECT apikey_delete(%s)', id_of('more 1'));
is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('$successor') UNION ALL SELECT code FROM apikey_verify('$successor')"),
	"VALID\nRATE_LIMITED", 'a key whose predecessor is deleted');

# Of a table of another access method nobody knows who is about to change a row.
$node->safe_psql('postgres', q{
	CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
	ALTER TABLE apikeys_data.key SET ACCESS METHOD heap2});
clear();
add_limited([ @more, 'new' ]);
is(try_verify($_), 'VALID', "$_ is used") foreach @more;
$node->safe_psql('postgres', "SELECT apikey_revoke(${\id_of('more 1')})");
is(try_verify('new'), 'REFUSED', 'another access method: revoked is not dead for certain');
delete_directly(['more 1']);
pause_is_over();
is(try_verify('new'), 'VALID', '... but deleted is');
$node->safe_psql('postgres', 'ALTER TABLE apikeys_data.key SET ACCESS METHOD heap');

# -------------------------------------------------------- other ways to it

clear();
add_limited([ @more, 'new' ]);
is(try_verify($_), 'VALID', "$_ is used") foreach @more;
delete_directly(\@more);
$node->restart;
is(stats($node, 'entries_limited'), $size, 'the dead come back after a restart');
is(try_verify('new'), 'VALID', '... and make room');

clear();
add_limited(\@more);
is(try_verify($_), 'VALID', "$_ is used") foreach @more;
$node->safe_psql('postgres', 'SELECT apikey_flush()');
delete_directly([ @more[0 .. 9] ]);
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is(stats($node, 'entries_used, entries_limited'), '6|6', 'apikey_flush() removes them');

# One that is copied by a flush gives way before that has committed.
clear();
add_limited([ @more, 'new' ]);
is(try_verify($_), 'VALID', "$_ is used") foreach @more;
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN; SELECT apikey_flush()');
$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET revoked_at = now() WHERE name = 'more 1'});
is(try_verify('new'), 'VALID', 'one that is revoked while it is stored makes room');
$session->query_safe('COMMIT');
$session->quit;
is(used('new'), 1, '... to another, of which nothing is stored');
is($node->safe_psql('postgres', 'SELECT * FROM apikeys_data.shared_memory_problems()'), '', '... and shared memory is sound');

# Windows that have changed since they were stored, and are over since, need no space.
# A last use that is not stored would: there is none, whether or not a second has passed
# between the two (last_used.c).
$node->append_conf('postgresql.conf', 'apikeys.last_used_throttle = -1');
clear();
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest(i || '-key', 'sha256'), i::text, 'x', rate_limits => '{"windows": [{"per": "2 seconds", "requests": 100}]}')
	FROM generate_series(1, 17) i});
my $all = q{SELECT string_agg(DISTINCT code, ' ') FROM generate_series(1, 16) i, LATERAL apikey_verify(i || '-key');};
is($node->safe_psql('postgres', "$all $all SELECT apikey_flush() > 0; SELECT pg_sleep(1); $all SELECT left(reason, 21) FROM apikey_verify('17-key')"),
	"VALID\nVALID\nt\n\nVALID\nshared memory is full", 'windows of two seconds that are not stored');
pause_is_over() foreach 1 .. 4;
is(try_verify('17'), 'VALID', '... are over');
is(stats($node, 'evictions'), 1, '... and one has made room');
$node->append_conf('postgresql.conf', 'apikeys.last_used_throttle = 5min');

# Tokens of a living key are spent, whatever the dead had left.
clear();
delete_directly(\@more);
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('tokens-key', 'sha256'), 'tokens', 'tokens-...', rate_limits => '{"tokens_per_day": 100}')});
add_limited(\@more);
is(try_verify($_), 'VALID', "$_ is used") foreach @more;
delete_directly(\@more);
my ($ret, $stdout, $stderr) = $node->psql('postgres', sprintf q{SELECT apikey_record_usage(%s, 100)}, id_of('tokens'));
is("$ret$stderr", '0', 'usage is recorded without a warning');
is(try_verify('tokens'), 'RATE_LIMITED', '... and spent');

# Reservations that the dead have not given back
clear();
add_limited([ @more, 'new' ]);
is(try_verify($_, reserve => 1), 'VALID', "$_ reserves") foreach @more[0 .. 7], @more[0 .. 7];
delete_directly(\@more);
is(try_verify('new', reserve => 1), 'VALID', 'another gets one of theirs');

# ... nor those that are revoked: only for want of space
clear();
delete_directly([ @more, 'new' ]);
add_limited([ @more, 'new' ]);
my $held = $node->safe_psql('postgres', "SELECT reservation FROM apikey_verify('$more[0]-key', reserve => true)");
is(try_verify($_), 'VALID', "$_ is used") foreach @more[1 .. $size - 1];
$node->safe_psql('postgres', sprintf 'SELECT apikey_revoke(%s)', id_of($more[0]));
is(try_verify('new'), 'VALID', 'a revoked key makes room');
is($node->safe_psql('postgres', "SELECT apikey_release('$held')"), 'f', '... with what it has reserved');

# A standby
clear();
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'apikeys.feed_interval = 0');
$standby->start;
add_limited([ @more, 'new' ]);
$node->wait_for_catchup($standby);
is(try_verify($_, node => $standby), 'VALID', "standby: $_ is used") foreach @more;
is(try_verify('new', node => $standby), 'REFUSED', 'standby: full');
delete_directly(\@more);
$node->wait_for_catchup($standby);
pause_is_over();
is(try_verify('new', node => $standby), 'VALID', 'standby: there is space again');
$node->safe_psql('postgres', 'CREATE DATABASE dropped');
add_extension($node, 'dropped');
add_limited(\@more, dbname => 'dropped');
add_limited(['newer']);
$node->wait_for_catchup($standby);
is(try_verify($_, node => $standby, dbname => 'dropped'), 'VALID', "standby: $_ of another database is used") foreach @more[1 .. $size - 1];
$node->safe_psql('postgres', 'DROP DATABASE dropped');
$node->wait_for_catchup($standby);
is(try_verify('newer', node => $standby), 'VALID', 'standby: the entries of a database that is dropped make room');
$standby->stop;

# Another database has filled the table: a flush worker is sent to it.
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '10ms'\nmax_worker_processes = 8");
clear();
add_limited([ @more, 'new' ]);
$node->safe_psql('postgres', 'CREATE DATABASE other');
add_extension($node, 'other');
add_limited(\@more, dbname => 'other');
is(try_verify($_, dbname => 'other'), 'VALID', "other database: $_ is used") foreach @more;
is(stats($node, 'entries_other_databases'), $size, 'apikeys.stats says so');
delete_directly(\@more, dbname => 'other');
wait_until('other database: it has made room', sub { try_verify('new') eq 'VALID' });
is(stats($node, 'flush_errors'), 0, 'no flush has failed');

$node->stop;

# ------------------------------------------------------- one partition

# Ids whose hash, if it had no seed, would put them into the same one of two
# partitions: nobody can choose his keys so that they fill one.  The hash of a
# database and an id is hash_bytes() of the server.
sub rotate_left
{
	my ($x, $n) = @_;
	return (($x << $n) | ($x >> (32 - $n))) & 0xffffffff;
}

sub hash_bytes
{
	my ($bytes) = @_;
	my $length = length $bytes;
	my ($x, $y, $z) = (0x9e3779b9 + $length + 3923095) x 3;

	while (length $bytes >= 12)
	{
		my @words = unpack 'L3', substr $bytes, 0, 12, '';
		$_ = ($_ + shift @words) & 0xffffffff foreach $x, $y, $z;
		foreach my $n (4, 6, 8, 16, 19, 4)
		{
			$x = (($x - $z) & 0xffffffff) ^ rotate_left($z, $n);
			$z = ($z + $y) & 0xffffffff;
			($x, $y, $z) = ($y, $z, $x);
		}
	}
	my @words = unpack 'L*', $bytes;    # one or two
	$_ = ($_ + (shift(@words) // 0)) & 0xffffffff foreach $x, $y;
	foreach my $n (14, 11, 25, 16, 4, 14, 24)
	{
		$z = (($z ^ $y) - rotate_left($y, $n)) & 0xffffffff;
		($x, $y, $z) = ($y, $z, $x);
	}
	return $y;
}

my $seeded = start_node('seeded', 'apikeys.max_tracked_keys = 2048', 'apikeys.last_used_throttle = -1');
my $known = '0123456789abcdef0123456789abcdef';
is($seeded->safe_psql('postgres', "SELECT uuid_hash('$known')"),
	unpack('l', pack 'L', hash_bytes(pack 'H*', $known)), 'control: the hash of the server');

my $database = pack 'L', $seeded->safe_psql('postgres', 'SELECT oid FROM pg_database WHERE datname = current_database()');
my @ids = grep { hash_bytes($database . pack 'H*', $_) % 2 == 0 }
  map { sprintf '%08x%08x%08x%08x', map { int rand 2**32 } 1 .. 4 } 1 .. 2400;
cmp_ok(scalar @ids, '>', 1100, 'control: more than a partition holds');
$seeded->safe_psql('postgres', sprintf q{
	INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name, rate_limits)
	SELECT i, i, digest(i::text, 'sha256'), 'x', 'x', '{"requests_per_day": 1}'
	FROM unnest('{%s}'::uuid[]) i}, join ',', @ids[0 .. 1099]);
is($seeded->safe_psql('postgres', q{
		SELECT count(*) FROM apikeys_data.key k, LATERAL apikey_verify(k.id::text) v WHERE v.valid}),
	1100, 'none is refused');
$seeded->restart;
is(stats($seeded, 'entries_limited'), 1100, 'all are there after a restart');

$seeded->stop;
done_testing();
