
# What the tests of HMAC secrets share: a file of secrets and its reload.

package SecretsTest;

use strict;
use warnings;

use ApikeysTest;
use Exporter 'import';
use PostgreSQL::Test::Utils;

our @EXPORT = qw(secret_file write_secrets reload_secrets secret_of);

sub secret_file
{
	my ($node) = @_;

	return $node->basedir . '/secrets';
}

# A secret that follows from its name, and that a search finds.
sub secret_of
{
	my ($name) = @_;

	return "s3cr3t-of-$name-0123456789";
}

# Puts a file with these lines in the place of the one that is there; a name
# alone stands for a good line.
sub write_secrets
{
	my ($node, @lines) = @_;
	my $file = secret_file($node);

	open my $handle, '>', "$file.new" or die "$file.new: $!";
	chmod 0600, "$file.new";
	print $handle map { (/^\w+$/ ? "$_:" . secret_of($_) : $_) . "\n" } @lines;
	close $handle;
	rename "$file.new", $file or die "$file: $!";
}

# Returns once every statement that starts later finds the configuration
# reloaded: the postmaster says that it begins, and forks nobody before it is
# done.
sub reload_secrets
{
	my ($node) = @_;
	my $offset = -s $node->logfile;

	$node->reload;
	wait_until('the postmaster reloads',
		sub { count_in_log($node, qr/received SIGHUP/, $offset) > 0 });
	$node->safe_psql('postgres', 'SELECT 1');
	return $offset;
}

1;
