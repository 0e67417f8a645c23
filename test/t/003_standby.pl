
# Verify works on a hot standby, and what is revoked on the primary is refused
# there from the moment the commit is replayed, in a transaction with an older
# snapshot too.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql(
	'postgres', q{
	CREATE EXTENSION pgcrypto;
	CREATE EXTENSION apikeys;
	SELECT apikey_import(digest(name || '-key', 'sha256'), name, name || '...key')
	FROM unnest(ARRAY['revoked', 'disabled', 'deleted', 'kept']) name});

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

sub verify
{
	my ($name) = @_;

	return "SELECT code FROM apikey_verify('$name-key')";
}

# One after the other: a deleted row does not go away under an old snapshot.
my $session = $standby->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($session->query_safe(verify($_)), 'VALID', "standby: $_, before")
  foreach qw(revoked disabled deleted kept);

$primary->safe_psql(
	'postgres', q{
	SELECT apikey_revoke(id) FROM apikeys_data.key WHERE name = 'revoked';
	SELECT apikey_update(id, '{"enabled": false}') FROM apikeys_data.key WHERE name = 'disabled';
	SELECT apikey_delete(id) FROM apikeys_data.key WHERE name = 'deleted';
	SELECT apikey_import(digest('new-key', 'sha256'), 'new', 'new...key')});
$primary->wait_for_catchup($standby);

my %now = (
	revoked => 'REVOKED',
	disabled => 'DISABLED',
	deleted => 'NOT_FOUND',
	new => 'VALID',
	kept => 'VALID');

foreach my $name (sort keys %now)
{
	is($session->query_safe(verify($name)), $now{$name}, "standby: $name, in the same transaction");
	is($standby->safe_psql('postgres', verify($name)), $now{$name}, "standby: $name, in a new session");
}
$session->query_safe('COMMIT');
$session->quit;

# Whose a key is can be asked there, too.
is($standby->safe_psql('postgres', q{SELECT name, status FROM apikey_identify('revoked-key')}), 'revoked|revoked', 'standby: apikey_identify');

# A standby changes nothing.
foreach my $change (
	q{apikey_generate('other')},
	q{apikey_rotate(key.id)},
	q{apikey_revoke(key.id)},
	q{apikey_revoke_raw('kept-key')},
	q{apikey_update(key.id, '{"enabled": false}')},
	q{apikey_delete(key.id)},
	q{apikey_cleanup_expired()})
{
	my ($ret, $stdout, $stderr) = $standby->psql(
		'postgres',
		"SELECT $change FROM apikeys_data.key WHERE name = 'kept'",
		extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	like($stderr, qr/ERROR:  25006/, "standby: $change is refused");
}

# Until it is promoted.
$standby->promote;
is($standby->safe_psql('postgres', verify('kept')), 'VALID', 'promoted: kept');
is($standby->safe_psql('postgres', verify('revoked')), 'REVOKED', 'promoted: revoked');
is( $standby->safe_psql('postgres', q{
		SELECT last_used_at IS NOT NULL FROM apikeys.info WHERE name = 'kept'}),
	't',
	'promoted: last use is kept again');
is($standby->safe_psql('postgres', q{
		SELECT v.code FROM apikey_generate('other') g, apikey_verify(g.raw_key) v}),
	'VALID',
	'promoted: a new key');
is($standby->safe_psql('postgres', 'SELECT * FROM apikeys.check()'), '', 'promoted: all is sound');

$standby->stop;
$primary->stop;
done_testing();
