
# doc/reference.md has all that there is, and nothing else.  Its generated parts are
# what the catalogs say; its other tables are compared with the sources.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib", "$FindBin::RealBin/../reference";

use ApikeysTest;
use Page qw(parts fill);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main');
my $page = slurp_file('doc/reference.md');

# Two lists of words are the same; says what is missing, and what is too much.
sub same
{
	my ($got, $expected, $test_name) = @_;
	my %got = map { $_ => 1 } @$got;
	my %expected = map { $_ => 1 } @$expected;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(@$expected > 0, "control: $test_name");
	is(join("\n", map({ "missing: $_" } grep { !$got{$_} } sort keys %expected),
			map({ "invented: $_" } grep { !$expected{$_} } sort keys %got)),
		'', $test_name);
	is(scalar @$got, scalar keys %got, "... each once");
}

# --------------------------------------------------------- what is generated

my %parts = parts($node->safe_psql('postgres', '\i test/reference/page.sql') . "\n");

is(delete $parts{leftovers}, '', 'test/reference/arguments.sql describes nothing that is not there');
is(join("\n", grep { /not described yet/ } split /\n/, join '', values %parts),
	'', 'test/reference/arguments.sql describes each argument');
cmp_ok(length $parts{functions}, '>', 10_000, 'control: functions are there');

my %places = parts($page);
foreach my $name (sort keys %parts)
{
	ok(exists $places{$name}, "the page has a place for the $name");
	is($places{$name}, "\n" . $parts{$name} =~ s/\n+\z/\n/r . "\n",
		"the $name are as in the catalogs (if not: make reference)");
}
is(fill($page, %parts), $page, 'make reference changes nothing');

# ------------------------------------------------------------ what is written

my %sources = map { $_ => slurp_file($_) } glob('src/*.c'), glob('src/*/*.c');
my $sources = join '', values %sources;

# The first cells of the table below a heading, each with all its words.
sub cells
{
	my ($heading, $nth) = @_;
	my ($section) = $page =~ /^\Q$heading\E\n(.*?)(?=^##|\z)/ms or die "there is no $heading";
	my @tables = $section =~ /((?:^\|.*\n)+)/mg;
	my @cells = map { /^\| (.*?) \|/ } (split /\n/, $tables[ $nth // 0 ])[ 2 .. 999 ];

	return map { /`([^`]+)`/g } grep { defined } @cells;
}

same([ cells('## Codes of a verify') ],
	[ $sources{'src/verify/authorize.c'} =~ /\{COUNT_\w+, "([A-Z_]+)"/g ],
	'the codes are those of the source');

# SQLSTATEs, by the names that C has for them.
my $includes = `"$ENV{PG_CONFIG}" --includedir-server`;
chomp $includes;
my %sqlstates = map { s/\W//gr } slurp_file("$includes/utils/errcodes.h") =~ /^#define (ERRCODE_\w+) MAKE_SQLSTATE\((.*)\)/mg;
my %raised = map { $sqlstates{$_} // die("$_ is not known") => 1 } $sources =~ /errcode\((ERRCODE_\w+)\)/g;

$raised{ join '', $_ =~ /'(.)'/g } = 1 foreach $sources =~ /MAKE_SQLSTATE\((.*?)\)/g;
my @written = cells('## SQLSTATEs');
same(\@written, [ keys %raised ], 'the SQLSTATEs are those of the source');
my %written = map { $_ => 1 } @written;
is(join(' ', grep { !$written{$_} } join('', map { $parts{$_} } grep { $_ ne 'settings' } keys %parts) =~ /\b(PT\d{3}|[0-9A-Z]{2}[0-9]{3}|[0-9][0-9A-Z]{4})\b(?=[ .,;)])/g),
	'', 'those that comments name are among them');

# The members of documents: each array of them in the sources is one table.
my %documents = (
	'src/model/permissions.c permission_members' => [ '### Permissions' ],
	'src/model/rate_limits.c rate_limit_members' => [ '### Rate limits' ],
	'src/model/window_limit.c window_members' => [ '### Rate limits', 1 ],
	'src/model/key_config.c members' => [ '### Members of a key' ],
	'src/model/budget_config.c members' => [ '### Members of a budget' ]);

foreach my $file (sort keys %sources)
{
	while ($sources{$file} =~ /^static const JsonDocumentMember (\w+)\[.*?\] = \{(.*?)\};/msg)
	{
		my ($name, $members) = ("$file $1", $2);
		my $heading = delete $documents{$name};

		$members =~ s/\bRATE_CONCURRENT_NAME\b/"max_concurrent_requests"/;
		ok($heading, "the page has a table for the document of $name")
		  and same([ cells(@$heading) ], [ $members =~ /\{"(\w+)"/g ], "the members of $name");
	}
}
is(join(' ', sort keys %documents), '', 'all these documents are in the sources');

# The reasons to change a setting are in a page of their own.
same([ map { /^\| `(apikeys\.\w+)`/ } split /\n/, slurp_file('doc/settings.md') ],
	[ $parts{settings} =~ /^\| `(.*?)`/mg ], 'doc/settings.md has each setting');

# Links within the page lead somewhere.
my %anchors = map { s/[^\w -]//gr =~ tr/ /-/r => 1 } map { lc } $page =~ /^#+ (.*)$/mg;
is(join(' ', grep { !$anchors{$_} } $page =~ /\]\(#([^)]*)\)/g), '', 'each link within the page leads somewhere');

done_testing();
