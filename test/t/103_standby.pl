
# A hot standby that tells nobody of them verifies, sees its uses, and writes none of
# them until it is promoted: then what it saw is persisted.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'apikeys'
	max_connections = 20
	log_statement = none
	apikeys.flush_interval = '10ms'
	apikeys.last_used_throttle = 0});
$primary->start;
add_extension($primary, 'postgres');
add_keys($primary, 'postgres', qw(both standby first snapshot revoked));
$primary->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('both')}, 7, 0.5)");
verify($primary, 'postgres', 'both');
wait_for($primary, 'postgres',
	'SELECT count(*) = 1 FROM apikeys_data.usage WHERE last_used_at IS NOT NULL AND total_requests = 1',
	'primary: last use and usage are written');

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'apikeys.feed_interval = 0');
set_clock($standby, 0);
with_clock($standby, sub { $standby->start });
$primary->wait_for_catchup($standby);

my $workers = "FROM pg_stat_activity WHERE backend_type LIKE 'apikeys%'";
is($standby->safe_psql('postgres', "SELECT count(*) $workers AND backend_type <> 'apikeys feed worker'"), 0, 'standby: no worker');
is($standby->safe_psql('postgres', 'SELECT shared_memory FROM apikeys.stats'), 't', 'standby: statistics');

# Verify in each kind of transaction that a standby has
is(verify($standby, 'postgres', 'standby'), 'VALID', 'standby: verify');
is($standby->safe_psql('postgres', "BEGIN READ ONLY; SELECT code FROM apikey_verify('first-key'); COMMIT"),
	'VALID', 'standby: in a READ ONLY transaction');
is($standby->safe_psql('postgres',
		"BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT code FROM apikey_verify('snapshot-key'); COMMIT"),
	'VALID', 'standby: in a REPEATABLE READ transaction');

# A standby has no serializable transactions; its primary has.
is($primary->safe_psql('postgres', q{
		BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
		SELECT code FROM apikey_verify('both-key'); COMMIT}),
	'VALID', 'primary: in a SERIALIZABLE READ ONLY DEFERRABLE transaction');

# The live last use on the standby is the later of the table and its memory.
my %seen;
foreach my $name (qw(standby first snapshot))
{
	$seen{$name} = last_use($standby, 'postgres', $name);
	isnt($seen{$name}, '', "standby: the use of $name is seen");
	is(last_use($primary, 'postgres', $name), '', "primary: the use of $name is not");
	is(stored_use($standby, 'postgres', $name), '', "standby: the use of $name is not written");
}
my $replicated = last_use($standby, 'postgres', 'both');
isnt($replicated, '', 'standby: the use on the primary is seen');
verify($standby, 'postgres', 'both');
$seen{both} = last_use($standby, 'postgres', 'both');
cmp_ok($seen{both}, 'ge', $replicated, 'standby: the use there does not make it older');
is($standby->safe_psql('postgres', 'SELECT total_requests, total_tokens, total_cost FROM apikey_usage(' . id_of('both') . ')'),
	'1|7|0.5', 'standby: usage');

wait_for($standby, 'postgres', 'SELECT valid = 4 FROM apikeys.stats', 'standby: its verifies are counted');
is($standby->safe_psql('postgres', 'SELECT pending > 0 AND flushes = 0 AND flush_errors = 0 FROM apikeys.stats'),
	't', 'standby: uses are pending, and nobody tries to write them');

foreach my $change ("apikey_record_usage(${\id_of('both')})", 'apikey_flush()')
{
	my ($ret, $stdout, $stderr) = $standby->psql('postgres', "SELECT $change",
		extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	like($stderr, qr/ERROR:  25006/, "standby: $change is refused");
}

# The standby survives a restart, and what it saw does.
with_clock($standby, sub { $standby->restart });
is(last_use($standby, 'postgres', 'standby'), $seen{standby}, 'standby: restarted, the use is still seen');

# A key that goes away meanwhile is no obstacle.
verify($standby, 'postgres', 'revoked');
$primary->safe_psql('postgres', "SELECT apikey_delete(${\id_of('revoked')})");
$primary->wait_for_catchup($standby);

$standby->promote;
wait_for($standby, 'postgres', "SELECT count(*) = 1 $workers AND backend_type = 'apikeys launcher'",
	'promoted: the launcher is there');
foreach my $name (sort keys %seen)
{
	wait_for($standby, 'postgres',
		"SELECT last_used_at >= '$seen{$name}' FROM apikeys_data.usage WHERE key_id = ${\id_of($name)}",
		"promoted: the use of $name is written");
	is(last_use($standby, 'postgres', $name), $seen{$name}, "promoted: the use of $name as it was seen");
}

# A key that is not there may yet be committed, for a minute after its use.
set_clock($standby, 61);
wait_until('the use of a key that is gone is forgotten', sub {
	$standby->safe_psql('postgres', 'SELECT apikey_flush()');
	return $standby->safe_psql('postgres', 'SELECT pending = 0 FROM apikeys.stats') eq 't';
});
pass('promoted: after a minute nothing is pending');
is($standby->safe_psql('postgres', 'SELECT flush_errors FROM apikeys.stats'), 0, 'promoted: no flush has failed');
$standby->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('both')}, 1, 0.25)");
is($standby->safe_psql('postgres', 'SELECT total_requests, total_tokens, total_cost FROM apikey_usage(' . id_of('both') . ')'),
	'2|8|0.75', 'promoted: usage goes on');
is_sound($standby, 'postgres', 'in the end');

$standby->stop;
$primary->stop;
done_testing();
