
# Two databases with the extension and the same keys, ids and all: what
# happens in one does not show in the other.  What is gone is forgotten.

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
	'apikeys.last_used_throttle = 0');
my @names = map { "k$_" } 1 .. 50;

$node->safe_psql('postgres', 'CREATE DATABASE one');
add_extension($node, 'one');
add_keys($node, 'one', @names);
$node->safe_psql('postgres', 'CREATE DATABASE two TEMPLATE one');
is($node->safe_psql('one', 'SELECT array_agg(id ORDER BY id) FROM apikeys_data.key'),
	$node->safe_psql('two', 'SELECT array_agg(id ORDER BY id) FROM apikeys_data.key'),
	'both have the same ids');

sub flush
{
	my ($dbname) = @_;

	return $node->safe_psql($dbname, 'SELECT apikey_flush()');
}

my $all = q{SELECT count(v.code) FROM generate_series(1, 50) n,
	LATERAL apikey_verify('k' || n || '-key') v WHERE v.valid};
my $used = 'SELECT count(last_used_at) FROM apikeys.info';
my $stored = 'SELECT count(last_used_at) FROM apikeys_data.usage';

is($node->safe_psql('one', $all), 50, 'one: verified');
is($node->safe_psql('one', $used), 50, 'one: the uses are seen');
is($node->safe_psql('two', $used), 0, 'two: they are not');
is(stats($node, 'entries_used'), 50, 'entries of one');

# A flush is for its own database.
flush('two');
is($node->safe_psql('two', $stored), 0, 'two: a flush writes none of them');
is($node->safe_psql('one', $stored), 0, 'one: nor is any written there');
is(stats($node, 'pending'), 50, 'they are pending');
cmp_ok(flush('one'), '>=', 50, 'one: flushed');
is($node->safe_psql('one', $stored), 50, 'one: written');
is($node->safe_psql('two', $stored), 0, 'two: not written');
is(stats($node, 'pending'), 0, 'nothing is pending');

# A later use there, of the same id
is(verify($node, 'two', 'k1'), 'VALID', 'two: verified');
my $use = last_use($node, 'one', 'k1');
cmp_ok(last_use($node, 'two', 'k1'), 'ge', $use, 'two: the use is seen');
flush('two');
is(last_use($node, 'one', 'k1'), $use, 'one: it does not show');
is(stored_use($node, 'one', 'k1'), $use, 'one: it is not written');
is($node->safe_psql('two', $stored), 1, 'two: it alone is written');

# Usage likewise
$node->safe_psql('one', "SELECT apikey_record_usage(${\id_of('k1')}, 5, 0.5)");
is($node->safe_psql('one', "SELECT total_requests, total_tokens, total_cost FROM apikey_usage(${\id_of('k1')})"),
	'1|5|0.5', 'one: usage');
is($node->safe_psql('two', "SELECT total_requests, total_tokens, total_cost FROM apikey_usage(${\id_of('k1')})"),
	'0|0|0', 'two: none');

# What ends in one lives on in the other.
$node->safe_psql('one', "SELECT apikey_delete(${\id_of('k1')}); SELECT apikey_revoke(${\id_of('k2')})");
is(verify($node, 'one', 'k1'), 'NOT_FOUND', 'one: deleted');
is(verify($node, 'two', 'k1'), 'VALID', 'two: not');
is(verify($node, 'one', 'k2'), 'REVOKED', 'one: revoked');
is(verify($node, 'two', 'k2'), 'VALID', 'two: not');
flush('one');

# The statistics are those of the cluster, and the same wherever one asks.
# One session does it all, so that all is counted.
is($node->safe_psql('one', 'SELECT entries_used, entries_free FROM apikeys.stats'),
	$node->safe_psql('two', 'SELECT entries_used, entries_free FROM apikeys.stats'),
	'statistics are the same in both');

# The flush worker is sent around soon, to find out what is gone.
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '10ms'");

# A database that is dropped, with uses pending
is($node->safe_psql('two', $all), 50, 'two: all are used');
cmp_ok(stats($node, 'entries_used'), '>=', 99, 'entries of both');
$node->safe_psql('postgres', 'DROP DATABASE two');
$node->reload;
wait_for($node, 'one', 'SELECT entries_used <= 50 AND pending = 0 FROM apikeys.stats',
	'a dropped database forgets its entries');
is(stats($node, 'flush_errors'), 0, 'which is no error');

# An extension that somebody is dropping: flush workers come, do not wait for him,
# and leave it alone until it is certain.  A backend that has the key in its
# cache goes on.
my $user = $node->background_psql('one');
my $dropper = $node->background_psql('one');
$user->query_safe($all);
wait_for($node, 'postgres', 'SELECT pending = 0 FROM apikeys.stats', 'one: used and flushed');
$dropper->query_safe('BEGIN; DROP EXTENSION apikeys');
wait_until('one: used while it is being dropped', sub {
	$user->query_safe(q{SELECT code FROM apikey_verify('k3-key')});
	return stats($node, 'pending') > 0;
});
my $started = stats($node, 'workers_started');
wait_for($node, 'postgres', "SELECT workers_started > $started + 2 FROM apikeys.stats", 'flush workers come');
is(stats($node, 'pending > 0'), 't', 'the use is pending still');
$dropper->query_safe('ROLLBACK');
wait_for($node, 'postgres', 'SELECT pending = 0 FROM apikeys.stats', 'it is written when the drop is rolled back');
is(stored_use($node, 'one', 'k3'), last_use($node, 'one', 'k3'), 'where it belongs');
is(stats($node, 'flush_errors'), 0, 'no error');
$_->quit foreach $user, $dropper;

# An extension that is dropped, with uses pending
is($node->safe_psql('one', $all), 48, 'one: all that are left are used');
$node->safe_psql('one', 'DROP EXTENSION apikeys');
wait_for($node, 'postgres', 'SELECT entries_used = 0 AND pending = 0 FROM apikeys.stats',
	'a dropped extension forgets its entries');
is(stats($node, 'flush_errors'), 0, 'which is no error');

# And one that was flushed before: nobody has a reason to go there.
add_extension($node, 'one');
add_keys($node, 'one', @names);
is($node->safe_psql('one', $all), 50, 'one: created again, all are used');
wait_for($node, 'one', 'SELECT count(*) = 50 FROM apikeys_data.usage WHERE last_used_at IS NOT NULL', 'one: and flushed');
$node->safe_psql('one', 'DROP EXTENSION apikeys');
wait_for($node, 'postgres', 'SELECT entries_used = 0 FROM apikeys.stats',
	'a dropped extension forgets what is flushed, too');

# A rollback brings the extension back, and its uses are not lost.
add_extension($node, 'one');
add_keys($node, 'one', @names);
$node->append_conf('postgresql.conf', "apikeys.flush_interval = '1h'");
$node->restart;
is(verify($node, 'one', 'k1'), 'VALID', 'one: verified');
$use = last_use($node, 'one', 'k1');
isnt($use, '', 'one: the use is seen');
$node->safe_psql('one', 'BEGIN; DROP EXTENSION apikeys; ROLLBACK');
is(last_use($node, 'one', 'k1'), $use, 'one: a drop that is rolled back forgets nothing');
flush('one');
is(stored_use($node, 'one', 'k1'), $use, 'one: and the use is written');

is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
