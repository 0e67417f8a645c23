
# Without shared_preload_libraries everything works.  On servers before 17
# there is no shared memory then: last use is written in the call, where that
# makes nobody wait and nothing fail.  (test/run runs the whole regression
# suite in this mode, too.)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = ''
	deadlock_timeout = 10ms
	log_lock_waits = on});
$node->start;
my $log_before = -s $node->logfile;
add_extension($node, 'postgres');
add_keys($node, 'postgres', qw(used throttled held held_table off read_only repeatable serializable old));

# Usage is the same with or without.
my $id = id_of('used');
$node->safe_psql('postgres', "SELECT apikey_record_usage($id, 3, 0.25), apikey_record_usage($id, 4, 0.5)");
my $usage = "SELECT total_requests, total_tokens, total_cost FROM apikey_usage($id)";
is($node->safe_psql('postgres', $usage), '2|7|0.75', 'usage is exact before the roll-up');
cmp_ok($node->safe_psql('postgres', 'SELECT apikey_flush()'), '>', 0, 'apikey_flush() works');
is($node->safe_psql('postgres', $usage), '2|7|0.75', 'usage is exact after it');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry'), 0, 'nothing is left to roll up');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'apikeys%'"),
	0, 'there is no worker');
is(verify($node, 'postgres', 'used'), 'VALID', 'verify works');
isnt(last_use($node, 'postgres', 'used'), '', 'last use is seen');

if ($node->pg_version >= 17)
{
	is(stats($node, 'shared_memory'), 't', 'there is shared memory');
	is(stored_use($node, 'postgres', 'used'), '', 'last use is not written in the call');
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	isnt(stored_use($node, 'postgres', 'used'), '', 'but by apikey_flush()');

	# A database that lets no flush worker in for a while loses nothing.
	$node->append_conf('postgresql.conf', "apikeys.flush_interval = '10ms'\napikeys.last_used_throttle = 0");
	$node->reload;
	$node->safe_psql('postgres', 'CREATE DATABASE closed');
	add_extension($node, 'closed');
	add_keys($node, 'closed', qw(before during after));
	$node->safe_psql('closed', q{SELECT count(apikey_update(id, '{"rate_limits": {"requests_per_day": 1000000}}')::text) FROM apikeys_data.key});
	my $holder = $node->background_psql('closed');
	my $used = 'SELECT used FROM apikeys_data.key k, apikey_limits(k.id) l ORDER BY k.name';
	$holder->query_safe(q{SELECT code FROM apikey_verify('before-key')});
	wait_until('a flush worker has come', sub { stored_use($node, 'closed', 'before') ne '' });
	$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS false');
	is($holder->query_safe(q{SELECT code FROM apikey_verify('during-key')}), 'VALID', 'a closed database: verify works');
	ok($node->wait_for_log(qr/FATAL: .*"closed" is not currently accepting connections/, $log_before),
		'a closed database: a flush worker cannot connect');
	is($holder->query_safe($used), "0\n1\n1", 'a closed database: the windows are kept');
	is($holder->query_safe(q{SELECT last_used_at IS NOT NULL FROM apikeys.info WHERE name = 'during'}), 't',
		'a closed database: the use is kept');
	$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS true');
	wait_until('opened, it is flushed', sub {
		$holder->query_safe(q{SELECT code FROM apikey_verify('before-key')});
		return stored_use($node, 'closed', 'during') ne '';
	});
	is($holder->query_safe("SELECT total_requests FROM apikeys.info WHERE name = 'during'"), 0, 'opened, it is flushed');

	# What belongs to one that was dropped goes with the next flush of another.
	$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS false');
	$holder->query_safe(q{SELECT code FROM apikey_verify('after-key')});
	cmp_ok(stats($node, 'pending'), '>', 0, 'a use is pending');
	$holder->quit;
	$node->safe_psql('postgres', 'DROP DATABASE closed');
	verify($node, 'postgres', 'old');
	wait_for($node, 'postgres', 'SELECT pending = 0 FROM apikeys.stats', 'the database dropped, it is removed');

	# Nobody hears of it if the extension is dropped by a session that has not
	# loaded the library; the next installation removes what it has left.
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	$node->safe_psql('postgres', 'DROP EXTENSION apikeys');
	add_extension($node, 'postgres');
	is_sound($node, 'postgres', 'dropped without the library, and made anew');

	# One that drops it so, and makes it anew, may be rolled back.
	my ($id, $raw_key) = split /\|/, $node->safe_psql('postgres', q{SELECT * FROM apikey_generate('kept', rate_limits => '{"max_concurrent_requests": 2}')});
	$node->safe_psql('postgres', "SELECT code FROM apikey_verify('$raw_key', reserve => true)");
	$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION apikeys; CREATE EXTENSION apikeys; ROLLBACK');
	is($node->safe_psql('postgres', "SELECT reserved FROM apikey_limits('$id')"), 1, 'dropped, made anew, and rolled back: a reservation is held');
	$node->stop;
	done_testing();
	exit;
}

