
# Functions on many keys: an administrator sees how far they are and can cancel
# them, after which nothing is left; raw keys are in no temporary file.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use Test::More;

my $node = start_node('main');
my $team = '00000000-0000-0000-0000-0000000000ea';

# Fifty thousand keys of a team, which have expired.
sub make_keys
{
	$node->safe_psql('postgres', qq{
		INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name, team_id, created_at, expires_at)
		SELECT i, i, sha256(n::text::bytea), 'gw-a...wxyz', 'n', '$team', now() - interval '1 day', now() - interval '1 hour'
		FROM generate_series(1, 50000) n, LATERAL (SELECT md5(n::text)::uuid AS i) i});
}

# What changes when a call is made.
sub state_of_keys
{
	return $node->safe_psql('postgres', q{
		SELECT count(*), count(revoked_at), (SELECT count(*) FROM apikeys_data.event), (SELECT count(*) FROM apikeys_data.key_notice)
		FROM apikeys_data.key});
}

my $progress = q{FROM pg_stat_progress_copy WHERE relid = 'apikeys_data.key'::regclass AND command IS NULL};

make_keys();
my $before = state_of_keys();
foreach my $call (
	"count(*) FROM apikey_generate_many(1000000, 'n', expires_at => '2999-01-01')",
	"count(m) FROM (SELECT array_agg(sha256(('m' || n)::bytea)) AS h, array_agg('n'::text) AS n, array_agg('p'::text) AS p FROM generate_series(1, 200000) n) a, apikey_import_many(h, n, p) m",
	"apikey_revoke_where(team_id => '$team')",
	'apikey_cleanup_expired()')
{
	my ($function) = $call =~ /(apikey_\w+)/;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	# It cannot end before it has been seen: somebody's trigger waits for a lock.
	my $holder = $node->background_psql('postgres');
	$holder->query_safe('SELECT pg_advisory_lock(4711)');
	$node->safe_psql('postgres', q{
		CREATE FUNCTION wait_once() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF (SELECT count(*) FROM apikeys_data.event) > 10000 THEN
				PERFORM pg_advisory_xact_lock(4711);
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER wait_once AFTER INSERT OR UPDATE OR DELETE ON apikeys_data.key FOR EACH STATEMENT EXECUTE FUNCTION wait_once()});
	$session->query_until(qr/started/, "\\echo started\nSELECT $call;\n");
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $progress AND tuples_processed >= 10000"), "$function shows how far it is");
	ok($node->poll_query_until('postgres', "SELECT bool_or(pg_cancel_backend(pid)) $progress"), "$function is cancelled");
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 $progress"), '... and shows no progress any more');
	$session->quit;
	$holder->quit;
	$node->safe_psql('postgres', 'DROP FUNCTION wait_once CASCADE');
	is(state_of_keys(), $before, '... and has changed nothing');
}

# A batch fits into work_mem, and the result does not.
my $temp_files = q{SELECT temp_files FROM pg_stat_database WHERE datname = 'postgres'};
my $files = $node->safe_psql('postgres', $temp_files);
is($node->safe_psql('postgres', q{SET work_mem = '2MB'; SELECT count(raw_key) FROM apikey_generate_many(40000, 'n')}),
	'40000', 'many keys');
$node->safe_psql('postgres', q{SET work_mem = '2MB'; SELECT count(*) FROM (SELECT repeat('x', 1000), i FROM generate_series(1, 20000) i ORDER BY 1, 2 OFFSET 1) s});
ok($node->poll_query_until('postgres', $temp_files =~ s/temp_files/temp_files > $files/r), 'control: a sort needs a file');
is($node->safe_psql('postgres', $temp_files), $files + 1, 'raw keys need none');

is($node->safe_psql('postgres', "SELECT apikey_revoke_where(team_id => '$team')"), '50000', 'all are revoked');
is($node->safe_psql('postgres', 'SELECT apikey_cleanup_expired()'), '50000', 'all are deleted');

$node->stop;
done_testing();
