
# The scanner finds every key, whatever stands beside it, changes nothing
# else, and its cost is linear in the length of the text.
#
# The keys are made here, by another implementation of the checksum.  The
# texts are random, but the same at each run, since one in 900 million texts
# is a key by chance; SEED=n gives others.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use LeakTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @word = (@digits, '_', '-');
my $seed = $ENV{SEED} // 1;

srand($seed);

sub pick { return $_[ rand @_ ]; }
sub some { my ($n, @from) = @_; return join '', map { pick(@from) } 1 .. $n; }

sub raw_key
{
	my $start = (shift // some(1 + int(rand 24), @word)) . some(27, @digits);

	return $start . checksum($start);
}

# Prefix, first random character, asterisks, last four.
sub masked { return $_[0] =~ s/^(.*.)(.{27})(.{4})$/$1 . '*' x 27 . $3/er; }

# What is no key.
my @others = (
	sub { '' },
	sub { ' ' },
	sub { pick("'", '"', '=', '/', '.', '$', "\n", '*', "\xc3\xa9", "\xef\xbc\xa1") },
	sub { pick(@word) },
	sub { some(rand(40), @word) },
	sub { some(rand(200), @digits) },
	sub { '-' x rand(60) },
	sub { some(rand(100), ' ', @word) },
	# almost a key
	sub { my $key = raw_key(); substr($key, rand length $key, 1) = ' '; $key },
	sub { my $key = raw_key('gw-'); substr($key, 3 + rand(32), 1) = pick('_', '-'); $key },
	sub { my $key = raw_key('gw-'); substr($key, 3, 1) =~ tr/0-9A-Za-z/1-9A-Za-z0/; $key },
	sub { substr(raw_key('gw-'), 0, -1) . pick(' ', '_', '-') },
	# too long a prefix would be no key, but the rest of it might be one
	sub { raw_key('gw-') =~ s/^gw//r });

my (@texts, @expected);

sub add
{
	my ($text, $expected) = @_;

	push @texts, $text;
	push @expected, $expected;
}

# One key between all pairs of others, and any number of keys.
my $key = raw_key('gw-');
add($key, masked($key));
foreach my $left (@others)
{
	foreach my $right (@others)
	{
		my ($l, $r) = ($left->(), $right->());

		$key = raw_key();
		add("$l$key$r", $l . masked($key) . $r);
	}
}
for (1 .. 5000)
{
	my ($text, $expected) = ('', '');

	for (0 .. rand 8)
	{
		if (rand() < 0.5)
		{
			my $key = raw_key(rand() < 0.3 ? pick('gw-', 'sk', 'x', '-', '_') : undef);
			$text .= $key;
			$expected .= masked($key);
		}
		else
		{
			my $other = pick(@others)->();
			$text .= $other;
			$expected .= $other;
		}
	}
	add($text, $expected);
}

# The end of one key is the beginning of another, in one row of letters and
# in two: nothing is shown of either.
foreach my $prefix ('a', 'a-')
{
	my $first;

	do { $first = raw_key('gw-') } until $first =~ /a$/;
	my $second = substr($first, -1) . substr(raw_key($prefix), 1);
	my $both = $first . substr($second, 1);
	add(".$both.", '.' . '*' x length($both) . '.');
}

# A row of letters that goes on and on is searched at both ends, and after
# each key.
{
	my $letters = 'x' x 5000;
	my $sk = raw_key('sk');
	my $m = masked($sk);

	add(substr($letters, 0, 1000) . $sk . $letters, substr($letters, 0, 1000) . $m . $letters);
	add($letters . $sk . substr($letters, 0, 900), $letters . $m . substr($letters, 0, 900));
	add($sk x 500 . $letters . $sk, $m x 500 . $letters . $m);
	add($letters . $sk . $letters, $letters . $sk . $letters);
}

my $module = build_module('redact') . '/redact_test';
my $node = start_node('main');
$node->safe_psql(
	'postgres', qq{
	CREATE FUNCTION test_mask(text) RETURNS text STRICT LANGUAGE C AS '$module';
	CREATE FUNCTION test_steps(text) RETURNS bigint STRICT LANGUAGE C AS '$module'});

sub ask
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

my $copy = join '', map { s/([\\\n])/$1 eq "\n" ? '\n' : '\\\\'/ger . "\n" } @texts;
my $file = "$module.texts";
open my $handle, '>', $file or die "$file: $!";
print $handle $copy;
close $handle;
ask("CREATE TABLE text (n serial, text text); COPY text (text) FROM '$file'");

my @got = split /\n/, ask(q{SELECT replace(test_mask(text), E'\n', '\n') FROM text ORDER BY n}), -1;
my @wrong = grep { $got[$_] ne $expected[$_] =~ s/\n/\\n/gr } 0 .. $#texts;
is(scalar @got, scalar @texts, 'all texts came through');
is(scalar @wrong, 0, @texts . ' texts: every key is masked, and nothing else is changed')
  or diag map { "seed $seed\ntext     $texts[$_]\nexpected $expected[$_]\ngot      $got[$_]\n" } @wrong[ 0 .. ($#wrong < 4 ? $#wrong : 4) ];
is(ask(q{SELECT count(*) FROM text WHERE test_mask(test_mask(text)) <> test_mask(text)}),
	0, 'what is masked stays as it is');

# Keys that the extension makes.
is( ask(q{
		SELECT count(*) FILTER (WHERE m = left(k, -31) || repeat('*', 27) || right(k, 4)), count(*)
		FROM (SELECT raw_key, test_mask('x' || raw_key || 'y')
		      FROM generate_series(1, 500) n, apikey_generate('k', prefix => left('p_-' || repeat('q', 24), 1 + n % 24))) g(k, m0),
		     substr(m0, 2, length(k)) m}),
	'500|500',
	'every generated key is masked');

# The worst: no key and no end of letters; key after key with nothing between
# them, in one row of letters; nearly a key each time.  The best: prose.
my $mb = 1 << 20;
foreach my $case (
	[ 'letters', q{repeat('Zz9', $ / 3)}, 0.2 ],
	[ 'letters in rows', q{repeat(repeat('Zz9', 500) || ' ', $ / 1501)}, 51 ],
	[ 'keys', q{repeat((SELECT raw_key FROM apikey_generate('k', prefix => 'sk')), $ / 34)}, 102 ],
	[ 'keys cut short', q{repeat((SELECT left(raw_key, -1) || '-' FROM apikey_generate('k', prefix => 'sk')), $ / 34)}, 102 ],
	[ 'hashes', q{repeat(md5('x') || ' ', $ / 33)}, 0 ],
	[ 'hashes after a dash', q{repeat('-' || md5('x'), $ / 33)}, 51 ],
	[ 'words', q{repeat('SELECT some_column_of_a_table FROM that_table; ', $ / 47)}, 0 ])
{
	my ($name, $text, $max) = @$case;

	foreach my $size (1, 8)
	{
		my $sized = $text =~ s/\$/$size * $mb/er;
		my $steps = ask("SELECT test_steps($sized) / ($size * $mb)::float8");

		cmp_ok($steps, '<=', $max, "$name, $size MB: $steps steps a character");
	}
}

$node->stop;
done_testing();