is(stats($node, 'shared_memory'), 'f', 'there is no shared memory');
is($node->safe_psql('postgres', q{
		SELECT string_agg(key, ' ' ORDER BY key)
		FROM apikeys.stats, jsonb_each(to_jsonb(stats)) WHERE value <> 'null'}),
	'shared_memory', 'and no other figure');

# In the call, throttled by what is stored
my $first = stored_use($node, 'postgres', 'used');
isnt($first, '', 'last use is written in the call');
is(verify($node, 'postgres', 'used'), 'VALID', 'verified again');
is(stored_use($node, 'postgres', 'used'), $first, 'not before the throttle has gone by');
$node->safe_psql('postgres', "UPDATE apikeys_data.usage SET last_used_at = last_used_at - interval '6 minutes'");
is(verify($node, 'postgres', 'used'), 'VALID', 'verified later');
cmp_ok(stored_use($node, 'postgres', 'used'), 'ge', $first, 'after it, it is written again');
$node->safe_psql('postgres', "UPDATE apikeys_data.usage SET last_used_at = '2100-01-01'");
verify($node, 'postgres', 'used');
is($node->safe_psql('postgres', "SELECT last_used_at = '2100-01-01' FROM apikeys_data.usage WHERE key_id = $id"),
	't', 'and never gets older');

# Only where a transaction may write, and where nothing fails for it
my %mode = (
	read_only => 'READ ONLY',
	repeatable => 'ISOLATION LEVEL REPEATABLE READ',
	serializable => 'ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE');
foreach my $name (sort keys %mode)
{
	is($node->safe_psql('postgres', "BEGIN $mode{$name}; SELECT code FROM apikey_verify('$name-key'); COMMIT"),
		'VALID', "$mode{$name}: verify works");
	is(stored_use($node, 'postgres', $name), '', "$mode{$name}: nothing is written");
}

# Only where nobody has to be waited for
verify($node, 'postgres', 'held');
$node->safe_psql('postgres', "UPDATE apikeys_data.usage SET last_used_at = '2001-01-01' WHERE key_id = ${\id_of('held')}");
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT count(*) FROM (SELECT FROM apikeys_data.usage FOR UPDATE) u');
is(verify($node, 'postgres', 'held'), 'VALID', 'the row is held: verify works');
is($node->safe_psql('postgres', "SELECT last_used_at = '2001-01-01' FROM apikeys_data.usage WHERE key_id = ${\id_of('held')}"),
	't', 'the row is held: nothing is written');
$holder->query_safe('COMMIT');
is(verify($node, 'postgres', 'held'), 'VALID', 'the row is free again');
is($node->safe_psql('postgres', "SELECT last_used_at > '2001-01-01' FROM apikeys_data.usage WHERE key_id = ${\id_of('held')}"),
	't', 'and it is written');

# A transaction that fails takes its use along, and no more.
$node->safe_psql('postgres', "BEGIN; SELECT code FROM apikey_verify('throttled-key'); ROLLBACK");
is(stored_use($node, 'postgres', 'throttled'), '', 'a use that is rolled back is not kept');
is(verify($node, 'postgres', 'throttled'), 'VALID', 'the next one');
isnt(stored_use($node, 'postgres', 'throttled'), '', 'is');

$node->safe_psql('postgres', q{LOAD 'apikeys'; ALTER SYSTEM SET apikeys.last_used_throttle = -1});
$node->reload;
wait_until('the throttle is off', sub { $node->safe_psql('postgres',
	q{LOAD 'apikeys'; SHOW apikeys.last_used_throttle}) eq '-1' });
is(verify($node, 'postgres', 'off'), 'VALID', '-1: verify works');
is(stored_use($node, 'postgres', 'off'), '', '-1: nothing is written');
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('idle-key', 'sha256'), 'idle', 'x', idle_timeout => '1 hour');
	SELECT code FROM apikey_verify('idle-key', client_ip => '10.0.0.1')});
is($node->safe_psql('postgres', "SELECT last_used_at IS NOT NULL, last_used_ip FROM apikeys_data.usage WHERE key_id = ${\id_of('idle')}"),
	't|', '-1: but when a key was used that may not be idle for long, and not from where');

# A hundred verifies in one session: one word about it in the log
my $log_session = -s $node->logfile;
$node->safe_psql('postgres', q{
	SELECT count(v.code) FROM generate_series(1, 100) n, LATERAL apikey_verify('used-key' || left(n::text, 0)) v;
	SELECT apikey_flush();
	SELECT count(*) FROM apikeys.stats});
cmp_ok(count_in_log($node, qr/shared_preload_libraries/, $log_session), '<=', 1, 'a session says it once at most');
cmp_ok(count_in_log($node, qr/shared_preload_libraries/, $log_before), '>=', 1, 'the log says what preloading would give');
is(count_in_log($node, qr/still waiting for/, $log_before), 0, 'nobody has waited');

$holder->quit;
$node->stop;
done_testing();
