
# Sixteen sessions record usage while a backend, the flush worker, or the whole
# cluster is killed.  After recovery the totals are what was acknowledged:
# each session may have had one entry in flight, and nothing is there twice.
#
# The entries of a session weigh 1, 2, 3, ... tokens, so that the sum tells
# which of them are there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $sessions = 16;
my $rounds = 20;

my $node = start_node(
	'main',
	'restart_after_crash = on',
	"apikeys.flush_interval = '10ms'",
	'apikeys.last_used_throttle = 0');
add_keys($node, 'postgres', map { "session $_" } 0 .. $sessions - 1);
$node->safe_psql('postgres', q{
	CREATE FUNCTION flush_worker() RETURNS integer LANGUAGE plpgsql AS $$
	DECLARE
	  found_pid integer;
	BEGIN
	  FOR i IN 1 .. 10000 LOOP
	    PERFORM pg_stat_clear_snapshot();
	    SELECT pid INTO found_pid FROM pg_stat_activity WHERE backend_type = 'apikeys flush worker';
	    EXIT WHEN found_pid IS NOT NULL;
	    PERFORM pg_sleep(0.001);
	  END LOOP;
	  RETURN found_pid;
	END $$});

my $script = q{
\set n :n + 1
SELECT apikey_record_usage(id, :n, :n * 0.001) FROM apikeys_data.key WHERE name = 'session ' || :client_id;
SELECT code FROM apikey_verify('session ' || :client_id || '-key');
};

# Entries that were acknowledged, by session.  pgbench writes a line for a
# transaction once it has all its answers.
sub acknowledged
{
	my ($prefix) = @_;
	my %count = map { $_ => 0 } 0 .. $sessions - 1;

	foreach my $file (glob "$prefix.*")
	{
		$count{$_}++ foreach slurp_file($file) =~ /^(\d+) /mg;
		unlink $file;
	}
	return %count;
}

# [requests, tokens, cost] by session, as the view has them.
sub totals
{
	my ($view) = @_;
	my %total;

	foreach my $line (split /\n/, $node->safe_psql('postgres', $view))
	{
		my ($session, @figures) = split /\|/, $line;
		$total{$session} = \@figures;
	}
	return %total;
}

my $from_info = q{
	SELECT substr(name, 9), total_requests, total_tokens, trim_scale(total_cost) FROM apikeys.info};
my $from_days = q{
	SELECT substr(k.name, 9), sum(requests), sum(tokens), trim_scale(sum(d.cost))
	FROM apikeys_data.key k JOIN apikeys_data.usage_day d ON d.key_id = k.id GROUP BY k.name};
my $from_history = q{
	SELECT substr(k.name, 9), sum(requests), sum(tokens), trim_scale(sum(h.cost))
	FROM apikeys_data.key k, LATERAL apikey_usage_history(k.id) h GROUP BY k.name};

# Kills the process that a query gives, until the server has noticed: some die
# by themselves before it hits them.
sub kill_one
{
	my ($query) = @_;
	my $log_before = -s $node->logfile;

	wait_until('a process is killed', sub {
		wait_for_server($node);
		my ($ret, $pid) = $node->psql('postgres', $query);
		kill 'KILL', $pid if $ret == 0 && $pid;
		foreach (1 .. 20)
		{
			return 1 if count_in_log($node, qr/was terminated by signal 9/, $log_before);
			usleep(10_000);
		}
		return 0;
	});
}

my %kill = (
	backend => sub {
		kill_one(q{
			SELECT pid FROM pg_stat_activity
			WHERE application_name = 'pgbench' ORDER BY random() LIMIT 1});
	},
	flush_worker => sub { kill_one('SELECT flush_worker()') },
	cluster => sub { kill_cluster($node) });
my @victims = qw(backend flush_worker cluster);

my %sum = map { $_ => [ 0, 0, 0 ] } 0 .. $sessions - 1;
my $prefix = $node->basedir . '/acknowledged';

foreach my $round (1 .. $rounds)
{
	my $victim = $victims[ $round % @victims ];
	my $log_before = -s $node->logfile;
	my $load = start_load($node, 'postgres', $script,
		'--define', 'n=0', '--client', $sessions, '--time', 60,
		'--log', '--log-prefix', $prefix);

	# Into the middle of it: entries and flushes are under way.
	$node->poll_query_until('postgres', 'SELECT rows_flushed > 100 FROM apikeys.stats')
	  or die 'nothing is flushed';

	$kill{$victim}->();
	ok(!end_load($load), "round $round: killed the $victim, and the load ended");
	$node->start unless defined $node->{_pid};
	wait_for_server($node);
	cmp_ok(count_in_log($node, qr/database system was not properly shut down/, $log_before),
		'>', 0, "round $round: it was a crash");

	my %acknowledged = acknowledged($prefix);
	my %total = totals($from_info);
	my $wrong = 0;
	foreach my $session (sort keys %sum)
	{
		my @allowed;
		foreach my $n ($acknowledged{$session}, $acknowledged{$session} + 1)
		{
			my $tokens = $n * ($n + 1) / 2;
			push @allowed, join '|',
			  $sum{$session}[0] + $n,
			  $sum{$session}[1] + $tokens,
			  ($sum{$session}[1] + $tokens) / 1000;
		}
		my $is = join '|', @{ $total{$session} };
		next if grep { $is eq $_ } @allowed;
		diag "session $session: $is, and not one of @allowed";
		$wrong++;
	}
	is($wrong, 0, sprintf 'round %d: the totals are those acknowledged, %d in all',
		$round, eval { my $n = 0; $n += $_ foreach values %acknowledged; $n });
	%sum = %total;
}

# Rolled up, they are the same, by key and by day.
wait_for($node, 'postgres', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'all entries are rolled up');
my %total = totals($from_info);
is_deeply(\%total, \%sum, 'the totals are the same');
%total = totals($from_days);
is_deeply(\%total, \%sum, 'the days have the same sums');
%total = totals($from_history);
is_deeply(\%total, \%sum, 'and so has the history');
is($node->safe_psql('postgres', 'SELECT apikey_flush()') >= 0 && count_in_log($node, qr/PANIC:|TRAP:/),
	0, 'nothing else went wrong');

is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
