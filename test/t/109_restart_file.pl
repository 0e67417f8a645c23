
# A clean shutdown loses no use that is pending: it goes to a file and comes
# back.  A file that is damaged, somebody else's or of another format is
# ignored with a line in the log, and the server starts.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @settings = ("apikeys.flush_interval = '1h'", 'apikeys.last_used_throttle = 0');
my $node = start_node('main', @settings);
my $file = $node->data_dir . '/pg_stat/apikeys.stat';
my @names = map { "k$_" } 1 .. 100;

add_keys($node, 'postgres', @names);

my $use_all = q{
	SELECT count(v.code) FROM generate_series(1, 100) n, LATERAL apikey_verify('k' || n || '-key') v};
my $seen = q{SELECT string_agg(name || last_used_at, ',' ORDER BY name) FROM apikeys.info};

# Makes a use pending for each key, and stops.  What the table knows is made
# old, so that what comes back can be told from it.
sub stop_with_uses
{
	my ($mode) = @_;

	$node->safe_psql('postgres', $use_all . '; SELECT apikey_flush()');
	$node->safe_psql('postgres', "UPDATE apikeys_data.usage SET last_used_at = '2001-01-01'");
	# A later use is one in a later second.
	wait_until('all are pending', sub {
		$node->safe_psql('postgres', $use_all);
		return $node->safe_psql('postgres',
			'SELECT pending = (SELECT count(*) FROM apikeys_data.key) FROM apikeys.stats') eq 't';
	});
	my $uses = $node->safe_psql('postgres', $seen);
	$node->stop($mode);
	return $uses;
}

my $newly_stored = q{SELECT count(*) FROM apikeys_data.usage WHERE last_used_at > '2001-01-01'};

# Kept over a clean shutdown
foreach my $mode ('fast', 'smart')
{
	my $uses = stop_with_uses($mode);
	ok(-s $file, "$mode shutdown: there is a file");
	is((stat $file)[2] & 077, 0, "$mode shutdown: nobody else can read it");
	$node->start;
	wait_until("$mode shutdown: the launcher has removed it", sub { !-e $file });
	is($node->safe_psql('postgres', $seen), $uses, "$mode shutdown: the uses are seen");
	wait_for($node, 'postgres', "SELECT 100 = ($newly_stored)", "$mode shutdown: they are written");
	is($node->safe_psql('postgres', q{
			SELECT string_agg(k.name || u.last_used_at, ',' ORDER BY k.name)
			FROM apikeys_data.key k JOIN apikeys_data.usage u ON u.key_id = k.id}),
		$uses, "$mode shutdown: as they were seen");
	wait_for($node, 'postgres', 'SELECT pending = 0 FROM apikeys.stats', "$mode shutdown: nothing is pending");
}

# What is written already does not come back.
$node->stop;
ok(!-e $file, 'nothing is pending: there is no file');
$node->start;

sub spoil
{
	my ($content) = @_;

	open my $handle, '>:raw', $file or die "$file: $!";
	print $handle $content;
	close $handle;
}

sub crc32c
{
	my ($data) = @_;
	my $crc = 0xffffffff;

	foreach my $byte (unpack 'C*', $data)
	{
		$crc ^= $byte;
		$crc = ($crc >> 1) ^ (0x82f63b78 & -($crc & 1)) for 1 .. 8;
	}
	return $crc ^ 0xffffffff;
}

# The same content with another header and a good checksum.
sub with_header
{
	my ($good, $offset, $bytes) = @_;

	substr($good, $offset, length $bytes) = $bytes;
	substr($good, -4) = pack 'L', crc32c(substr $good, 0, -4);
	return $good;
}

# The same content with another first record.  It has a database, an id, a
# transaction, a use, the id of a limit, its length and unit, a window (a start
# and two counts), and the address of the use.
my ($header_size, $record_size) = (32, 88);

sub with_record
{
	my ($good, $offset, $bytes) = @_;

	return with_header($good, $header_size + $offset, $bytes);
}

# Of another cluster, which must not be a copy of the same template (test/initdb).
delete local $ENV{INITDB_TEMPLATES};
my $other = start_node('other', @settings);
add_keys($other, 'postgres', @names);
$other->safe_psql('postgres', $use_all);
$other->stop;
my $foreign = slurp_file($other->data_dir . '/pg_stat/apikeys.stat');

