
# Many more keys with four limits each than shared memory has space for, used at
# random as fast as it goes: no error, each request that passes is counted once, and a
# verify takes not much longer than with a thousand keys.  KEYS=1000000 tries that many
# with the default memory; doc/limits.md has the figures that this prints.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $nkeys = $ENV{KEYS} // 20_000;
my $seconds = $ENV{KEYS} ? 10 : 2;
my $node = start_node('main', 'max_wal_size = 4GB', $ENV{KEYS} ? () : 'apikeys.max_tracked_keys = 1000');

# Limits that nobody reaches, for windows that do not end while this lasts.
for (my $from = 1; $from <= $nkeys; $from += 50_000)
{
	my $to = $from + 49_999 < $nkeys ? $from + 49_999 : $nkeys;

	$node->safe_psql('postgres', qq{
		SELECT count(*) FROM (SELECT array_agg(digest(n || '-key', 'sha256')) AS hashes, array_agg(n::text) AS names,
			array_agg('x'::text) AS prefixes FROM generate_series($from, $to) n) k,
		apikey_import_many(hashes, names, prefixes, rate_limits => '{"windows": [
			{"per": "31 days", "requests": 1000000}, {"per": "30 days", "requests": 1000000},
			{"per": "29 days", "tokens": 1000000}, {"per": "28 days", "requests": 1000000}]}')});
}
$node->safe_psql('postgres', 'VACUUM ANALYZE apikeys_data.key; CHECKPOINT');

# Two clients verify keys up to a number; returns the median of what that takes, in
# microseconds, and how many there were.
sub median
{
	my ($upto) = @_;
	my $log = $node->basedir . "/times.$upto";
	my $load = start_load($node, 'postgres', "\\set n random(1, $upto)\nSELECT apikey_check(:n || '-key')",
		'--client', 2, '--time', $seconds, '--protocol', 'prepared', '--log', "--log-prefix=$log");

	ok(end_load($load), "$upto keys: no error") or diag $load->{err};
	my @times = sort { $a <=> $b } map { (split ' ')[2] } map { split /\n/, slurp_file($_) } glob "$log.*";
	unlink glob "$log.*";
	return ($times[ @times / 2 ], scalar @times);
}

my (@few, @many);
my ($total, $asked) = (0, 0);
foreach my $round (1 .. 3)
{
	my ($time, $n) = median(1000);
	push @few, $time;
	$total += $n;
	my ($refused, $reads) = split /\|/, stats($node, 'refused, evictions');
	($time, $n) = median($nkeys);
	push @many, $time;
	$total += $n;
	$asked += $n;
	my ($refused_now, $evicted_now) = split /\|/, stats($node, 'refused, evictions');
	note sprintf '%d keys: %d verifies a second, median %d microseconds, %.1f times that of 1,000 keys (%d); %d evicted, %d refused, which is %.2f %%',
	  $nkeys, $n / $seconds, $time, $time / $few[-1], $few[-1], $evicted_now - $reads, $refused_now - $refused, 100 * ($refused_now - $refused) / $n;
}

# The middle of three.
my ($few, $many) = map { (sort { $a <=> $b } @$_)[1] } \@few, \@many;
note sprintf 'figure: p50 of 1,000 keys: %d microseconds, of %d keys: %d, which is %.2f times that', $few, $nkeys, $many, $many / $few;

is(stats($node, 'valid + rate_limited'), $total, 'all were asked for limits');
is(stats($node, 'rate_limited = refused'), 't', 'none was limited but for want of space');
# How many depends on how fast they are asked for.
cmp_ok(stats($node, 'refused'), '<', $asked, 'and not all were');
is(stats($node, 'flush_errors'), '0', 'all flushes went well');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
# The first of the six numbers of a window that end 31 days later.
is($node->safe_psql('postgres', q{
	SELECT sum(windows[array_position(windows, 31 * 86400) + 3]) = (SELECT valid FROM apikeys.stats) FROM apikeys_data.window_state}),
	't', 'each request that has passed is counted once');
is_sound($node, 'postgres', 'many keys');

$node->stop;
done_testing();
