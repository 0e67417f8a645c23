
# A request_id counts once, whoever is killed or rolled back in between, and for
# as long as apikeys.request_id_retention says; what a void gives back to the
# windows; and what a standby says.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 8;
my $requests = 200;

my $node = new_node('main', "apikeys.flush_interval = '200ms'", 'max_prepared_transactions = 2');
$node->append_conf('postgresql.conf', "wal_level = replica\nmax_wal_senders = 4");
$node->start;
add_extension($node, 'postgres');
$node->safe_psql('postgres', 'CREATE TABLE counted (level text, request_id text)');

sub total
{
	my ($name) = @_;

	return $node->safe_psql('postgres',
		"SELECT total_requests, total_tokens, total_cost FROM apikeys.info WHERE name = '$name'");
}

# Each of them records all requests, in its own order, some in transactions that
# roll back; whoever is told that a request was counted writes it down in the
# same transaction.
sub start_recording
{
	my ($name, $level) = @_;
	my $id = $node->safe_psql('postgres', 'SELECT ' . id_of($name));

	return start_load($node, 'postgres', qq{
		\\set n random(1, $requests)
		\\set fate random(1, 4)
		BEGIN ISOLATION LEVEL $level;
		SELECT apikey_record_usage('$id', 10, 0.1, NULL, :n::text)::int AS new \\gset
		\\if :new
		INSERT INTO counted VALUES ('$level', :n::text);
		\\endif
		\\if :fate = 1
		ROLLBACK;
		\\else
		COMMIT;
		\\endif
	}, '--client', $clients, '--jobs', 2, '--max-tries', 10, '--transactions', 5 * $requests);
}

sub check_counted
{
	my ($name, $level) = @_;
	my $counted = $node->safe_psql('postgres', "SELECT count(*), count(DISTINCT request_id) FROM counted WHERE level = '$level'");

	is($counted, "$requests|$requests", "$level: each request was counted once");
	is(total($name), sprintf('%d|%d|%.1f', $requests, 10 * $requests, 0.1 * $requests), "$level: so say the totals");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_request WHERE key_id = ' . id_of($name)),
		$requests, "$level: and the ids");
}

foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	add_keys($node, 'postgres', $level);
	my $load = start_recording($level, $level);
	ok(end_load($load), "$level: no client fails");
	unlike($load->{err}, qr/could not serialize/, "$level: none could not be serialized") if $level ne 'SERIALIZABLE';
	check_counted($level, $level);
}

# A backend is killed in the middle, and with it the server goes down.
add_keys($node, 'postgres', 'crash');
$node->safe_psql('postgres', 'TRUNCATE counted');
my $load = start_recording('crash', 'READ COMMITTED');
$node->poll_query_until('postgres', "SELECT total_requests > 50 FROM apikeys.info WHERE name = 'crash'")
  or die 'nothing is recorded';
kill 'KILL', $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' LIMIT 1");
end_load($load);
$node->stop('immediate', fail_ok => 1);
$node->start;
$load = start_recording('crash', 'READ COMMITTED');
ok(end_load($load), 'crash: the clients are through');
check_counted('crash', 'READ COMMITTED');

# All take back all, at once.
my $id = $node->safe_psql('postgres', 'SELECT ' . id_of('crash'));
$node->safe_psql('postgres', 'TRUNCATE counted');
$load = start_load($node, 'postgres', qq{
	\\set n random(1, $requests)
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT apikey_void_usage('$id', :n::text)::int AS done \\gset
	\\if :done
	INSERT INTO counted VALUES ('void', :n::text);
	\\endif
	COMMIT;
}, '--client', $clients, '--jobs', 2, '--transactions', 5 * $requests);
ok(end_load($load), 'void: no client fails');
check_voided();
$node->safe_psql('postgres', 'SELECT apikey_flush()');
check_voided();

sub check_voided
{
	is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT request_id) FROM counted'),
		"$requests|$requests", 'void: each once');
	is(total('crash'), '0|0|0.0', 'void: nothing is left');
}

# Many in one transaction: no lock is kept for each.
foreach my $level ('READ COMMITTED', 'REPEATABLE READ')
{
	add_keys($node, 'postgres', "bulk $level");
	is($node->safe_psql('postgres', qq{
			BEGIN ISOLATION LEVEL $level;
			SELECT count(*) FILTER (WHERE apikey_record_usage(k.id, request_id => n::text))
			FROM generate_series(1, 20000) n, apikeys_data.key k WHERE k.name = 'bulk $level';
			COMMIT}),
		20000, "20,000 in one transaction, $level");
}

