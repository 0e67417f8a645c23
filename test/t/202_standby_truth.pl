
# No stale yes on a hot standby: once a change is replayed, every verify there
# that starts later answers by it, whatever is cached and whatever snapshot is
# held.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use TruthTest;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'apikeys'
	max_prepared_transactions = 2
	max_connections = 20
	autovacuum = off
	checkpoint_timeout = 1h
	log_statement = none
	apikeys.flush_interval = '1h'});
$primary->start;
add_extension($primary, 'postgres');
$primary->safe_psql('postgres', 'CREATE EXTENSION dblink');
save_keys($primary, 'postgres');

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

# A commit that waits for remote_apply has been replayed when it returns.
$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'");
$primary->reload;
wait_for($primary, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'},
	'the standby is synchronous');

# A standby has no serializable transactions.
my $stage = TruthTest->new(
	driver => $primary,
	readers => $standby,
	levels => [ 'READ COMMITTED', 'REPEATABLE READ' ]);
$stage->write('SET synchronous_commit = remote_apply');

sub play
{
	my ($change, @end) = @_;
	my ($before, $after) = @{$change}{qw(before after)};
	my $end = $end[-1] =~ /ROLLBACK/ ? $before : $after;
	my (@got, @expected);
	my $trace = sub {
		push @got, "$_[0]: $_[1]";
		push @expected, "$_[0]: $_[2]";
	};

	$stage->give_back($change);
	$stage->answers;
	$stage->begin;
	$trace->('before', $stage->ask, $stage->all($before));
	$stage->write("BEGIN; $change->{sql}");
	$trace->('changed', $stage->ask, $stage->all($before));
	$stage->write($_) foreach @end[ 0 .. $#end - 1 ];
	$trace->('about to end', $stage->ask, $stage->all($before));
	$stage->write($end[-1]);
	$trace->('ended', $stage->answers, $stage->all_answers($end));
	$trace->('again', $stage->ask, $stage->all($end));
	$stage->commit;
	$trace->('later', $stage->answers, $stage->all_answers($end));

	is(join("\n", @got), join("\n", @expected), "standby: $change->{name}, \L@end");
}

foreach my $change (@changes)
{
	play($change, 'COMMIT');
	play($change, 'ROLLBACK');
	play($change, q{PREPARE TRANSACTION 'change'}, q{COMMIT PREPARED 'change'});
	play($change, q{PREPARE TRANSACTION 'change'}, q{ROLLBACK PREPARED 'change'});
}

# Replayed is what counts, not written: a standby that lags may say yes until
# then, and not a moment longer.
$stage->give_back({});
$stage->answers;
$stage->begin;
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
wait_for($standby, 'postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}, 'replay is paused');
$stage->write('SET synchronous_commit = on; UPDATE apikeys_data.key SET enabled = false');
is($stage->ask, $stage->all('VALID'), 'written, not replayed');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$primary->wait_for_catchup($standby);
is($stage->answers, $stage->all_answers('DISABLED'), 'replayed');
$stage->commit;

# Sessions with warm caches go on through a promotion.
$stage->write('SET synchronous_commit = remote_apply');
$stage->give_back({});
$stage->answers;
is($stage->ask, $stage->all('VALID'), 'before the promotion');
$stage->begin;
$primary->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$primary->reload;
$standby->promote;
is($stage->answers, $stage->all_answers('VALID'), 'promoted');
$standby->safe_psql('postgres', "SELECT apikey_revoke(${\id_of('test')})");
is($stage->answers, $stage->all_answers('REVOKED'), 'promoted: revoked');
is($stage->ask, $stage->all('REVOKED'), 'promoted: revoked, again');
$stage->quit;

# The stage takes keys away, and puts them back, by hand: rows without the events of that,
# and events without rows, are what check() finds, and nothing else.
my $by_hand = q{problem ~ 'is missing: it has event \\d+, and none of its deletion|is there, though it was deleted by event|from after it was (deleted|revoked)'};
is($standby->safe_psql('postgres', "SELECT * FROM apikeys.check() WHERE NOT ($by_hand)"), '', 'what was not changed by hand is sound');
is($standby->safe_psql('postgres', "SELECT count(DISTINCT problem ~ 'missing') FROM apikeys.check() WHERE $by_hand"), 2,
	'... and what was is found: keys that are missing, and others that are there');

$standby->stop;
$primary->stop;
done_testing();
