
# No stale yes where changes come by logical replication: an apply worker
# fires the triggers like anybody else, and once a change is applied, every
# verify that starts later answers by it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;
use TruthTest;

my $node = new_node(
	'main',
	'wal_level = logical',
	'max_wal_senders = 4',
	'max_prepared_transactions = 4',
	'logical_decoding_work_mem = 64kB',
	"apikeys.flush_interval = '1h'");
$node->start;
foreach my $dbname ('source', 'target')
{
	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	add_extension($node, $dbname);
}
$node->safe_psql('target', 'CREATE EXTENSION dblink');
save_keys($node, 'source');
$node->safe_psql('source', q{
	TRUNCATE apikeys_data.key;
	INSERT INTO apikeys_data.key SELECT * FROM saved;
	CREATE PUBLICATION keys FOR TABLE apikeys_data.key, apikeys_data.plan});

# The readers look before the first copy, too: what they do not find they must
# not remember.
my $stage = TruthTest->new(
	driver => $node,
	driver_db => 'target',
	reader_db => 'target',
	writer_db => 'source');
is($stage->ask, $stage->all('NOT_FOUND'), 'before the first copy');
$stage->begin;

# Within one server the slot cannot be made by CREATE SUBSCRIPTION.
$node->safe_psql('source', q{
	SELECT pg_create_logical_replication_slot('keys', 'pgoutput', false, true)});
$node->safe_psql('target', sprintf q{
	CREATE SUBSCRIPTION keys CONNECTION 'host=%s port=%s dbname=source' PUBLICATION keys
	WITH (create_slot = false, two_phase = true, streaming = true)},
	$node->host, $node->port);
wait_for($node, 'target', q{SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel},
	'the first copy is done');
is($stage->answers, $stage->all_answers('VALID'), 'copied');
is($stage->ask, $stage->all('VALID'), 'copied, again');
$stage->commit;
wait_for($node, 'target', q{SELECT bool_and(subtwophasestate = 'e') FROM pg_subscription},
	'prepared transactions are replicated as such');

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
	$node->wait_for_catchup('keys');
	$stage->answers;
	$stage->begin;
	$trace->('before', $stage->ask, $stage->all($before));
	$stage->write("BEGIN; $change->{sql}");
	$stage->write($_) foreach @end[ 0 .. $#end - 1 ];
	if (@end > 1)
	{
		# Until then it is applied, and prepared.
		$node->wait_for_catchup('keys');
		$trace->('prepared', $stage->ask, $stage->all($before));
	}
	$stage->write($end[-1]);
	$node->wait_for_catchup('keys');
	$trace->('ended', $stage->answers, $stage->all_answers($end));
	$trace->('again', $stage->ask, $stage->all($end));
	$stage->commit;
	$trace->('later', $stage->answers, $stage->all_answers($end));

	is(join("\n", @got), join("\n", @expected), "applied: $change->{name}, \L@end");
}

foreach my $change (@changes)
{
	play($change, 'COMMIT');
	play($change, q{PREPARE TRANSACTION 'change'}, q{COMMIT PREPARED 'change'});
	play($change, q{PREPARE TRANSACTION 'change'}, q{ROLLBACK PREPARED 'change'});
}

# A transaction too large for memory is streamed before it is committed.
my $large = q{INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name)
	SELECT id, id, digest(id::text, 'sha256'), '...', 'one of many'
	FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 2000)) new};
play({ name => 'a large transaction', before => 'VALID', after => 'REVOKED',
		sql => "UPDATE apikeys_data.key SET revoked_at = now(); $large" }, 'COMMIT');
is($node->safe_psql('source', q{SELECT stream_txns > 0 FROM pg_stat_replication_slots}), 't',
	'it was streamed');

# The worker looks up our tables when it has committed a transaction, and may have to
# read the catalogs for that, which must not cost it the messages of the commit.
$stage->give_back({});
$node->wait_for_catchup('keys');
$stage->write("BEGIN; UPDATE apikeys_data.key SET revoked_at = now(); PREPARE TRANSACTION 'change'");
$node->wait_for_catchup('keys');
$node->safe_psql('target', 'GRANT SELECT ON apikeys_data.cache_invalidation TO pg_monitor');
$stage->answers;
is($stage->ask, $stage->all('VALID'), 'the catalogs have changed: prepared');
$stage->write("COMMIT PREPARED 'change'");
$node->wait_for_catchup('keys');
is($stage->answers, $stage->all_answers('REVOKED'), 'the catalogs have changed: ended');
is(verify($node, 'target', 'test'), 'REVOKED', 'the catalogs have changed: a new session');

# What is done by hand where changes are applied counts at once.
$stage->give_back({});
$node->wait_for_catchup('keys');
$stage->answers;
$stage->begin;
is($stage->ask, $stage->all('VALID'), 'by hand, before');
$node->safe_psql('target', 'UPDATE apikeys_data.key SET enabled = false');
is($stage->answers, $stage->all_answers('DISABLED'), 'by hand, after');
$stage->commit;

$stage->quit;
$node->safe_psql('target', 'DROP SUBSCRIPTION keys');
$node->stop;
done_testing();