my %damage = (
	'empty' => sub { '' },
	'cut in the header' => sub { substr $_[0], 0, 6 },
	'cut in the middle' => sub { substr $_[0], 0, length($_[0]) / 2 },
	'cut by one byte' => sub { substr $_[0], 0, -1 },
	'longer by one byte' => sub { "$_[0]\0" },
	'one bit flipped in the middle' => sub {
		my $at = length($_[0]) / 2;
		substr($_[0], $at, 1) ^= "\x10";
		return $_[0];
	},
	'one bit flipped in the checksum' => sub { substr($_[0], -1, 1) ^= "\x01"; $_[0] },
	'noise' => sub { join '', map { chr int rand 256 } 1 .. 5000 },
	'much noise' => sub { "\xff" x 3_000_000 },
	'of another cluster' => sub { $foreign },
	'of another format' => sub { with_header($_[0], 4, pack 'L', 1 + unpack 'L', substr $_[0], 4, 4) },
	'of no database' => sub { with_record($_[0], 0, pack 'L', 0) },
	'with a use at no time' => sub { with_record($_[0], 24, pack 'q', 9223372036854775807) },
	'with a window at no time' => sub { with_record($_[0], 48, pack 'q', -9e18) },
	'with a window after all time' => sub { with_record($_[0], 48, pack 'q', 9223372036854775807) },
	'with a window of no length' => sub { with_record($_[0], 32, pack 'qll', 1, 0, 0) },
	'with a window of a year' => sub { with_record($_[0], 32, pack 'qll', 1, 86400 * 365, 0) },
	'with a window that counts nothing' => sub { with_record($_[0], 44, pack 'l', 3) },
	'with a negative count' => sub { with_record($_[0], 64, pack 'q', -1) },
	'of another program' => sub { with_header($_[0], 0, 'APIK') });

foreach my $what (sort keys %damage)
{
	stop_with_uses();
	my $good = slurp_file($file);
	is(crc32c(substr $good, 0, -4), unpack('L', substr $good, -4), 'control: the checksum is CRC-32C')
	  if $what eq 'of another format';
	spoil($damage{$what}->($good));

	my $log_before = -s $node->logfile;
	ok($node->start(fail_ok => 1), "$what: the server starts");
	cmp_ok(count_in_log($node, qr/(?:LOG|WARNING):.*apikeys\.stat/, $log_before), '==', 1, "$what: the log says so, once");
	is(stats($node, 'pending, entries_used'), '0|0', "$what: the file is ignored");
	is($node->safe_psql('postgres', $newly_stored), 0, "$what: and nothing of it is written");
	ok(!-e $file, "$what: and gone");
	is(verify($node, 'postgres', 'k1'), 'VALID', "$what: verify works");
}

# One key twice has one entry, as it must.
stop_with_uses();
my $twice = slurp_file($file);
is((length($twice) - $header_size - 4) % $record_size, 0, 'control: the size of a record');
$twice = substr($twice, 0, -4) . substr($twice, $header_size, $record_size) . substr($twice, -4);
spoil(with_header($twice, 16, pack 'Q', 1 + unpack 'Q', substr $twice, 16, 8));
ok($node->start(fail_ok => 1), 'a key twice: the server starts');
is(stats($node, 'entries_used'), 100, 'a key twice: it has one entry');

# One window twenty times is one, though an entry has sixteen.
stop_with_uses();
my $record = substr slurp_file($file), $header_size, $record_size;
substr($record, 24, 48) = pack 'qqllqqq', 0, 77, 86400, 0, (time - 946684800) * 1_000_000, 1, 0;
my $many = substr(slurp_file($file), 0, $header_size) . $record x 20 . "\0" x 4;
spoil(with_header($many, 16, pack 'Q', 20));
ok($node->start(fail_ok => 1), 'a window twenty times: the server starts');
is(stats($node, 'entries_used'), 1, 'a window twenty times: one entry');
is_sound($node, 'postgres', 'a window twenty times');

# Something that is no file at all
stop_with_uses();
unlink $file;
mkdir $file or die "$file: $!";
my $log_before = -s $node->logfile;
ok($node->start(fail_ok => 1), 'a directory: the server starts');
cmp_ok(count_in_log($node, qr/(?:LOG|WARNING):.*apikeys\.stat/, $log_before), '>=', 1, 'a directory: the log says so');
is(verify($node, 'postgres', 'k1'), 'VALID', 'a directory: verify works');
$log_before = -s $node->logfile;
ok($node->stop('fast', fail_ok => 1), 'a directory: the server stops');
cmp_ok(count_in_log($node, qr/(?:LOG|WARNING):.*apikeys\.stat/, $log_before), '>=', 1, 'a directory: the log says so again');
rmdir $file or die "$file: $!";

# The first bytes of a file, which may be too large to be read whole.
sub slurp_start
{
	my ($name) = @_;

	open my $handle, '<:raw', $name or die "$name: $!";
	read $handle, my $content, $header_size or die "$name: $!";
	close $handle;
	return $content;
}

# Whatever else is in the place of the file, and however large it is, the server
# starts, with one line in the log.
sub in_place_of_file
{
	my ($what, $make, $line) = @_;

	stop_with_uses();
	$make->();
	my $log_before = -s $node->logfile;
	ok($node->start(fail_ok => 1), "$what: the server starts");
	cmp_ok(count_in_log($node, qr/(?:LOG|WARNING|ERROR|FATAL|PANIC):.*apikeys\.stat/, $log_before), '==', 1,
		"$what: one line in the log");
	cmp_ok(count_in_log($node, $line, $log_before), '==', 1, "$what: it says why");
	is(stats($node, 'pending, entries_used'), '0|0', "$what: nothing is loaded");
	is(verify($node, 'postgres', 'k1'), 'VALID', "$what: verify works");
	wait_until("$what: the launcher has removed it", sub { !-e $file && !-l $file });
}

