
# What test/lint/released does at a release, and holds everybody to afterwards.

use strict;
use warnings;

use Cwd;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = PostgreSQL::Test::Utils::tempdir('tree');
my $lint = getcwd() . '/test/lint/released';

mkdir "$tree/$_" foreach 'sql', 'sql/install';
write_file('apikeys.control', "default_version = '1.0.0'\n");
write_file('CHANGELOG.md', "# Changelog\n\n## 1.0.0 (unreleased)\n");
write_file('sql/install/00-one.sql', "SELECT 1;\n");
write_file('sql/install/10-two.sql', "SELECT 2;\n");

sub write_file
{
	my ($name, $text) = @_;

	unlink "$tree/$name";
	append_to_file("$tree/$name", $text);
}

# What it says, with its exit status if that is not 0.
sub released
{
	my ($command) = @_;

	local $ENV{SOURCES} = $tree;
	my $said = `'$lint' $command 2>&1`;
	return ($? ? 'red: ' : '') . $said;
}

is(released(''), '', 'nothing is released yet');
like(released('freeze'), qr/^red: CHANGELOG.md says that 1.0.0 is unreleased/, 'nothing is frozen by mistake');
write_file('CHANGELOG.md', "# Changelog\n\n## 1.0.0 (2027-01-01)\n");
is(released('freeze'), "frozen: apikeys--1.0.0.sql\n", 'a release is frozen');
is(slurp_file("$tree/sql/released/apikeys--1.0.0.sql"), "SELECT 1;\nSELECT 2;\n", '... as make has joined it');
is(released(''), '', '... and all is well');
like(released('freeze'), qr/^red: .*is released/, '... once');

write_file('sql/install/10-two.sql', "SELECT 3;\n");
like(released(''), qr/^red: sql\/install has changed since 1.0.0/, 'its parts do not change');
write_file('apikeys.control', "default_version = '1.1.0'\n");
like(released(''), qr/^red: there is no .*apikeys--1.0.0--1.1.0.sql/, 'a new version takes an update');
write_file('sql/released/apikeys--1.0.0--1.1.0.sql', "SELECT 'update';\n");
is(released(''), '', '... and has one');
write_file('sql/released/apikeys--1.0.0--1.1.0.sql', "SELECT 'another update';\n");
is(released(''), '', '... which may change until it is released');

write_file('CHANGELOG.md', "# Changelog\n\n## 1.1.0 (2028-01-01)\n\n## 1.0.0 (2027-01-01)\n");
is(released('freeze'), "frozen: apikeys--1.0.0--1.1.0.sql apikeys--1.1.0.sql\n", 'both are frozen');
is(released(''), '', '... and all is well');
write_file('sql/released/apikeys--1.0.0--1.1.0.sql', "SELECT 'update';\n");
like(released(''), qr/^red: apikeys--1.0.0--1.1.0.sql: FAILED/, 'an update does not change');
write_file('sql/released/apikeys--1.0.0--1.1.0.sql', "SELECT 'another update';\n");
append_to_file("$tree/sql/released/apikeys--1.0.0.sql", "\n");
like(released(''), qr/^red: apikeys--1.0.0.sql: FAILED/, 'nor does an older version');
unlink "$tree/sql/released/apikeys--1.0.0.sql";
like(released(''), qr/^red: .*apikeys--1.0.0.sql/, '... nor goes it');
write_file('sql/released/apikeys--1.0.0.sql', "SELECT 1;\nSELECT 2;\n");
is(released(''), '', 'control: all is well again');
write_file('sql/released/apikeys--0.9.sql', "SELECT 0;\n");
like(released(''), qr/^red: .*SHA256SUMS does not have apikeys--0.9.sql/, 'each is listed');

done_testing();
