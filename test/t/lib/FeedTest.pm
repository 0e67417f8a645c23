
# Servers that follow each other: a primary, standbys, and standbys of standbys; and
# messages made by hand, as such a server sends them.

package FeedTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ApikeysTest;

our @EXPORT = qw(
  new_primary new_standby feed_is_up wait_for_rounds used_of_limit
  FEED_HELLO FEED_WHOLE FEED_DELTAS feed_item feed_server feed_request feed_exchange
);

use constant { FEED_HELLO => 0, FEED_WHOLE => 1, FEED_DELTAS => 2 };

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

# ------------------------------------------------------- messages by hand

my $zero = '00' x 16;

# A last use, or with a limit what was used of it.
sub feed_item
{
	my %item = (owner => $zero, limit => 0, seconds => 0, unit => 0, start => 0, current => 0, previous => 0, ip => $zero, @_);

	return pack('H32 q> l> l> q> q> q> H32', @item{qw(owner limit seconds unit start current previous ip)});
}

sub feed_server
{
	my %server = (node => 1, since => 0, name => 'x', counts => [ 1 .. 9 ], @_);

	return pack('q> q> a64 q>9', @server{qw(node since name)}, @{ $server{counts} });
}

sub feed_request
{
	my %request = (version => 1, node => 1, epoch => 0, batch => 1, kind => FEED_DELTAS, at => 0,
		since => 0, upto => 0, next => 0, servers => [], items => [], @_);

	return pack('l> q> q> q> l> q> q> q> l> l> l>', @request{qw(version node epoch batch kind at since upto next)},
		scalar @{ $request{servers} }, scalar @{ $request{items} }) . join('', @{ $request{servers} }, @{ $request{items} });
}

sub answer_of
{
	my ($bytes) = @_;
	my %answer = (items => []);

	@answer{qw(version epoch accepted since upto next nitems)} = unpack('l> q> l> q> q> l> l>', $bytes);
	foreach my $i (0 .. $answer{nitems} - 1)
	{
		my %item;

		@item{qw(owner limit seconds unit start current previous ip)} =
		  unpack('H32 q> l> l> q> q> q> H32', substr($bytes, 40 + $i * 72, 72));
		push @{ $answer{items} }, \%item;
	}
	return \%answer;
}

# Sends a request in a session, and returns the answer.
sub feed_exchange
{
	my ($session, @request) = @_;
	my $hex = unpack('H*', feed_request(@request));

	return answer_of(pack('H*', $session->query_safe(qq{SELECT encode(apikeys.feed_exchange('\\x$hex'), 'hex')})));
}

1;
