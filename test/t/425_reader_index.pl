
# A role that only reads finds keys that expire by the index on that, as the owner
# does, whichever of them has planned on the table first in a session: what the index
# is on must not look another way to those who may not execute its function.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main');
$node->safe_psql('postgres', q{
	CREATE ROLE reader LOGIN;
	SELECT apikey_grant('reader', 'read');
	SELECT count(apikey_import(digest(n::text, 'sha256'), n::text, 'x', expires_at => now() + n * interval '1 hour'))
	FROM generate_series(1, 5000) n;
	ANALYZE apikeys_data.key});
my $index = $node->safe_psql('postgres', q{SELECT 'apikeys_data.key_expires_at_idx'::regclass::oid});

# How many keys are found, and by how many scans of the index.
my $find = qq{
	BEGIN;
	SELECT apikey_count(expires_before => now() + interval '150 minutes');
	SELECT pg_stat_get_xact_numscans($index);
	COMMIT};

foreach my $first ('', 'SELECT count(*) > 0 FROM apikeys.info;', q{SELECT count(*) FROM apikeys.info WHERE expires_at < now();})
{
	foreach my $user ('reader', 'postgres')
	{
		my $session = $node->background_psql('postgres', extra_params => [ '-U', $user ]);

		$session->query_safe($first) if $first;
		$session->query_safe('SET ROLE reader') if $user eq 'postgres';
		is($session->query_safe($find), "2\n1", "$user, after: $first");
		$session->quit;
	}
}

$node->stop;
done_testing();
