# Keys are rehashed: by the flush worker, which waits for nobody and is stopped
# by no key; not on a standby; and without preloading as far as it goes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use Digest::SHA qw(hmac_sha256);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SecretsTest;
use Test::More;

my $node = new_node('main', "apikeys.flush_interval = '50ms'", 'wal_level = replica', 'max_wal_senders = 2', 'hot_standby = on');
my $setting = "apikeys.hmac_secret_file = '" . secret_file($node) . "'";

write_secrets($node, 'new', 'old');
$node->append_conf('postgresql.conf', $setting);
$node->append_conf('postgresql.conf', "wal_keep_size = '128MB'");
$node->start;
add_extension($node, 'postgres');

# Imports keys that are signed with a secret, or with none.
sub import_keys
{
	my ($to, $secret, @names) = @_;
	my ($hash, $name) = $secret ? (sprintf("hmac(name || '-key', '%s', 'sha256')", secret_of($secret)), "'$secret'")
	  : ("digest(name || '-key', 'sha256')", 'NULL');

	$to->safe_psql('postgres', sprintf q{
		SELECT apikey_import(%s, name, 'x', hash_secret => %s) FROM unnest('{%s}'::text[]) name}, $hash, $name, join ',', @names);
}

sub codes
{
	my ($to, @names) = @_;

	return $to->safe_psql('postgres', sprintf q{
		SELECT string_agg(code, ' ' ORDER BY n) FROM unnest('{%s}'::text[]) WITH ORDINALITY t(name, n), LATERAL apikey_verify(t.name || '-key')},
		join ',', @names);
}

# Passes once keys are signed with these secrets.
sub wait_for_signed
{
	my ($to, $test_name, %signed) = @_;
	my @conditions = map { "(SELECT array_agg(coalesce(hash_secret, 'plain') ORDER BY hash_secret NULLS FIRST) = '{$signed{$_}}' FROM apikeys_data.key WHERE name = '$_')" } keys %signed;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for($to, 'postgres', 'SELECT ' . join(' AND ', @conditions), $test_name);
}

# --- nobody is stopped

import_keys($node, 'old', qw(a b c locked guarded twice));
import_keys($node, undef, qw(d twice));
$node->safe_psql('postgres', q{
	CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'guarded'; END$$;
	CREATE TRIGGER guard BEFORE UPDATE ON apikeys_data.key FOR EACH ROW WHEN (OLD.name = 'guarded') EXECUTE FUNCTION guard()});
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT FROM apikeys_data.key WHERE name = 'locked' FOR UPDATE");

my $all = 'VALID VALID VALID VALID VALID VALID VALID';
my @names = qw(a b c d locked guarded twice);
is(codes($node, @names), $all, 'all are good');
wait_for_signed($node, 'the flush worker is_current all but those that somebody holds', a => 'new', b => 'new', c => 'new', d => 'new',
	locked => 'old', guarded => 'old', twice => 'plain,new');
is(codes($node, @names), $all, 'all are good still');
$holder->query_safe('COMMIT');
$holder->quit;
wait_until('a key that was held is verified until it is signed', sub {
	codes($node, 'locked');
	$node->safe_psql('postgres', "SELECT hash_secret FROM apikeys_data.key WHERE name = 'locked'") eq 'new' });
is($node->safe_psql('postgres', q{
	SELECT count(*), count(DISTINCT key_id) FROM apikeys_data.event WHERE action = 'rehash'}),
	'6|6', 'each with an event');
$node->safe_psql('postgres', 'DROP TRIGGER guard ON apikeys_data.key');

# Nor does the worker stay for keys that each take long to fail.
my @slow = map { "slow$_" } 1 .. 8;
import_keys($node, 'old', @slow);
$node->safe_psql('postgres', q{
	CREATE FUNCTION slow_guard() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_catalog.pg_sleep(0.7); RAISE 'guarded'; END$$;
	CREATE TRIGGER guard BEFORE UPDATE ON apikeys_data.key FOR EACH ROW EXECUTE FUNCTION slow_guard()});
