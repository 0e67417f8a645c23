
# A server whose clock can be moved, by libfaketime.  Its background workers
# do not see the moved clock.  No timeout may pass there: the handler of the timer's
# signal asks for the time, for which libfaketime reads a file and allocates memory.

package ClockTest;

use strict;
use warnings;

use Exporter 'import';
use Time::Local;

our @EXPORT = qw(has_clock with_clock set_clock set_clock_to stop_clock);

my ($library) = glob '/usr/lib/*/faketime/libfaketime.so.1';

sub has_clock
{
	return defined $library;
}

sub clock_file
{
	my ($node) = @_;

	return $node->basedir . '/clock';
}

# Runs code that starts the server, with the environment for a clock, or with
# the real one where there is no library.
sub with_clock
{
	my ($node, $code) = @_;

	return $code->() unless has_clock();
	local %ENV = (
		%ENV,
		LD_PRELOAD => $library,
		FAKETIME_TIMESTAMP_FILE => clock_file($node),
		FAKETIME_FMT => '%s',
		FAKETIME_NO_CACHE => 1,
		FAKETIME_DONT_FAKE_MONOTONIC => 1);
	$code->();
	return;
}

sub write_clock
{
	my ($node, $time) = @_;
	my $clock = clock_file($node);

	open my $handle, '>', "$clock.new" or die "$clock: $!";
	print $handle "$time\n";
	close $handle;
	rename "$clock.new", $clock or die "$clock: $!";
	return;
}

# Moves the clock to so many seconds from the real one.
sub set_clock
{
	my ($node, $seconds) = @_;

	return write_clock($node, sprintf '%+d', $seconds);
}

sub set_clock_to
{
	my ($node, $utc) = @_;
	my ($year, $month, @rest) = split /\D/, $utc;

	set_clock($node, timegm(reverse(@rest), $month - 1, $year) - time);
	return;
}

# Has the clock stand at so many seconds since 1970.
sub stop_clock
{
	my ($node, $epoch) = @_;

	return write_clock($node, $epoch);
}

1;