# A prepared transaction holds its request until its end.
add_keys($node, 'postgres', 'prepared');
my $record = 'SELECT apikey_record_usage(' . id_of('prepared') . ", request_id => 'r')";
$node->safe_psql('postgres', "BEGIN; $record; PREPARE TRANSACTION 'r'");
my ($ret, $out, $err) = $node->psql('postgres', "SET lock_timeout = '200ms'; $record");
like($err, qr/lock timeout/, 'prepared: who knows');
$node->safe_psql('postgres', "COMMIT PREPARED 'r'");
is($node->safe_psql('postgres', $record), 'f', 'prepared: it is counted');

# ------------------------------------------------------------- the windows

sub used
{
	my ($name) = @_;

	return $node->safe_psql('postgres', 'SELECT string_agg(used::text, \' \' ORDER BY name) FROM apikey_limits('
		  . id_of($name) . ") WHERE name LIKE 'tokens%'");
}

sub sql_of
{
	my ($name, $tokens, $request) = @_;

	return 'SELECT apikey_record_usage(' . id_of($name) . ", $tokens, request_id => '$request')";
}

add_keys($node, 'postgres', 'window');
$node->safe_psql('postgres', 'SELECT apikey_update(' . id_of('window')
	  . q{, '{"rate_limits": {"tokens_per_minute": 1000, "tokens_per_day": 1000}}')});
# A day's window alone: this may last longer than a minute.
sub used_today
{
	return (split ' ', used('window'))[0];
}
my $void = 'SELECT apikey_void_usage(' . id_of('window') . ", '%s')";
$node->safe_psql('postgres', sql_of('window', 600, 'first'));
is(used_today(), 600, 'windows: spent');
$node->safe_psql('postgres', sql_of('window', 600, 'first'));
is(used_today(), 600, 'windows: spent once');
$node->safe_psql('postgres', sql_of('window', 300, 'second'));
is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('window-key', tokens => 200)"), 'RATE_LIMITED', 'windows: full');
$node->safe_psql('postgres', 'BEGIN; ' . sprintf($void, 'first') . '; ROLLBACK');
is(used_today(), 900, 'windows: a void that is rolled back gives nothing back');
$node->safe_psql('postgres', 'BEGIN; SAVEPOINT s; ' . sprintf($void, 'first') . '; ROLLBACK TO s; COMMIT');
is(used_today(), 900, 'windows: nor does one that is rolled back with a savepoint');
$node->safe_psql('postgres', 'BEGIN; ' . sprintf($void, 'second') . '; SAVEPOINT s; ' . sprintf($void, 'first') . '; ROLLBACK TO s; COMMIT');
is(used_today(), 600, 'windows: each for itself');
$node->safe_psql('postgres', 'BEGIN; SAVEPOINT s; ' . sprintf($void, 'first') . '; RELEASE s; COMMIT');
is(used_today(), 0, 'windows: given back');
is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('window-key', tokens => 1000)"), 'VALID', 'windows: empty');

# What a window has not counted it does not give back, since a crash has taken it.
$node->safe_psql('postgres', 'SELECT apikey_flush()');
$node->safe_psql('postgres', sql_of('window', 100, 'third'));
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', sql_of('window', 50, 'fourth'));
$node->safe_psql('postgres', sprintf($void, 'third'));
is(used_today(), 50, 'windows: what they have not counted, they do not give back');

# ------------------------------------------------------------- a standby

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
foreach my $call (sql_of('window', 1, 'standby'), sprintf($void, 'fourth'))
{
	foreach my $level ('READ COMMITTED', 'REPEATABLE READ')
	{
		($ret, $out, $err) = $standby->psql('postgres', "BEGIN ISOLATION LEVEL $level; $call",
			extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
		like($err, qr/ERROR:  25006/, "standby: $level: $call is refused");
	}
}
$node->wait_for_catchup($standby);
$standby->promote;
is($standby->safe_psql('postgres', sql_of('window', 50, 'fourth')), 'f', 'promoted: the ids are known');
is($standby->safe_psql('postgres', sprintf($void, 'fourth')), 't', 'promoted: and can be taken back');
$standby->stop;

# ------------------------------------------------------------- retention

$node->append_conf('postgresql.conf', "apikeys.request_id_retention = '1s'");
$node->reload;
add_keys($node, 'postgres', 'short');
is($node->safe_psql('postgres', sql_of('short', 1, 'r')), 't', 'retention: recorded');
# The worker comes for what is recorded in between.
wait_until('the ids are gone', sub {
	$node->safe_psql('postgres', 'SELECT apikey_record_usage(' . id_of('short') . ')');
	return $node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_request') == 0;
});
is($node->safe_psql('postgres', 'SELECT apikey_void_usage(' . id_of('short') . ", 'r')"), 'f', 'retention: not to be taken back any more');
is($node->safe_psql('postgres', sql_of('short', 1, 'r')), 't', 'retention: new again');

is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
