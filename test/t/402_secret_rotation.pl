# A secret is retired under load: 10,000 keys are verified all the time, and
# others are made, while the new secret comes, keys are rehashed, and the
# old secret goes.  No verify fails.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SecretsTest;
use Test::More;

my $node = new_node('main', "apikeys.flush_interval = '100ms'");

write_secrets($node, 'old');
$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = '" . secret_file($node) . "'");
$node->start;
add_extension($node, 'postgres');
$node->safe_psql('postgres', q{
	CREATE TABLE kept (n serial PRIMARY KEY, raw_key text);
	CREATE TABLE failed (n integer, code text, at timestamptz);
	INSERT INTO kept (raw_key) SELECT k.raw_key FROM generate_series(1, 10000) n, LATERAL apikey_generate('key ' || n) k});

sub ask
{
	return $node->safe_psql('postgres', $_[0]);
}

sub left
{
	my ($secret) = @_;

	return "SELECT coalesce(sum(live_keys), 0) FROM apikeys.secret_usage WHERE secret = '$secret'";
}

# Returns once a good many keys have been verified from now on.
sub wait_for_verifies
{
	my ($count) = @_;
	my $end = stats($node, 'valid') + $count;

	wait_until("$count verifies", sub { stats($node, 'valid') >= $end });
}

sub stop_load
{
	my ($load) = @_;

	$load->{run}->kill_kill(grace => 10);
	is($load->{err} =~ /error|abort/i ? $load->{err} : '', '', 'the load went on to its end');
}

is(ask(left('old')), 10000, '10,000 keys are signed with the old secret');

# A hundred keys at a time, some of those that others have made, and their last.
my $load = start_load($node, 'postgres', q{
\set first random(0, 99) * 100 + 1
INSERT INTO failed
SELECT n, code, clock_timestamp() FROM kept, LATERAL apikey_verify(raw_key)
WHERE (n BETWEEN :first AND :first + 99 OR n > 10000 AND n % 100 = :first / 100) AND NOT valid;
\set make random(1, 10)
\if :make = 1
INSERT INTO kept (raw_key) SELECT raw_key FROM apikey_generate('made under load');
\endif
INSERT INTO failed
SELECT n, code, clock_timestamp()
FROM (SELECT * FROM kept ORDER BY n DESC LIMIT 5) fresh, LATERAL apikey_verify(raw_key)
WHERE NOT valid;
}, '--client', 8, '--time', 600, '--random-seed', 1);
wait_for_verifies(10000);

write_secrets($node, 'new', 'old');
reload_secrets($node);
wait_for($node, 'postgres', left('old') =~ s/SELECT (.*) FROM/SELECT $1 = 0 FROM/r, 'secret_usage reaches zero');
wait_for_verifies(10000);

write_secrets($node, 'new');
reload_secrets($node);
wait_for_verifies(10000);
stop_load($load);

is(ask('SELECT count(*), min(code) FROM failed'), '0|', 'no verify has failed');
is(stats($node, 'not_found'), '0', 'by any count');
is(ask(q{SELECT count(DISTINCT key_id) >= 10000 AND count(DISTINCT key_id) = count(*) AND count(DISTINCT details) = 1
	FROM apikeys_data.event WHERE action = 'rehash'}), 't', 'each key was rehashed once');
is(ask(q{SELECT details FROM apikeys_data.event WHERE action = 'rehash' LIMIT 1}), '{"to": "new", "from": "old"}', 'from the old secret to the new one');
is(ask(q{SELECT secret, loaded, is_current, live_keys = (SELECT count(*) FROM kept) FROM apikeys.secret_usage WHERE secret IS NOT NULL}),
	'new|t|t|t', 'all keys have the new secret');
is(ask('SELECT count(*) FROM kept, LATERAL apikey_verify(raw_key) WHERE NOT valid'), '0', 'and all are good');
note sprintf '%s verifies, %s keys made, %s flushes, %s cache hits', split /\|/,
  stats($node, "valid, (SELECT count(*) - 10000 FROM kept), flushes, cache_hits");

# A key changes between its two hashes all the time; whoever looked for them
# one after the other would miss it now and then.
write_secrets($node, 'new', 'old');
reload_secrets($node);
ask(sprintf q{
	ALTER DATABASE postgres SET apikeys.cache = off;
	CREATE TABLE hash AS SELECT raw_key, secret, hmac(raw_key, value, 'sha256') AS hash
	FROM kept, (VALUES ('old', '%s'), ('new', '%s')) s(secret, value) WHERE n = 1},
	secret_of('old'), secret_of('new'));
$load = start_load($node, 'postgres', q{
\set change random(1, 4)
\if :change = 1
UPDATE apikeys_data.key k SET key_hash = h.hash, hash_secret = h.secret FROM hash h
WHERE k.name = 'key 1' AND k.hash_secret <> h.secret;
\else
INSERT INTO failed
SELECT 1, code, clock_timestamp() FROM generate_series(1, 20) n, LATERAL apikey_verify((SELECT raw_key FROM kept WHERE n.n > 0 AND kept.n = 1)) v
WHERE NOT v.valid;
\endif
}, '--client', 4, '--transactions', 1000);
ok(end_load($load), 'a key changes all the time');
is(ask('SELECT count(*), min(code) FROM failed'), '0|', 'and is always found');
is(ask(q{SELECT pg_stat_get_tuples_updated('apikeys_data.key'::regclass) > 10500}), 't', 'it has changed more than 500 times');

$node->stop;
done_testing();
