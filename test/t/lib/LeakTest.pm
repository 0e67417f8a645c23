
# What the tests of "no key in the log" share: a server that logs all it can
# in every format, and a search for keys and other secrets in all it leaves
# behind.
#
# A key is found by its form, ours or any other, so that no test need know it;
# what else must not be seen is told to add_secret.

package LeakTest;

use strict;
use warnings;

use ApikeysTest;
use Compress::Zlib ();
use Exporter 'import';
use File::Find;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(@digits @talkative add_secret checksum key_count leaking_messages leaks search);

our @digits = ('0' .. '9', 'A' .. 'Z', 'a' .. 'z');
my @secrets;

# Everything that puts a text into the log.
our @talkative = (
	"shared_preload_libraries = 'pg_stat_statements, auto_explain, apikeys'",
	'logging_collector = on',
	"log_destination = 'stderr, csvlog, jsonlog'",
	"log_directory = 'log'",
	"log_filename = 'server.log'",
	'log_rotation_age = 0',
	'log_rotation_size = 0',
	'log_statement = all',
	'log_min_duration_statement = 0',
	'log_min_messages = debug1',
	'log_min_error_statement = debug1',
	'log_error_verbosity = verbose',
	'log_parameter_max_length = -1',
	'log_parameter_max_length_on_error = -1',
	'auto_explain.log_min_duration = 0',
	'auto_explain.log_analyze = on',
	'auto_explain.log_verbose = on',
	'auto_explain.log_settings = on',
	'auto_explain.log_nested_statements = on',
	'pg_stat_statements.track = all',
	'pg_stat_statements.track_utility = on',
	'max_parallel_workers_per_gather = 2');

# The five digits at the end of a key, from what stands before them.
sub checksum
{
	my $crc = Compress::Zlib::crc32($_[0]);
	my $result = '';

	for (1 .. 5)
	{
		$result = $digits[ $crc % 62 ] . $result;
		$crc = int($crc / 62);
	}
	return $result;
}

# Has search look for a text.  Twelve characters from its middle are enough:
# a part of a secret gives it away.  A file of secrets that the server reads
# must lie outside of its data directory, where search reads everything.
sub add_secret
{
	my ($secret) = @_;

	push @secrets, substr($secret, length($secret) / 2 - 6, 12);
}

# How many keys and secrets there are in a text.  Of keys, those that begin
# with gw- or zz_: among all the hexadecimal digits of a data directory some
# may look like a key with another prefix.
sub key_count
{
	my ($text) = @_;
	my $count = 0;

	while ($text =~ /((?:gw-|zz_)[0-9A-Za-z]{27})([0-9A-Za-z]{5})/g)
	{
		$count++ if checksum($1) eq $2;
	}
	if (@secrets)
	{
		my $any = join '|', map quotemeta, @secrets;
		$count++ while $text =~ /$any/g;
	}
	return $count;
}

# A segment of the WAL without the headers of its pages, which stand in the
# middle of a text that goes on from one page to the next: 40 bytes in the
# first page, 24 in the others (XLogLongPageHeaderData and
# XLogPageHeaderData, access/xlog_internal.h).
sub without_page_headers
{
	my ($segment) = @_;
	my ($page, $first, $later) = (8192, 40, 24);
	my $result = substr $segment, $first, $page - $first;

	for (my $at = $page; $at < length $segment; $at += $page)
	{
		$result .= substr $segment, $at + $later, $page - $later;
	}
	return $result;
}

# How many there are in each place where a server leaves something.
sub search
{
	my ($node) = @_;
	my $data = $node->data_dir;
	my %count = map { $_ => 0 } 'stderr', 'csvlog', 'jsonlog', 'pages', 'WAL', 'statements', 'other files';
	my @segments;
	my %format = (log => 'stderr', csv => 'csvlog', json => 'jsonlog');

	$node->safe_psql('postgres', 'CHECKPOINT');
	$count{statements} += key_count($node->safe_psql('postgres', 'SELECT query FROM pg_stat_statements'));
	find(
		{
			no_chdir => 1,
			wanted => sub {
				return unless -f $_;
				my $place =
				    m{^\Q$data\E/log/.*\.(log|csv|json)$} ? $format{$1}
				  : m{^\Q$data\E/(base|global)/} ? 'pages'
				  : m{^\Q$data\E/pg_wal/} ? 'WAL'
				  : m{^\Q$data\E/pg_stat_tmp/pgss} ? 'statements'
				  : 'other files';
				my $content = slurp_file($_);

				return push @segments, $content if $place eq 'WAL';
				$count{$place} += key_count($content);
			}
		},
		$data);

	# A text may go on from one segment to the next as well.  A segment that is
	# to be used again has a new name already; what it holds begins with the old
	# address (xlp_pageaddr).
	@segments = sort { unpack('x8 Q', $a) <=> unpack('x8 Q', $b) } @segments;
	$count{WAL} = key_count(join '', map without_page_headers($_), @segments);
	return \%count;
}

# The messages that have one, to find out why: of each format, which may differ.
sub leaking_messages
{
	my ($node) = @_;
	my %begin = (log => qr/^(?=\S)/m, csv => qr/^(?=\d{4}-\d\d-\d\d )/m, json => qr/^/m);

	return map {
		my $format = $_;
		map { "$format: $_" } grep key_count($_), split $begin{$format}, slurp_file($node->data_dir . "/log/server.$format")
	} sort keys %begin;
}

# The places with a leak, as "place: count".
sub leaks
{
	my ($count) = @_;

	return join ', ', map "$_: $count->{$_}", grep $count->{$_}, sort keys %$count;
}

1;
