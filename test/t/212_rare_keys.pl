
# Keys that are used all the time stay in the shared cache, however many others
# come by once, and however many are unknown.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

# With this, a thousand keys are about a third of what there is space for, and a
# backend has few of them for itself.
my $node = start_node('main', "apikeys.flush_interval = '1h'", 'apikeys.cache_memory = 1536kB', 'fsync = off');
$node->safe_psql('postgres', q{
	INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name)
	SELECT id, id, digest(name || '-key', 'sha256'), name || '-...', name
	FROM (SELECT gen_random_uuid() AS id, 'k' || i AS name FROM generate_series(1, 41000) i) new});

# Verifies keys in a session that is new, and returns how many had to be read.
sub misses
{
	my ($names) = @_;
	my $before = stats($node, 'cache_misses');

	$node->safe_psql('postgres', "SELECT count((apikey_verify(name || '-key')).code) FROM ($names) names(name)");
	return stats($node, 'cache_misses') - $before;
}

my $active = q{SELECT 'k' || i FROM generate_series(1, 1000) i};

# As many as are named, each once, and so many of the active ones with them.
sub mixed
{
	my ($others, $each) = @_;

	return qq{SELECT n FROM (
		SELECT i, 0, $others FROM generate_series(1001, 41000) i
		UNION ALL SELECT i, 1, 'k' || 1 + (i / $each) % 1000 FROM generate_series(1001, 41000, $each) i) a (i, o, n)
		ORDER BY i, o};
}

is(misses($active), 1000, 'keys are read');
is(misses($active), 0, 'and stay');
misses($active);

# A flood of what is not there
is(misses(mixed(q{'unknown' || i}, 4)), 40000, 'unknown keys are not kept, and drive out nobody');
is(misses($active), 0, 'after a flood of unknown keys');

# A scan of keys that are used once, more than twice as many as others meanwhile
my $misses = misses(mixed(q{'k' || i}, 2)) - 40000;
cmp_ok($misses, '<', 200, 'of 20,000 uses of the active keys 99% are hits during a scan');
cmp_ok(misses($active), '<', 50, 'after a scan of rare keys');
cmp_ok(stats($node, 'cache_evictions'), '>', 35000, 'the rare keys have gone');
cmp_ok(stats($node, 'cache_bytes'), '<=', 1536 * 1024, 'memory is what was set');

# A scan without them
is(misses(q{SELECT 'k' || i FROM generate_series(1001, 21000) i}) > 15000, 1, 'rare keys again');
cmp_ok(misses($active), '<', 100, 'after a scan while nobody used the active keys');

# Others that become active have the place of those that were.
my $next = q{SELECT 'k' || i FROM generate_series(30001, 33500) i};
misses($next) foreach 1 .. 8;
cmp_ok(misses($next), '<', 700, 'keys that are active now have taken the place');

# What is changed all the time takes no more space for it.
my $entries = stats($node, 'cache_entries');
$node->safe_psql('postgres', q{
	DO $$
	BEGIN
		FOR i IN 1 .. 500 LOOP
			UPDATE apikeys_data.key SET description = i::text WHERE name = 'k30001';
			COMMIT;
			PERFORM apikey_verify('k30001-key');
			COMMIT;
		END LOOP;
	END $$});
cmp_ok(abs(stats($node, 'cache_entries') - $entries), '<', 50, 'a key that changes has one entry');

$node->stop;
done_testing();
