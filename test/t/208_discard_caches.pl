
# With debug_discard_caches the server drops all it has cached whenever it
# could have to, so that whoever holds on to something loses it.  Servers
# without assertions do not have it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;
use TruthTest;

my $node = start_node('main', "apikeys.flush_interval = '1h'");

SKIP:
{
	skip 'the server does not allow debug_discard_caches', 1
	  if $node->safe_psql('postgres', q{
		SELECT max_val FROM pg_settings WHERE name = 'debug_discard_caches'}) eq '0';

	$node->safe_psql('postgres', 'CREATE EXTENSION dblink');
	save_keys($node, 'postgres');

	# Nothing stays in the cache for long, and yet all is right.
	my $stage = TruthTest->new(
		driver => $node,
		levels => ['REPEATABLE READ'],
		settings => ['SET debug_discard_caches = 1']);

	foreach my $change (@changes)
	{
		my ($before, $after) = @{$change}{qw(before after)};
		my @got;

		# The reader looks at the table each time: a TRUNCATE would wait for it.
		$stage->give_back($change);
		push @got, $stage->answers;
		$stage->begin unless $change->{sql} =~ /TRUNCATE/;
		$stage->write('BEGIN');
		push @got, $stage->own;
		$stage->write($change->{sql});
		push @got, $stage->own;
		$stage->write('COMMIT');
		push @got, $stage->answers;
		$stage->commit unless $change->{sql} =~ /TRUNCATE/;
		is(join(', ', @got),
			join(', ', "$before $before", "$before $before", "$after $after", "$after $after"),
			"discarding: $change->{name}");
	}
	$stage->quit;
}

$node->stop;
done_testing();
