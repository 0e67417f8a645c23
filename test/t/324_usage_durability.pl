
# apikeys.usage_durability: with sync what is acknowledged is on disk, whatever
# synchronous_commit says.  With async the commit of usage alone does not wait,
# that of anything else does, and a crash loses the last moments at most, and
# counts nothing twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $delay = 1;					# second
my $sessions = 4;
my $node = start_node('main', "apikeys.flush_interval = '1h'", "wal_writer_delay = '${delay}s'");

# What was recorded before a crash counts after it, so each round has keys of its own.
add_keys($node, 'postgres', 'key', map { ("sync $_", "async $_") } 0 .. $sessions - 1);
$node->safe_psql('postgres', q{
	CREATE TABLE other (a int);
	SELECT apikey_import(digest('rich-key', 'sha256'), 'rich', '...', budget_id => apikey_budget_create('rich', 1000, warn_at => '{0.5}'));
	CHECKPOINT});

# Nobody but those who commit writes WAL to the disk now.
my $walwriter = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
kill 'STOP', $walwriter;

sub record
{
	my ($name, $more) = @_;

	return sprintf 'SELECT apikey_record_usage(%s, 1, 1%s)', id_of($name), $more // '';
}

# Is all on disk that a session has written, once it has done this?
sub is_flushed
{
	my ($settings, @statements) = @_;

	return (split /\n/, $node->safe_psql('postgres', join ";\n", $settings, @statements,
		'SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()'))[-1];
}

my $async = q{SET apikeys.usage_durability = 'async'};
my $key = record('key');
my $other = 'INSERT INTO other VALUES (1)';
my @cases = (
	[ 'usage', 'f', $key ],
	[ 'usage in a transaction', 'f', 'BEGIN', $key, $key, 'COMMIT' ],
	[ 'usage in a savepoint', 'f', 'BEGIN', 'SAVEPOINT s', $key, 'RELEASE s', $key, 'COMMIT' ],
	[ 'usage and a verify', 'f', 'BEGIN', q{SELECT code FROM apikey_verify('key-key')}, $key, 'COMMIT' ],
	[ 'usage with an id', 'f', record('key', q{, request_id => gen_random_uuid()::text}) ],
	[ 'usage of a budget', 'f', record('rich') ],
	[ 'usage, then something else', 't', 'BEGIN', $key, $other, 'COMMIT' ],
	[ 'something else, then usage', 't', 'BEGIN', $other, $key, 'COMMIT' ],
	[ 'something else in between', 't', 'BEGIN', $key, $other, $key, 'COMMIT' ],
	[ 'something else in one statement', 't', "WITH o AS ($other RETURNING a) SELECT apikey_record_usage(${\id_of('key')}, a) FROM o" ],
	[ 'something else, rolled back', 't', 'BEGIN', $key, 'SAVEPOINT s', $other, 'ROLLBACK TO s', $key, 'COMMIT' ],
	[ 'a change of a key', 't', 'BEGIN', $key, "SELECT count(apikey_update(${\id_of('key')}, '{}')::text)", 'COMMIT' ],
	[ 'something else alone', 't', $other ],
	[ 'usage after something else', 'f', $other, $key ]);

foreach my $case (@cases)
{
	my ($what, $async_is, @statements) = @$case;

	is(is_flushed($async, @statements), $async_is, "async: $what");
	is(is_flushed('', @statements), 't', "sync: $what");
	is(is_flushed('SET synchronous_commit = off', @statements), 't', "sync, synchronous_commit = off: $what") if $async_is eq 'f';
}

# Who is told that it was recorded already, by one who did not wait.
my $again = record('key', q{, request_id => 'again'});
is(is_flushed($async, $again, $again), 'f', 'async: recorded again');
is(is_flushed($async, $again, 'SET apikeys.usage_durability = sync', $again), 't', 'sync: recorded already, async');
my @stored = (q{SELECT apikey_check('rich-key')}, 'SET synchronous_commit = off', 'SELECT apikey_flush()');
is(is_flushed(@stored), 'f', 'stored, as by a worker: not on disk');
is(is_flushed(@stored, 'RESET synchronous_commit', 'SELECT apikey_flush()'), 't', '... and after a flush that finds nothing to store');

is(is_flushed("$async; SET synchronous_commit = off", @{ $cases[6] }[ 2 .. 5 ]), 'f', 'async, synchronous_commit = off: both');
is(is_flushed("$async; $key; $other; SHOW synchronous_commit"), 't', 'the setting of the session is as it was');
is($node->safe_psql('postgres', "$async; $key; SHOW synchronous_commit") =~ s/.*\n//sr, 'on', 'and shows so');
$node->safe_psql('postgres', q{ALTER DATABASE postgres SET apikeys.usage_durability = 'async'});
is(is_flushed('', $key), 'f', 'set for a database');
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET ALL');
kill 'CONT', $walwriter;

# Killed in the middle.  The entries of a session weigh 1, 2, 3, ... tokens.
my $prefix = $node->basedir . '/acknowledged';

# The times at which each session had an answer, in their order.
sub acknowledged
{
	my %times = map { $_ => [] } 0 .. $sessions - 1;

	foreach my $file (glob "$prefix.*")
	{
		my $lines = slurp_file($file);

		push @{ $times{$1} }, $2 + $3 / 1e6 while $lines =~ /^(\d+) \d+ \d+ \d+ (\d+) (\d+)/mg;
		unlink $file;
	}
	return %times;
}

foreach my $durability ('sync', 'async')
{
	my $start = time();
	my $load = start_load($node, 'postgres', qq{
\\set n :n + 1
SET apikeys.usage_durability = '$durability';
SELECT apikey_record_usage(id, :n) FROM apikeys_data.key WHERE name = '$durability ' || :client_id;
}, '--define', 'n=0', '--client', $sessions, '--time', 60, '--log', '--log-prefix', $prefix);

	wait_until('it runs for some time', sub { return time() > $start + 4 * $delay });
	my $killed_at = time();
	kill_cluster($node);
	ok(!end_load($load), "$durability: killed");
	$node->start;

	my %times = acknowledged();
	my $lost = 0;
	foreach my $session (sort keys %times)
	{
		my ($n, $tokens) = split /\|/, $node->safe_psql('postgres',
			"SELECT total_requests, total_tokens FROM apikey_usage(${\id_of(qq{$durability $session})})");
		my @sure = grep { $durability eq 'sync' || $_ < $killed_at - 3 * $delay } @{ $times{$session} };
		my $all = @{ $times{$session} };

		cmp_ok($n, '>=', scalar @sure, "$durability: session $session has what it must");
		cmp_ok($n, '<=', $all + 1, "$durability: and no more");
		is($tokens, $n * ($n + 1) / 2, "$durability: each of the first once");
		$lost += $all - $n if $all > $n;
	}
	note "$durability: $lost lost";
}

$node->stop;
done_testing();
