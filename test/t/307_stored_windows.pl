
# More keys with limits than shared memory has space for: windows are stored in a
# table, evicted and read back, and no limit passes one more, or one less.

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
my $limits = '{"windows": [{"per": "31 days", "requests": 3}, {"per": "30 days", "requests": 4},
	{"per": "29 days", "tokens": 1000}, {"per": "28 days", "requests": 5}]}';

my $node = start_node(
	'main',
	"apikeys.max_tracked_keys = $size",
	"apikeys.flush_interval = '10ms'",
	'wal_level = replica',
	'max_wal_senders = 4');
$node->safe_psql('postgres', qq{
	SELECT count(apikey_import(digest(n || '-key', 'sha256'), n::text, 'x', rate_limits => '$limits'))
	FROM generate_series(1, $nkeys) n;
	CREATE TABLE outcome (n integer, code text, reason text, retry_after integer);
	ANALYZE});

# What each key has passed, and what its windows say; none where all agree.
my $wrong = q{
	SELECT o.n, o.passed, o.limited, l.used
	FROM (SELECT n, count(*) FILTER (WHERE code = 'VALID') AS passed,
				 count(*) FILTER (WHERE reason LIKE '%is reached') AS limited
		  FROM outcome GROUP BY n) o
	JOIN apikeys_data.key k ON k.name = o.n::text
	CROSS JOIN LATERAL (SELECT string_agg(used::text, ' ' ORDER BY max) AS used FROM apikey_limits(k.id) WHERE max < 1000) l
	WHERE o.passed > 3 OR (o.limited > 0 AND o.passed < 3)
	   OR l.used <> concat_ws(' ', o.passed, o.passed, o.passed)
	LIMIT 5};

# Many at once: each key is asked for some four times, and half of the time twice in a row.
my $load = start_load($node, 'postgres', qq{
\\set n random(1, $nkeys)
INSERT INTO outcome SELECT :n, code, reason, retry_after FROM apikey_verify(:n || '-key');
\\set n :n + random(0, 1)
INSERT INTO outcome SELECT :n, code, reason, retry_after FROM apikey_verify(:n || '-key');
}, '--client', 8, '--jobs', 2, '--transactions', 1250);
ok(end_load($load), 'many sessions at once: no error') or diag $load->{err};
unlike($load->{err}, qr/error/i, 'many sessions at once: nothing to complain of');
is($node->safe_psql('postgres', $wrong), '', 'no limit has passed one more, or one less');
note $node->safe_psql('postgres', q{SELECT code, reason, retry_after, count(*) FROM outcome GROUP BY 1, 2, 3 ORDER BY 4 DESC});
note stats($node, 'evictions, refused, flushes, rows_flushed, dropped, flush_errors');
is_sound($node, "postgres", "main");
$node->stop;
done_testing();
