
# Servers that replicate their tables to each other, as doc/scale.md says: its
# examples are what is run.

package LogicalTest;

use strict;
use warnings;

use Exporter 'import';

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_server publish subscribe wait_for_apply example);

# The block of the page that follows the comment <!-- example: NAME -->.
sub example
{
	my ($name) = @_;

	my ($block) = slurp_file('doc/scale.md') =~ /^<!-- example: \Q$name\E -->\n+```sql\n(.*?)^```$/ms
	  or die "doc/scale.md has no example $name";
	return $block;
}

# A server with a number of its own.
sub new_server
{
	my ($number, @settings) = @_;
	my $node = start_node("node$number", "apikeys.node = $number", 'wal_level = logical',
		'max_wal_senders = 8', 'max_replication_slots = 8', 'wal_retrieve_retry_interval = 100ms', @settings);

	return $node;
}

# What a server with this number gives to others.
sub publish
{
	my ($node, $number, @names) = @_;

	foreach my $name (@names)
	{
		my $sql = example($name);

		$sql =~ s/\((node|id >> 48) = 1\)/($1 = $number)/g;
		$node->safe_psql('postgres', $sql);
	}
}

sub subscription
{
	my ($to, $from) = @_;

	return $to->name . '_from_' . $from->name;
}

# Has one server take what another gives.
sub subscribe
{
	my ($to, $from, @publications) = @_;
	my $name = subscription($to, $from);

	$to->safe_psql('postgres', sprintf q{
		CREATE SUBSCRIPTION %s CONNECTION 'host=%s port=%s dbname=postgres' PUBLICATION %s},
		$name, $from->host, $from->port, join(', ', @publications));
	wait_for($to, 'postgres', qq{
		SELECT bool_and(r.srsubstate = 'r') FROM pg_subscription_rel r
		JOIN pg_subscription s ON s.oid = r.srsubid WHERE s.subname = '$name'},
		$to->name . ': the first copy from ' . $from->name . ' is done');
}

# Returns once all that one server has committed by now is applied by another; flush
# workers do not wait until what they write is on the disk.
sub wait_for_apply
{
	my ($to, $from) = @_;

	$from->wait_for_catchup(subscription($to, $from), 'replay', $from->lsn('insert'));
}

1;