# As large as the file system allows, up to 15 TB, without taking space.
sub enlarge
{
	my ($name) = @_;

	foreach my $terabytes (15, 8, 1)
	{
		return $terabytes * 1024**4 if truncate $name, $terabytes * 1024**4;
	}
	die "$name: $!";
}

$node->start;
in_place_of_file('15 TB of nothing', sub { spoil(''); enlarge($file) }, qr/DETAIL:  It is not a file of this extension/);
in_place_of_file('15 TB behind a file', sub { enlarge($file) }, qr/DETAIL:  It is incomplete, or too long/);
in_place_of_file(
	'15 TB that its header promises',
	sub {
		my $size = enlarge($file);
		my $nrecords = int(($size - $header_size - 4) / $record_size);
		my $good = slurp_start($file);
		truncate $file, $header_size + $nrecords * $record_size + 4 or die "$file: $!";
		substr($good, 16, 8) = pack 'Q', $nrecords;
		open my $handle, '+<:raw', $file or die "$file: $!";
		print $handle $good;
		close $handle;
	},
	qr/DETAIL:  It is incomplete, or too long/);
in_place_of_file(
	'a FIFO',
	sub { unlink $file; system('mkfifo', $file) == 0 or die 'mkfifo' },
	qr/DETAIL:  It is not a regular file/);
in_place_of_file(
	'a link',
	sub { rename $file, "$file.good"; symlink "$file.good", $file or die "$file: $!" },
	qr/could not open file.*apikeys\.stat/);
unlink "$file.good";
in_place_of_file('a file that cannot be read', sub { chmod 0, $file }, qr/could not open file.*apikeys\.stat": Permission denied/);

# Nor does anything in the place of the file that is written first
foreach my $what ('FIFO', 'link')
{
	my $target = $node->basedir . '/target';

	append_to_file($target, 'precious');
	$what eq 'FIFO' ? system('mkfifo', "$file.tmp") : symlink($target, "$file.tmp");
	my $uses = stop_with_uses();
	ok(-f $file && !-l $file, "a $what in place of the temporary file: the file is written");
	is(slurp_file($target), 'precious', "a $what in place of the temporary file: nothing else is");
	$node->start;
	is($node->safe_psql('postgres', $seen), $uses, "a $what in place of the temporary file: the uses are seen");
	unlink $target;
}
$node->stop;

# Fewer entries than before: as many as there is room for
$node->start;
stop_with_uses();
$node->append_conf('postgresql.conf', 'apikeys.max_tracked_keys = 16');
ok($node->start(fail_ok => 1), 'a smaller table: the server starts');
wait_for($node, 'postgres', "SELECT 16 = ($newly_stored)", 'a smaller table: what it has room for is written');
is(stats($node, 'entries_used, entries_free'), '16|0', 'a smaller table: it is full');
$node->append_conf('postgresql.conf', 'apikeys.max_tracked_keys = 1000');
$node->restart;

# Last use is turned off meanwhile.
stop_with_uses();
$node->append_conf('postgresql.conf', 'apikeys.last_used_throttle = -1');
ok($node->start(fail_ok => 1), 'last use turned off: the server starts');
wait_until('last use turned off: the launcher has removed the file', sub { !-e $file });
$node->append_conf('postgresql.conf', 'apikeys.last_used_throttle = 0');
$node->restart;

# A crash leaves no file, and brings no old one back.
$node->safe_psql('postgres', $use_all);
kill_cluster($node);
ok(!-e $file, 'crash: there is no file');
$node->start;
is(stats($node, 'pending, entries_used'), '0|0', 'crash: nothing comes back');
stop_with_uses('immediate');
ok($node->start(fail_ok => 1), 'immediate shutdown: the server starts');
is(verify($node, 'postgres', 'k1'), 'VALID', 'immediate shutdown: verify works');

# Not preloaded, the file lies there and harms nobody.
$node->safe_psql('postgres', 'CREATE DATABASE second');
add_extension($node, 'second');
add_keys($node, 'second', 'key');
verify($node, 'second', 'key');
is(stats($node, 'entries_other_databases'), 1, 'a second database has a use');
my $uses = $node->safe_psql('postgres', "$use_all; $seen");
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('k2-key')"), 'VALID', 'not preloaded: verify works');

# A database that is dropped then takes its part of it along.
$node->safe_psql('postgres', 'DROP DATABASE second');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'apikeys'");
$node->restart;
wait_for($node, 'postgres', 'SELECT entries_other_databases = 0 AND entries_used > 90 FROM apikeys.stats',
	'preloaded again: the uses of a database that was dropped are removed');
is_sound($node, 'postgres', 'in the end');
$node->stop;

done_testing();
