
# Libraries share one name space, in the order in which they are loaded.  Here
# one comes before apikeys that exports every name that apikeys uses inside,
# each a function that ends the process.  None of them may take the place of
# ours: with one for status_at() that returned 3, a revoked key was VALID.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
chomp(my $cc = `$pg_config --cc`);
chomp(my $includedir = `$pg_config --includedir-server`);
chomp(my $libdir = `$pg_config --pkglibdir`);

# Functions and variables, whether hidden or not; also those of one file alone,
# which nobody could replace.  What starts with _ is the compiler's.
my %names;
foreach (`nm --defined-only $libdir/apikeys.so`)
{
	my ($name) = /^\w+ [A-Za-z] ([A-Za-z]\w*)$/ or next;

	$names{$name} = 1 unless $name =~ /^(?:Pg_magic_func|(?:pg_finfo_)?apikeys?_\w+|\w+_tm_clones|frame_dummy)$/;
}
my @names = sort keys %names;
cmp_ok(scalar @names, '>', 200, 'the names that apikeys uses inside are known')
  or BAIL_OUT("$libdir/apikeys.so has been stripped");

my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/magic.c", qq{#include "postgres.h"\n#include "fmgr.h"\nPG_MODULE_MAGIC;\n});
append_to_file("$dir/names.c", join '',
	"extern void abort(void);\n",
	map { "void $_(void) { abort(); }\n" } @names);
system("$cc -w -fno-builtin -fPIC -shared -I $includedir -o $dir/names.so $dir/magic.c $dir/names.c") == 0
  or BAIL_OUT('could not compile the library of names');

my $node = new_node('main');
$node->append_conf('postgresql.conf', "shared_preload_libraries = '$dir/names.so,apikeys'");
$node->start;
add_extension($node, 'postgres');

sub query { return $node->safe_psql('postgres', @_) }

is(query('SHOW shared_preload_libraries'), "$dir/names.so,apikeys", 'the library of names comes first');

add_keys($node, 'postgres', qw(good revoked disabled rotated deleted limited));
query(sprintf q{
	SELECT apikey_revoke(%s);
	SELECT apikey_delete(%s);
	SELECT apikey_update(%s, '{"enabled": false}');
	SELECT apikey_update(%s, '{"rate_limits": {"requests_per_day": 1}}')},
	map { id_of($_) } qw(revoked deleted disabled limited));
my $new_key = query('SELECT raw_key FROM apikey_rotate(' . id_of('rotated') . ')');

is(query("SELECT code FROM apikey_verify('$new_key')"), 'VALID', 'the key of a rotation is valid');
is(query(q{
		SELECT string_agg(text || ' ' || code, E'\n' ORDER BY read, text)
		FROM generate_series(1, 2) read,
			unnest('{deleted,disabled,good,limited,revoked,rotated}'::text[]) AS text,
			apikey_verify(text || '-key' || left(read::text, 0))}),
	join("\n",
		map { ('deleted NOT_FOUND', 'disabled DISABLED', 'good VALID',
			"limited $_", 'revoked REVOKED', 'rotated REVOKED') } 'VALID', 'RATE_LIMITED'),
	'every key has its answer, read and cached');
is(query(q{SELECT count(*) FROM apikey_login('good-key') \; SELECT apikey_current_id() = } . id_of('good')),
	"1\nt", 'a session has its identity');
query('SELECT apikey_record_usage(' . id_of('good') . ', 7)');
is(query('SELECT total_tokens FROM apikey_usage(' . id_of('good') . ')'), '7', 'usage is recorded');
wait_for_flush_worker($node, 'postgres');
isnt(stored_use($node, 'postgres', 'good'), '', 'last use is written by a worker');

$node->stop;
done_testing();
