
# No stale yes: once a change is committed, every verify that starts later
# answers by it, in any isolation level, whatever is cached and whatever
# snapshot is held.  What is not committed, or is rolled back, counts for
# nobody but the transaction itself, and for that one no longer than it lasts.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;
use TruthTest;

my $node = start_node('main', 'max_prepared_transactions = 2', "apikeys.flush_interval = '1h'");
$node->safe_psql('postgres', 'CREATE EXTENSION dblink');
save_keys($node, 'postgres');

# How a transaction ends: what is done before and after the change in it, what
# the writer then sees, how it is ended, and what stays.
my @endings = (
	{ name => 'commit', end => 'COMMIT', stays => 1 },
	{ name => 'rollback', end => 'ROLLBACK', stays => 0 },
	{ name => 'savepoint, commit', start => 'SAVEPOINT s', undo => 'RELEASE s', undone => 0, end => 'COMMIT', stays => 1 },
	{ name => 'savepoint, rollback to it', start => 'SAVEPOINT s', undo => 'ROLLBACK TO s', undone => 1, end => 'COMMIT', stays => 0 },
	{ name => 'commit prepared', undo => q{PREPARE TRANSACTION 'change'}, undone => 1, end => q{COMMIT PREPARED 'change'}, stays => 1 },
	{ name => 'rollback prepared', undo => q{PREPARE TRANSACTION 'change'}, undone => 1, end => q{ROLLBACK PREPARED 'change'}, stays => 0 });

# Every change, ended in each way, from a transaction of each level, seen by
# readers of each level.  A line of the trace is what all readers say and how
# many of them found it in their caches, or what the writer says, twice.
sub play
{
	my ($stage, $change, $level, $ending) = @_;
	my ($before, $after) = @{$change}{qw(before after)};
	my $end = $ending->{stays} ? $after : $before;
	my (@got, @expected);

	# Who looks at the table locks it, and a TRUNCATE of others waits; whoever
	# has the key in his cache does not.
	my $truncates = $change->{sql} =~ /TRUNCATE/;
	my $may_ask = $stage->{cached} || !$truncates;
	my $trace = sub {
		push @got, "$_[0]: $_[1]";
		push @expected, "$_[0]: $_[2]";
	};

	$stage->give_back($change);
	$stage->own;
	$stage->answers;
	$stage->begin;
	$trace->('readers, before', $stage->ask, $stage->all($before)) if $may_ask;

	$stage->write("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM pg_am");
	$trace->('writer, before', $stage->own, "$before $before");
	$stage->write($ending->{start}) if $ending->{start};
	$stage->write($change->{sql});

	$trace->('writer, changed', $stage->own, "$after $after");
	$trace->('readers, changed', $stage->ask, $stage->all($before)) if $may_ask;
	if ($ending->{undo})
	{
		$stage->write($ending->{undo});

		unless ($truncates && $ending->{undo} =~ /PREPARE/)
		{
			my $own = $ending->{undone} ? $before : $after;
			$trace->('writer, undone', $stage->own, "$own $own");
		}
	}
	$stage->write($ending->{end});

	$trace->('readers, ended', $stage->answers, $stage->all_answers($end));
	$trace->('readers, again', $stage->ask, $stage->all($end));
	$trace->('writer, ended', $stage->own, "$end $end");
	$stage->commit;
	$trace->('readers, later', $stage->answers, $stage->all_answers($end));

	is(join("\n", @got), join("\n", @expected), "$change->{name}, \L$level\E, $ending->{name}$stage->{note}");
}

my $stage = TruthTest->new(driver => $node, note => '');
foreach my $change (@changes)
{
	foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
	{
		play($stage, $change, $level, $_) foreach @endings;
	}
}
is(stats($node, 'cache_invalidations > 0'), 't', 'invalidations are counted');
$stage->quit;

# Without a cache
$stage = TruthTest->new(
	driver => $node,
	cached => 0,
	settings => ['SET apikeys.cache = off'],
	note => ', no cache');
play($stage, $_, 'READ COMMITTED', $endings[0]) foreach @changes;
$stage->quit;

# Where backends share nothing, they go by messages.
$node->append_conf('postgresql.conf', 'apikeys.cache_memory = 0');
$node->restart;
$stage = TruthTest->new(driver => $node, note => ', nothing shared');
foreach my $change (@changes)
{
	play($stage, $change, 'READ COMMITTED', $_) foreach @endings;
	play($stage, $change, 'REPEATABLE READ', $endings[0]);
}
$stage->quit;

$node->stop;
done_testing();
