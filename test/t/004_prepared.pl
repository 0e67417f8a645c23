
# A change in a prepared transaction counts from COMMIT PREPARED on, whoever
# commits it and whatever happens in between.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest qw(is_sound);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 2');
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION pgcrypto;
	CREATE EXTENSION apikeys;
	SELECT apikey_import(digest('test-key', 'sha256'), 'one', 'test...key')});

my $verify = q{SELECT code FROM apikey_verify('test-key')};
my $revoke = q{SELECT apikey_revoke(id) FROM apikeys_data.key};

# An old snapshot, in a session that has seen the key
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($session->query_safe($verify), 'VALID', 'before');

$node->safe_psql('postgres', "BEGIN; $revoke; PREPARE TRANSACTION 'revoke'");
is($session->query_safe($verify), 'VALID', 'prepared: an old session');
is($node->safe_psql('postgres', $verify), 'VALID', 'prepared: a new session');

$node->safe_psql('postgres', q{ROLLBACK PREPARED 'revoke'});
is($session->query_safe($verify), 'VALID', 'rolled back');

$node->safe_psql('postgres', "BEGIN; $revoke; PREPARE TRANSACTION 'revoke'");
$node->safe_psql('postgres', q{COMMIT PREPARED 'revoke'});
is($session->query_safe($verify), 'REVOKED', 'committed: an old session');
is($node->safe_psql('postgres', $verify), 'REVOKED', 'committed: a new session');
$session->quit;

# A session that only verified can prepare its transaction as well.
my $raw_key = $node->safe_psql('postgres', q{
	SELECT raw_key FROM apikey_generate('two')});
$node->safe_psql('postgres', qq{
	BEGIN;
	SELECT * FROM apikey_verify('$raw_key');
	PREPARE TRANSACTION 'verify'});

# Through a crash; the key stays locked against other changes meanwhile.
$node->safe_psql('postgres', q{
	BEGIN;
	SELECT apikey_revoke(id) FROM apikeys_data.key WHERE name = 'two';
	PREPARE TRANSACTION 'revoke'});
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('$raw_key')"),
	'VALID', 'prepared, after a crash');

my ($ret, $stdout, $stderr) = $node->psql('postgres', q{
	SET lock_timeout = '1s';
	SELECT apikey_delete(id) FROM apikeys_data.key WHERE name = 'two'},
	extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($stderr, qr/ERROR:  55P03/, 'prepared, after a crash: the key is locked');

$node->safe_psql('postgres', q{COMMIT PREPARED 'revoke'});
is($node->safe_psql('postgres', "SELECT code FROM apikey_verify('$raw_key')"),
	'REVOKED', 'committed, after a crash');
$node->safe_psql('postgres', q{COMMIT PREPARED 'verify'});

# One that has flushed would keep all flushes of the database waiting.
sub prepare
{
	my ($sql) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', "SET lock_timeout = '1s'; BEGIN; $sql; PREPARE TRANSACTION 'flush'",
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	return $stderr;
}
like(prepare('SELECT apikey_flush()'),
	qr/ERROR:  0A000: cannot PREPARE a transaction that has called apikey_flush\(\)/, 'a flush: cannot be prepared');
like(prepare('SAVEPOINT s; SELECT apikey_flush(); RELEASE s; SAVEPOINT s; ROLLBACK TO s'), qr/ERROR:  0A000/,
	'a flush in a savepoint: cannot be prepared');
like(prepare('SELECT apikey_flush(); SAVEPOINT s; SELECT apikey_flush(); ROLLBACK TO s'), qr/ERROR:  0A000/,
	'a flush, and one that is rolled back: cannot be prepared');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is prepared');
is($node->safe_psql('postgres', "SET lock_timeout = '1s'; SELECT apikey_flush() >= 0"), 't', 'and nobody waits');
is(prepare('SAVEPOINT s; SELECT apikey_flush(); ROLLBACK TO s'), '', 'a flush that is rolled back: can be prepared');
is($node->safe_psql('postgres', "SET lock_timeout = '1s'; SELECT apikey_flush() >= 0"), 't', 'and nobody waits for it');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'flush'");
is(prepare(q{SELECT apikey_generate('prepared'); SELECT apikey_delete(id) FROM apikeys_data.key WHERE name = 'one'}), '',
	'the next transaction of a kind can be prepared');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'flush'");

is_sound($node, 'postgres', 'in the end');
$node->stop;
done_testing();
