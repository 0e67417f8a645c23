
# Servers that follow each other: a primary, standbys, and standbys of standbys.

package FeedTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ApikeysTest;

our @EXPORT = qw(new_primary new_standby feed_is_up wait_for_rounds used_of_limit);

# A primary with the extension in the database postgres, and a short interval.
sub new_primary
{
	my ($name, @settings) = @_;
	my $node = new_node($name, 'wal_level = replica', 'max_wal_senders = 8', 'hot_standby = on',
		"apikeys.feed_interval = '100ms'", "apikeys.flush_interval = '1h'", @settings);

	$node->append_conf('pg_hba.conf', 'local all all trust');
	$node->start;
	add_extension($node, 'postgres');
	return $node;
}

# A standby that follows a server, of a fresh backup of it; settings are given as
# lines.
sub new_standby
{
	my ($name, $leader, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$leader->backup("for_$name");
	$node->init_from_backup($leader, "for_$name", has_streaming => 1);
	$node->append_conf('postgresql.conf', join "\n", "cluster_name = '$name'", @settings);
	$node->start;
	return $node;
}

# Is all told and known that was used up to now?
sub feed_is_up
{
	my ($node, $dbname) = @_;

	return $node->safe_psql($dbname // 'postgres', 'SELECT feed_state FROM apikeys.stats') eq 'up';
}

# Returns once so many rounds have begun after now and ended, on each of the standbys.
sub wait_for_rounds
{
	my ($n, @nodes) = @_;

	for (1 .. $n)
	{
		my @since = map { $_->safe_psql('postgres', 'SELECT clock_timestamp()') } @nodes;

		foreach my $i (0 .. $#nodes)
		{
			# The first that ends may have begun before.
			for (1 .. 2)
			{
				wait_until('a round of ' . $nodes[$i]->name, sub {
					return $nodes[$i]->safe_psql('postgres',
						"SELECT feed_succeeded_at > '$since[$i]' AND feed_state = 'up' FROM apikeys.stats") eq 't';
				});
				$since[$i] = $nodes[$i]->safe_psql('postgres', 'SELECT feed_succeeded_at FROM apikeys.stats');
			}
		}
	}
}

# What a key has used of a limit, as a server knows it.
sub used_of_limit
{
	my ($node, $name, $limit) = @_;

	return $node->safe_psql('postgres',
		"SELECT used FROM apikey_limits(${\id_of($name)}) WHERE name = '$limit'");
}

1;
