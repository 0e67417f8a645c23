
# Random bytes in the place of the restart file and of the file of secrets when the
# server starts: it starts, and takes all of a file or nothing.
# RANDOM_SEED=n makes the same bytes again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use SecretsTest;
use Test::More;

my $rounds = 6;
my $seed = $ENV{RANDOM_SEED} // time;
srand $seed;
note "RANDOM_SEED=$seed";

my $node = new_node('main', "apikeys.flush_interval = '1h'", 'apikeys.last_used_throttle = 0');
my $file = $node->data_dir . '/pg_stat/apikeys.stat';
my ($header_size, $record_size) = (32, 88);
write_secrets($node, 'one');
$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = '" . secret_file($node) . "'");
$node->start;
add_extension($node, 'postgres');
$node->safe_psql('postgres', q{
	CREATE TABLE kept AS SELECT raw_key, n FROM generate_series(1, 20) n,
		LATERAL apikey_generate('k' || n, rate_limits => '{"requests_per_day": 1000000, "tokens_per_minute": 1000000}')});
my $use_all = 'SELECT string_agg(DISTINCT v.code, $$ $$) FROM kept, LATERAL apikey_verify(raw_key, tokens => 3, reserve => n % 2 = 0) v';

my @table = map { my $c = $_; $c = ($c >> 1) ^ (0x82f63b78 & -($c & 1)) for 1 .. 8; $c } 0 .. 255;

sub crc32c
{
	my ($data) = @_;
	my $crc = 0xffffffff;

	$crc = ($crc >> 8) ^ $table[($crc ^ $_) & 255] foreach unpack 'C*', $data;
	return $crc ^ 0xffffffff;
}

sub random_bytes
{
	my ($n) = @_;

	return join '', map { chr int rand 256 } 1 .. $n;
}

# Header and checksum are right, so that what is in the records counts.
sub complete
{
	my ($header, $records) = @_;

	substr($header, 16, 8) = pack 'Q', length($records) / $record_size;
	return $header . $records . pack 'L', crc32c($header . $records);
}

# Some bytes of a text are others.
sub spoil
{
	my ($content) = @_;

	substr($content, int rand length $content, 1) = random_bytes(1) for 1 .. 1 + rand 30;
	return $content;
}

sub put
{
	my ($name, $content) = @_;

	open my $handle, '>:raw', $name or die "$name: $!";
	chmod 0600, $name;
	print $handle $content;
	close $handle;
}

# What cannot be right, beside what a record says that nobody else does.
my $excused = qr/^(?:warning\|shared memory of \S+\|is there, but neither.*|error\|shared memory of .*\|what its row has counted is .*|)$/;

sub is_well
{
	my ($what) = @_;

	like($node->safe_psql('postgres', $use_all), qr/^(?:VALID|RATE_LIMITED|RATE_LIMITED VALID)$/, "$what: keys verify");
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	is(join("\n", grep { !/$excused/ } split /\n/, $node->safe_psql('postgres', 'SELECT level, object, problem FROM apikeys.check()')),
		'', "$what: shared memory is sound");
}

my %made = (
	'random bytes' => sub { random_bytes(rand 9000) },
	'random records' => sub { complete(substr($_[0], 0, $header_size), random_bytes($record_size * int rand 300)) },
	'a good file with other bytes in it' => sub { complete(substr($_[0], 0, $header_size), spoil(substr $_[0], $header_size, -4)) });

foreach my $round (1 .. $rounds)
{
	foreach my $what (sort keys %made)
	{
		is($node->safe_psql('postgres', $use_all), 'VALID', "round $round: VALID before") if $round == 1 && $what eq (sort keys %made)[0];
		$node->stop;
		my $good = slurp_file($file);
		cmp_ok(length $good, '>', $header_size + 20 * $record_size, 'there is a file of the shutdown') if $round == 1;
		put($file, $made{$what}->($good));
		ok($node->start(fail_ok => 1), "$what $round: the server starts");
		is_well("$what $round");
		# So that the next file is a good one.
		$node->stop('immediate');
		unlink $file;
		$node->start;
		$node->safe_psql('postgres', $use_all);
	}
}

my $one = 'one:' . secret_of('one');
%made = (
	'random bytes' => sub { random_bytes(rand 40000) },
	'random lines' => sub { join '', map { join('', map { chr 32 + rand 95 } 1 .. rand 300) . "\n" } 1 .. rand 20 },
	'random bytes after a good line' => sub { "$one\n" . random_bytes(1 + rand 400) },
	'a good line with other bytes in it' => sub { spoil("$one\n") });
my $refused = 0;

foreach my $round (1 .. $rounds)
{
	foreach my $what (sort keys %made)
	{
		$node->stop;
		put(secret_file($node), $made{$what}->());
		my $offset = -s $node->logfile;
		ok($node->start(fail_ok => 1), "secrets, $what $round: the server starts");
		my $is_refused = count_in_log($node, qr/HMAC secret file ".*" was refused/, $offset) > 0;
		$refused += $is_refused;
		is($node->safe_psql('postgres', 'SELECT bool_or(loaded) FROM apikeys.secret_usage WHERE secret IS NOT NULL'),
			$is_refused ? 'f' : 't', "secrets, $what $round: all or nothing is loaded");
		is($node->safe_psql('postgres', 'SELECT code FROM apikey_verify($$no key$$)'), 'NOT_FOUND', "secrets, $what $round: verify answers");
	}
}
note "$refused files of secrets were refused";
cmp_ok($refused, '>', $rounds, 'secrets: most random files are refused');
write_secrets($node, 'one');
$node->restart;
is($node->safe_psql('postgres', 'SELECT count(DISTINCT v.code) FROM kept, LATERAL apikey_verify(raw_key) v WHERE v.code = $$VALID$$'), 1,
	'keys of the good secret verify');
is(count_in_log($node, qr/TRAP:|PANIC:|terminated by signal/), 0, 'nothing has crashed');
$node->stop;

done_testing();
