
# The page of the proof: what is replaced in its table by a run, by a part of one and by
# rows that were kept, and that it says what was never run.

use strict;
use warnings;

use Cwd;
use File::Copy qw(copy);
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use Test::More;

my $sources = getcwd();
my $tree = PostgreSQL::Test::Utils::tempdir('tree');
my $today = sub { sprintf '%d-%02d-%02d', $_[5] + 1900, $_[4] + 1, $_[3] }->(localtime);

$ENV{GIT_DIR} = "$tree/.git";
$ENV{GIT_WORK_TREE} = $tree;
delete @ENV{'EFFORT', map { split } slurp_file("$sources/test/proof/run") =~ /^(?:choosing|narrowing)=\(([^)]*)\)/mg};
make_path("$tree/test/proof/lib", "$tree/doc");
copy("$sources/$_", "$tree/$_") foreach 'test/proof/run', 'test/proof/lib/page.py';
chmod 0755, "$tree/test/proof/run";
write_file('test/setup', "#!/bin/sh\necho pg_config\n");
write_file('doc/proof.md', "before\n<!-- table -->\nnothing\n<!-- end of the table -->\nafter\n");
part('fuzz', "scan\tfuzzer\t5 inputs\tpass", "state\tfuzzer\t6 inputs\tpass");
part('load', "no error\ta | b\t7\tpass");

sub write_file
{
	my ($name, $text, $mode) = @_;

	unlink "$tree/$name";
	append_to_file("$tree/$name", $text);
	chmod 0755, "$tree/$name";
}

# A part that prints lines.
sub part
{
	my ($name, @lines) = @_;

	write_file("test/proof/$name", "#!/bin/sh\ncat <<'END'\n" . join("\n", @lines) . "\nEND\n" . (grep(/\tfail$/, @lines) ? "exit 1\n" : ''));
}

# Its exit status, after a run with some environment.
sub run_proof
{
	my ($environment, @arguments) = @_;

	local @ENV{ keys %$environment } = values %$environment;
	return system("'$tree/test/proof/run' @arguments >'$tree/said' 2>&1") >> 8;
}

# The table, with the commit as X.
sub table
{
	return join("\n", slurp_file("$tree/doc/proof.md") =~ /^(\| (?!part).+)$/mg) =~ s/ no commit,/ X,/gr;
}

is(run_proof({}, 'load'), 0, 'a part');
is(table(), "| fuzz | all of it | | | not run | |\n| load | no error | a \\| b | 7 | pass | $today, X, full |", '... has its rows, and another one was not run');
like(slurp_file("$tree/doc/proof.md"), qr/^before\n<!-- table -->\nLast written on .*\n<!-- end of the table -->\nafter\n$/s, '... between what the page says');
like(slurp_file("$tree/said"), qr/^PASS      load      no error: 7$/m, '... and is printed');

my $load = "| load | no error | a \\| b | 7 | pass | $today, X, full |";
my $scan = "| fuzz | scan | fuzzer | 5 inputs | pass | $today, X, full |";
my $state = "| fuzz | state | fuzzer | 6 inputs | pass | $today, X, full |";
part('fuzz', "scan\tfuzzer\t5 inputs\tpass");
run_proof({ TARGETS => 'scan' }, 'fuzz');
is(table(), "$scan\n| fuzz | everything else | | | not run | |\n$load", 'a target: the others were not run');

part('fuzz', "scan\tfuzzer\t5 inputs\tpass", "state\tfuzzer\t6 inputs\tpass");
run_proof({}, '');
is(table(), "$scan\n$state\n$load", 'all');

part('fuzz', "scan\tfuzzer\t8 inputs\tfail");
isnt(run_proof({ TARGETS => 'scan', EFFORT => 'long' }, 'fuzz'), 0, 'a target fails');
my $failed = "| fuzz | scan | fuzzer | 8 inputs | fail | $today, X, long |";
is(table(), "$failed\n$state\n$load", '... and has its row replaced alone, in its place');

part('load', "no error\tc\t1\tpass");
run_proof({ EFFORT => 'ci' }, 'load');
run_proof({ DURATION => 1 }, 'load');
run_proof({ DURATION => 1, STEPS => 'direct' }, 'load');
is(table(), "$failed\n$state\n$load", 'what is less than its effort is not on the page');

write_file('rows', "state\tfuzzer\t9 inputs\tpass\n");
utime 86400 * 20000, 86400 * 20000, "$tree/rows";
is(run_proof({ EFFORT => 'long' }, "--rows fuzz abc1234 '$tree/rows'"), 0, 'rows that were kept');
is(table(), "$failed\n| fuzz | state | fuzzer | 9 inputs | pass | 2024-10-04, abc1234, long |\n$load", '... have their day and commit');
is(run_proof({}, "--part fuzz abc1234 '$tree/rows'"), 0, '... and are all of the part');
is(table(), "| fuzz | state | fuzzer | 9 inputs | pass | 2024-10-04, abc1234, full |\n$load", '... if that is said');

my $before = table();
write_file('rows', "state\tfuzzer\t9 inputs\n");
isnt(run_proof({}, "--rows fuzz abc1234 '$tree/rows'"), 0, 'what is no row is refused');
isnt(run_proof({}, "--rows history abc1234 '$tree/rows'"), 0, '... and so is a part that is not there');
is(table(), $before, '... and the page stays as it is');

part('load', '');
isnt(run_proof({}, 'load'), 0, 'a part that says nothing fails');
like(table(), qr/^\| load \| load \| the whole part \| said nothing \| fail \|/m, '... and the page says so');

SKIP:
{
	skip 'there is no git', 2 if system("git --version >'$tree/said' 2>&1") != 0;
	system_or_bail('git', 'init', '--quiet', $tree);
	write_file('.gitignore', "said\nrows\n");
	system_or_bail('git', '-C', $tree, 'add', '.');
	system_or_bail('git', '-C', $tree, '-c', 'user.name=a', '-c', 'user.email=b', 'commit', '--quiet', '-m', 'all');
	my $commit = `git rev-parse --short=7 HEAD` =~ s/\n//r;

	run_proof({}, '');
	is(join(' ', table() =~ /, (\S+), full/g), "$commit $commit", 'the commit, although the page changes meanwhile');
	part('load', "no error\tc\t2\tpass");
	run_proof({}, 'load');
	is(join(' ', table() =~ /, (\S+), full/g), "$commit $commit+", '... and changes');
}

# Whatever the programs say makes less of them is known as such.
my $run = slurp_file("$sources/test/proof/run");
my %known = map { $_ => 1 } map { split } $run =~ /^(?:choosing|narrowing)=\((.*?)\)/msg;
foreach my $program (grep { -f && -x && !/run$/ } glob "$sources/test/proof/*")
{
	my @said = grep { !/^(EFFORT|SEED|RESULTS|LOGS|PLOT|PG_CONFIG_16)$/ } map { /([A-Z][A-Z_0-9]+)=/g } slurp_file($program) =~ /^#   ([A-Z].*)$/mg;

	is(join(' ', grep { !$known{$_} } @said), '', "$program: what narrows it is known");
}

done_testing();
