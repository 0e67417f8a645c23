
# The programs under examples/, started for a server of the tests, and requests to
# them.

package ClientTest;

use strict;
use warnings;

use Exporter 'import';
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(WNOHANG);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use ApikeysTest;

our @EXPORT = qw(start_clients start_client stop_client request get post send_bytes);

my %running;
my $out;

# A server as examples/run has it, which listens to an address: JDBC knows no other.
sub start_clients
{
	my $node = new_node('main', "listen_addresses = '127.0.0.1'", @_);

	$node->start;
	$node->safe_psql('postgres', '\i examples/setup.sql');
	return $node;
}

# Starts one as a process group; returns nothing, and skips the tests, where it
# cannot run.
sub start_client
{
	my ($node, $name, %environment) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my %client = (name => $name, url => "http://127.0.0.1:$port", log => "$PostgreSQL::Test::Utils::log_path/$name.log");

	$out //= PostgreSQL::Test::Utils::tempdir('clients');
	local %ENV = (%ENV, PGHOST => '127.0.0.1', PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => 'web',
		PORT => $port, OUT => $out, HOME => $out, %environment);
	delete $ENV{PGAPPNAME};
	$client{pid} = fork // die "fork: $!";
	if ($client{pid} == 0)
	{
		setpgrp;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', $client{log};
		open STDERR, '>&', \*STDOUT;
		exec 'examples/start', $name or POSIX::_exit(1);
	}
	$running{ $client{pid} } = 1;

	my $up = wait_until("$name is up", sub {
		return 'ended' if waitpid($client{pid}, WNOHANG) == $client{pid};
		return HTTP::Tiny->new(timeout => 5)->get("$client{url}/")->{status} != 599;
	});
	return \%client if $up ne 'ended';
	delete $running{ $client{pid} };

	my $status = $? >> 8;
	my $log = slurp_file($client{log});
	if ($status == 77 && $log =~ /^missing: (.*)/m)
	{
		plan skip_all => "$name needs $1";
		return;
	}
	fail("$name starts");
	diag $log;
	return;
}

sub stop_client
{
	my ($client) = @_;

	kill 'TERM', -$client->{pid};
	waitpid($client->{pid}, 0);
	delete $running{ $client->{pid} };
	diag "$client->{name} said:\n" . slurp_file($client->{log}) if !Test::More->builder->is_passing;
}

# Sends a request with a key in a header; returns status, headers, body, and json if
# it is that.
sub request
{
	my ($client, $method, $path, $key, $header, $content) = @_;
	my $value = ($header // 'x-api-key') eq 'authorization' ? "Bearer $key" : $key;
	my %options = (headers => { ($header // 'x-api-key') => $value });

	$options{content} = $content if defined $content;
	my $response = HTTP::Tiny->new(timeout => 30)->request($method, $client->{url} . $path, \%options);

	$response->{json} = eval { JSON::PP->new->utf8->allow_bignum(0)->decode($response->{content}) };
	return $response;
}

sub get { my ($client, $path, @key) = @_; return request($client, 'GET', $path, @key) }
sub post { my ($client, $path, @key) = @_; return request($client, 'POST', $path, @key) }

# Sends bytes that no client would send; returns those that come back.
sub send_bytes
{
	my ($client, $bytes) = @_;
	my ($address) = $client->{url} =~ m{//(.*)};
	my $socket = IO::Socket::INET->new(PeerAddr => $address, Timeout => 30) or die "$address: $!";

	print $socket $bytes;
	local $/;
	return scalar <$socket>;
}

END
{
	my $status = $?;
	kill 'TERM', map { -$_ } keys %running;
	waitpid($_, 0) foreach keys %running;
	$? = $status;
}

1;