codes($node, @slow);
my $sleeper = q{FROM pg_stat_activity WHERE backend_type = 'apikeys flush worker' AND wait_event = 'PgSleep'};
my $worker = wait_until('a flush worker fails slowly', sub { $node->safe_psql('postgres', "SELECT pid $sleeper") });
within_5_seconds('it goes before it has tried all', sub {
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $worker)") });
$node->safe_psql('postgres', 'DROP TRIGGER guard ON apikeys_data.key');
wait_until('verified again, all are signed', sub {
	codes($node, @slow);
	$node->safe_psql('postgres', "SELECT count(*) FROM apikeys_data.key WHERE name LIKE 'slow%' AND hash_secret = 'new'") == 8 });

# --- what is rolled back is done again

$node->append_conf('postgresql.conf', "apikeys.flush_interval = '1h'");
reload_secrets($node);
import_keys($node, 'old', 'e');
codes($node, 'e');
$node->safe_psql('postgres', 'BEGIN; SELECT apikey_flush(); ROLLBACK');
is($node->safe_psql('postgres', "SELECT hash_secret FROM apikeys_data.key WHERE name = 'e'"), 'old', 'a flush is rolled back');
$node->safe_psql('postgres', q{
	BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT apikey_verify('e-key'), apikey_flush(); COMMIT});
is($node->safe_psql('postgres', "SELECT hash_secret FROM apikeys_data.key WHERE name = 'e'"), 'old', 'a transaction with a snapshot of its own is_current nothing');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
wait_for_signed($node, 'the next one does', e => 'new');

# Without secrets nothing is rehashed, and no key is lost by that.
import_keys($node, 'old', 'bare');
codes($node, 'bare');
$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = ''");
reload_secrets($node);
is($node->safe_psql('postgres', 'SELECT apikey_flush() >= 0'), 't', 'a flush without secrets');
is($node->safe_psql('postgres', "SELECT hash_secret FROM apikeys_data.key WHERE name = 'bare'"), 'old', '... rehashes nothing');
$node->append_conf('postgresql.conf', $setting);
reload_secrets($node);
is(codes($node, 'bare'), 'VALID', '... and a key is good once they are back');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
wait_for_signed($node, '... and rehashed', bare => 'new');

# What one database has enqueued goes with its extension, and what another has does not.
$node->safe_psql('postgres', 'CREATE DATABASE gone');
add_extension($node, 'gone');
import_keys($node, 'old', 'stays');
$node->safe_psql('gone', sprintf q{SELECT apikey_import(hmac('k-key', '%s', 'sha256'), 'k', 'x', hash_secret => 'old')}, secret_of('old'));
codes($node, 'stays');
is($node->safe_psql('gone', "SELECT code FROM apikey_verify('k-key')"), 'VALID', 'two databases have something to rehash');
$node->safe_psql('gone', 'DROP EXTENSION apikeys');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
wait_for_signed($node, 'one drops the extension, the other rehashes', stays => 'new');
$node->safe_psql('postgres', 'DROP DATABASE gone');

# A note that is older than a change of the first secret is_current nothing.
import_keys($node, 'old', 'f');
codes($node, 'f');
write_secrets($node, 'newest', 'new', 'old');
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '50ms'");
reload_secrets($node);
wait_for_flush_worker($node, 'postgres');
codes($node, 'f');
wait_for_signed($node, 'a key gets the secret that is the first by then', f => 'newest');
is($node->safe_psql('postgres', q{SELECT details->>'to' FROM apikeys_data.event JOIN apikeys_data.key k ON k.id = key_id WHERE action = 'rehash' AND name = 'f'}),
	'newest', 'and no other before');

# Nor does a flush worker that was started before the change, and that has been
# kept waiting: here by somebody who renames its database.
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '1h'");
reload_secrets($node);
$node->safe_psql('postgres', 'CREATE DATABASE other');
add_extension($node, 'other');
$node->safe_psql('other', sprintf q{
	SELECT apikey_import(hmac('k-key', '%s', 'sha256'), 'k', 'x', hash_secret => 'old')}, secret_of('old'));
my $verify_k = "SELECT code FROM apikey_verify('k-key')";
my $events_of_k = q{SELECT string_agg(details->>'to', ' ' ORDER BY id) FROM apikeys_data.event WHERE action = 'rehash'};
$node->safe_psql('other', $verify_k);
my $renamer = $node->background_psql('postgres');
$renamer->query_safe('BEGIN; ALTER DATABASE other RENAME TO another');
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '50ms'");
reload_secrets($node);
wait_for($node, 'postgres', q{
	SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND classid = 'pg_database'::regclass}, 'a flush worker waits for its database');
write_secrets($node, 'last', 'newest', 'new', 'old');
reload_secrets($node);
$renamer->query_safe('ROLLBACK');
$renamer->quit;
wait_until('the key is signed', sub {
	$node->safe_psql('other', $verify_k);
	$node->safe_psql('other', $events_of_k) ne '' });
is($node->safe_psql('other', $events_of_k), 'last', 'a flush worker that has waited knows of the reload');
write_secrets($node, 'newest', 'new', 'old');
reload_secrets($node);

# Nor does a statement that has not reloaded yet: the secret that it takes for
# the first may be gone from the file soon.
import_keys($node, 'old', 'stale');
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(1)');
my $stale = $node->background_psql('postgres');
$stale->query_until(qr/started/, q{\echo started
	DO $$ BEGIN
		PERFORM pg_advisory_lock_shared(1);
		PERFORM apikey_verify('stale-key');
		PERFORM apikey_flush();
	END $$;
});
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") or die;
write_secrets($node, 'latest', 'newest', 'new', 'old');
reload_secrets($node);
$gate->quit;
$stale->query_safe('SELECT 1');
$stale->quit;
codes($node, 'stale');
wait_for_signed($node, 'a key that is verified in the middle of a reload gets the new secret', stale => 'latest');
is($node->safe_psql('postgres', q{SELECT string_agg(details->>'to', ' ') FROM apikeys_data.event JOIN apikeys_data.key k ON k.id = key_id WHERE action = 'rehash' AND name = 'stale'}),
	'latest', 'and no other before');
write_secrets($node, 'newest', 'new', 'old', 'latest');
reload_secrets($node);

# --- a standby verifies, and is_current nothing

import_keys($node, 'old', 'g');
import_keys($node, undef, 'h');
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', "apikeys.hmac_secret_file = '" . secret_file($standby) . "'");
write_secrets($standby, 'newest');
$standby->start;
$node->wait_for_catchup($standby);
is(codes($standby, qw(g h f)), 'NOT_FOUND VALID VALID', 'a standby has its own file');
is(count_in_log($standby, qr/API keys are hashed with HMAC secret "old", which is not loaded/), 1, 'what is missing there is logged there');
write_secrets($standby, 'newest', 'new', 'old');
reload_secrets($standby);
is(codes($standby, qw(g h f)), 'VALID VALID VALID', 'with the whole file all are good');
is(codes($node, 'g'), 'VALID', 'the primary is_current it anew');
wait_for_signed($node, 'soon', g => 'newest', h => 'plain');
$node->wait_for_catchup($standby);
is(codes($standby, qw(g h f)), 'VALID VALID VALID', 'and the standby sees that');
$standby->promote;
codes($standby, 'h');
wait_for_signed($standby, 'a standby that is promoted is_current', h => 'newest');
$standby->stop;

# --- not preloaded

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
import_keys($node, 'old', 'i');
is(codes($node, 'i'), 'VALID', 'without preloading a key is good');
$node->safe_psql('postgres', "SELECT apikey_generate('j')");
wait_for_signed($node, 'a new one has the first secret', j => 'newest');
my $preloads = $node->safe_psql('postgres', "SELECT current_setting('server_version_num')::int < 170000") eq 't';
if ($preloads)
{
	is($node->safe_psql('postgres', "SELECT code, apikey_flush() FROM apikey_verify('i-key')"), 'VALID|0', 'without shared memory nothing is rehashed');
}
else
{
	wait_for_signed($node, 'a flush worker comes all the same', i => 'newest');
}

# Those whose hash is of a later secret are found in the caches of others by what messages call them.
import_keys($node, 'old', 'k', 'l');
my $session = $node->background_psql('postgres');
$session->query_safe('SET client_min_messages = error');
my $both = q{SELECT string_agg(v.code, ' ' ORDER BY n) FROM unnest('{k,l}'::text[]) n, LATERAL apikey_verify(n || '-key') v};
is($session->query_safe($both), 'VALID VALID', 'a session has them cached') foreach 1, 2;
$node->safe_psql('postgres', q{SELECT apikey_revoke(id) FROM apikeys_data.key WHERE name = 'k'});
is($session->query_safe($both), 'REVOKED VALID', '... and not those that others revoke');
$session->quit;

# Two whose messages have the same number: 29 bits of the hash that is stored.
my (%found, @twins);
for (my $i = 0; !@twins; $i++)
{
	my $number = unpack('V', hmac_sha256("twin$i-key", secret_of('old'))) & 0x1fffffff;

	@twins = ("twin$found{$number}", "twin$i") if defined $found{$number};
	$found{$number} = $i;
}
import_keys($node, 'old', @twins);
$session = $node->background_psql('postgres');
$session->query_safe('SET client_min_messages = error');
my $twins = sprintf q{SELECT string_agg(v.code, ' ' ORDER BY n) FROM unnest('{%s}'::text[]) WITH ORDINALITY t(name, n), LATERAL apikey_verify(t.name || '-key') v},
  join ',', @twins;
is($session->query_safe($twins), 'VALID VALID', 'twins: a session has seen them') foreach 1, 2;
foreach my $case ([ $twins[1], 'VALID REVOKED' ], [ $twins[0], 'REVOKED REVOKED' ])
{
	$node->safe_psql('postgres', "SELECT apikey_revoke(${\id_of($case->[0])})");
	is($session->query_safe($twins), $case->[1], "twins: $case->[0] is revoked");
}
$session->quit;

chmod 0644, secret_file($node);
is(codes($node, 'i'), 'NOT_FOUND', 'a session that finds a bad file has no secrets');
is(count_in_log($node, qr/was refused\n.*DETAIL:  Others may read it/) > 0, 1, 'and says so');
$node->safe_psql('postgres', 'CREATE TABLE numbers AS SELECT generate_series(1, 10000) AS i');
my $offset = -s $node->logfile;
like($node->safe_psql('postgres', q{
	SELECT code FROM apikey_verify('i-key');
	SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM numbers}), qr/Workers Launched: [1-9]/, 'a session has parallel workers');
is(count_in_log($node, qr/HMAC secret file .* was refused/, $offset), 1, 'which do not say it again');
chmod 0600, secret_file($node);
is(codes($node, 'i'), 'VALID', 'the next one has');

is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
