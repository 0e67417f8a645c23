
# What test/lint/released does at a release, and holds everybody to afterwards.

use strict;
use warnings;

use Cwd;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = PostgreSQL::Test::Utils::tempdir('tree');
my $lint = getcwd() . '/test/lint/released';

mkdir "$tree/$_" foreach 'sql', 'sql/install', 'debian', 'packaging';
write_file('apikeys.control', "default_version = '1.0.0'\n");
write_file('CHANGELOG.md', "# Changelog\n\n## 1.0.0 (unreleased)\n");
write_file('sql/install/00-one.sql', "SELECT 1;\n");
write_file('sql/install/10-two.sql', "SELECT 2;\n");

write_file('debian/changelog', "pg-x (1.0.0) unstable; urgency=medium\n\n  * First release.\n\n -- The authors <a\@example.org>  Fri, 01 Jan 2026 00:00:00 +0000\n");
write_file('packaging/apikeys.spec', "Version: 1.0.0\n\n%changelog\n* Thu Jan 01 2026 The authors <a\@example.org> - 1.0.0-1\n- First release.\n");

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
$ENV{DATE} = '2027-01-31';
is(released('release'), "frozen: apikeys--1.0.0.sql\n", 'a release is frozen');
like(slurp_file("$tree/CHANGELOG.md"), qr/^## 1\.0\.0 \(2027-01-31\)$/m, '... and has its date');
like(slurp_file("$tree/debian/changelog"), qr/^ -- The authors <a\@example.org>  Sun, 31 Jan 2027 00:00:00 \+0000$/m, '... in the package of Debian');
like(slurp_file("$tree/packaging/apikeys.spec"), qr/^\* Sun Jan 31 2027 The authors <a\@example.org> - 1\.0\.0-1$/m, '... and in the RPM');
is(slurp_file("$tree/sql/released/apikeys--1.0.0.sql"), "SELECT 1;\nSELECT 2;\n", '... as make has joined it');
is(released(''), '', '... and all is well');
like(released('freeze'), qr/^red: .*is released/, '... once');
like(released('release'), qr/^red: CHANGELOG.md has no "## 1.0.0 \(unreleased\)"/, '... by either command');

my $spec = slurp_file("$tree/packaging/apikeys.spec");
write_file('packaging/apikeys.spec', $spec =~ s/Sun Jan 31/Mon Feb 01/r);
like(released(''), qr/^red: packaging\/apikeys.spec has another date/, 'all say the same day');
write_file('packaging/apikeys.spec', $spec);

write_file('sql/install/10-two.sql', "SELECT 3;\n");
like(released(''), qr/^red: sql\/install has changed since 1.0.0/, 'its parts do not change');
write_file('apikeys.control', "default_version = '1.1.0'\n");
like(released(''), qr/^red: there is no .*apikeys--1.0.0--1.1.0.sql/, 'a new version takes an update');
write_file('sql/released/apikeys--1.0.0--1.1.0.sql', "SELECT 'update';\n");
is(released(''), '', '... and has one');
write_file('sql/released/apikeys--1.0.0--1.1.0.sql', "SELECT 'another update';\n");
is(released(''), '', '... which may change until it is released');

write_file('CHANGELOG.md', "# Changelog\n\n## 1.1.0 (unreleased)\n\n## 1.0.0 (2027-01-31)\n");
$ENV{DATE} = '2028-02-29';
is(released('release'), "frozen: apikeys--1.0.0--1.1.0.sql apikeys--1.1.0.sql\n", 'both are frozen');
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
