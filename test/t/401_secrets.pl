# HMAC secrets: the file, who is_current and who verifies, what is refused, and
# that no secret is to be found anywhere.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use File::Find;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SecretsTest;
use Test::More;

my $node = new_node('main', "apikeys.flush_interval = '1h'", 'log_statement = all');
my $file = secret_file($node);

write_secrets($node, '# The first line is_current.', '', 'one');
$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = '$file'");
$node->start;
add_extension($node, 'postgres');

# Keys are kept with their raw form, which the tests may do.
$node->safe_psql('postgres', q{
	CREATE TABLE kept (name text, raw_key text);
	CREATE FUNCTION make(key_name text) RETURNS void LANGUAGE sql AS
		'INSERT INTO kept SELECT key_name, raw_key FROM apikey_generate(key_name)';
	CREATE FUNCTION code(key_name text) RETURNS text LANGUAGE sql AS
		'SELECT v.code FROM kept, LATERAL apikey_verify(kept.raw_key) v WHERE kept.name = key_name';
	CREATE FUNCTION signed(key_name text) RETURNS text LANGUAGE sql AS
		'SELECT coalesce(hash_secret, ''plain'') FROM apikeys_data.key WHERE name = key_name'});

sub ask
{
	my ($sql, $connection) = @_;

	return $connection ? $connection->query_safe($sql) : $node->safe_psql('postgres', $sql);
}

sub hash_is_made_with
{
	my ($name, $secret) = @_;
	my $hash = $secret ? "hmac(raw_key, '" . secret_of($secret) . "', 'sha256')" : "digest(raw_key, 'sha256')";

	return ask("SELECT key_hash = $hash FROM kept JOIN apikeys_data.key USING (name) WHERE name = '$name'");
}

# --- who is_current, who verifies

ask("SELECT make('first')");
is(ask("SELECT signed('first'), code('first')"), 'one|VALID', 'the first secret is_current, and verifies');
is(hash_is_made_with('first', 'one'), 't', "and the hash is pgcrypto's hmac");

# litellm-rs has the SHA-256 of a key in hex.
ask("INSERT INTO kept VALUES ('plain', 'gw-plain-key')");
ask("SELECT apikey_import(decode(encode(sha256('gw-plain-key'), 'hex'), 'hex'), 'plain', 'gw-...-key')");
is(ask("SELECT signed('plain'), code('plain')"), 'plain|VALID', 'a key with a plain hash is good');
is(ask('SELECT apikey_flush() > 0'), 't', 'the flush says that it has written');
is(ask("SELECT signed('plain'), code('plain')"), 'one|VALID', 'it is rehashed');
is(hash_is_made_with('plain', 'one'), 't', 'as if it had been made so');
is(ask(q{SELECT details, key_id = (SELECT id FROM apikeys_data.key WHERE name = 'plain') FROM apikeys_data.event WHERE action = 'rehash'}),
	'{"to": "one", "from": null}|t', 'and that is an event, without hashes');

my $reader = $node->background_psql('postgres');
$reader->query_safe('SELECT 1');

write_secrets($node, 'two', 'one');
reload_secrets($node);
my $updated = ask("SELECT max(coalesce(updated_at, created_at)) FROM apikeys_data.key");
ask("SELECT make('second')");
is(ask("SELECT signed('second'), code('second')", $reader), 'two|VALID', 'after a reload the new first secret is_current');
is(ask("SELECT signed('first'), code('first')", $reader), 'one|VALID', 'the other still verifies');
is(ask("SELECT array_agg((secret, live_keys, loaded, is_current)::text ORDER BY secret) FROM apikeys.secret_usage"),
	'{"(one,2,t,f)","(two,1,t,t)","(,0,t,f)"}', 'secret_usage shows who is_current what');
ask("SELECT apikey_rotate((SELECT id FROM apikeys_data.key WHERE name = 'second'))");
is(ask("SELECT signed('second (rotated)')"), 'two', 'a rotated key is signed with it too');
ask('SELECT apikey_flush()');
is(ask("SELECT signed('first'), code('first')", $reader), 'two|VALID', 'what was verified is rehashed');
is(ask("SELECT signed('plain')"), 'one', 'what was not stays');
is(ask("SELECT max(coalesce(updated_at, created_at)) = '$updated' FROM apikeys_data.key WHERE name IN ('plain', 'first')"), 't', 'updated_at stays');

# A hash counts only with the secret that made it.
ask("INSERT INTO kept VALUES ('astray', 'astray-key'), ('lost', 'lost-key')");
ask(sprintf "SELECT apikey_import(hmac('astray-key', '%s', 'sha256'), 'astray', 'x', hash_secret => 'one')", secret_of('two'));
is(ask("SELECT code('astray')"), 'NOT_FOUND', 'a hash made with another secret than the row names opens nothing');

# --- what is missing

my $offset = -s $node->logfile;
my $missing = qr/API keys are hashed with HMAC secret "lost", which is not loaded/;
ask("SELECT apikey_import(hmac('lost-key', 'a secret from elsewhere', 'sha256'), 'lost', 'x', hash_secret => 'lost')");
is(ask("SELECT code('lost')"), 'NOT_FOUND', 'without its secret a key is not found');
ask("SELECT code('lost')", $_) foreach $reader, undef, undef;
is(count_in_log($node, $missing, $offset), 1, 'and that is logged once, with the name');
is(ask("SELECT live_keys, loaded, is_current FROM apikeys.secret_usage WHERE secret = 'lost'"), '1|f|f', 'secret_usage shows it');

# Its row is locked, so it cannot be rehashed meanwhile.
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT FROM apikeys_data.key WHERE name = 'lost' FOR UPDATE");
# As an editor of another system may leave it.
write_secrets($node, 'two', 'one', "\t lost:a secret from elsewhere\r");
reload_secrets($node);
is(ask("SELECT code('lost'), code('lost')", $reader), 'VALID|VALID', 'with its secret it is good');
ask("SELECT code('astray')");
write_secrets($node, 'two', 'one');
$offset = reload_secrets($node);
is(ask("SELECT code('lost')", $reader), 'NOT_FOUND', 'and not after the secret is gone again, cached or not');
is(count_in_log($node, $missing, $offset), 1, 'which is logged anew');
$holder->quit;
ask("SELECT apikey_revoke((SELECT id FROM apikeys_data.key WHERE name = 'lost'))");

# --- what is refused

my $long = 'x' x 256;
my @bad = (
	[ 'no colon', qr/Line 2 is not of the form "name:secret"/, 'two', 'just some text' ],
	[ 'no name', qr/Line 1 is not of the form "name:secret"/, ':0123456789abcdef' ],
	[ 'a strange name', qr/Line 1 is not of the form/, 'na me:0123456789abcdef' ],
	[ 'a long name', qr/Line 1 is not of the form/, ('n' x 64) . ':0123456789abcdef' ],
	[ 'blanks around', qr/Line 1 is not of the form/, 'name: 0123456789abcdef' ],
	[ 'a blank behind', qr/Line 1 is not of the form/, 'name:0123456789abcdef ' ],
	[ 'the last control character', qr/Line 1 is not of the form/, "name:0123456789abcdef\x7f" ],
	[ 'a control character', qr/Line 1 is not of the form/, "name:0123456789\0abcdef" ],
	[ 'a short secret', qr/The secret in line 2 does not have 16 to 255 bytes/, '#', 'name:0123456789abcde' ],
	[ 'an empty secret', qr/The secret in line 1 does not have 16 to 255 bytes/, 'name:' ],
	[ 'a long secret', qr/The secret in line 1 does not have 16 to 255 bytes/, "name:$long" ],
	[ 'a name twice', qr/Line 3 names secret "two" a second time/, 'two', 'one', 'two:0123456789abcdef' ],
	[ 'too many', qr/Line 17 is one too many: 16 secrets are allowed/, map { "name$_" } 1 .. 17 ],
	[ 'nothing', qr/It holds no secret/, '# two' ],
	[ 'too large', qr/It is too large/, 'two', map { '#' x 1000 } 1 .. 40 ]);

# The set and the setting stay as they were, for those who are there and for
# those who come.
sub is_refused
{
	my ($what, $reason) = @_;
	my $from = reload_secrets($node);
	my $log = slurp_file($node->logfile, $from);

	like($log, qr/LOG:  HMAC secret file "\Q$file\E" was refused\n.*DETAIL:  $reason/, "$what: refused, and logged");
	ask("DELETE FROM kept WHERE name = 'bad'; DELETE FROM apikeys_data.key WHERE name = 'bad'; SELECT make('bad')");
	is(join(' ', map { ask("SELECT code('second (kept)') || signed('bad')", $_) } $reader, undef), 'VALIDtwo VALIDtwo', "$what: the old set is kept");
}

ask("SELECT make('second (kept)')");
foreach my $case (@bad)
{
	my ($what, $reason, @lines) = @$case;

	write_secrets($node, @lines);
	is_refused($what, $reason);
}

# As large as may be.
write_secrets($node, 'two', 'one', '#' x (32766 - length join '', map { $_ . ':' . secret_of($_) . "\n" } 'two', 'one'), '');
is(-s $file, 32768, 'a file of 32 kB');
$offset = reload_secrets($node);
is(ask("SELECT code('second (kept)')", $reader) . count_in_log($node, qr/was refused/, $offset), 'VALID0', '... is read');

write_secrets($node, 'three');
foreach my $mode (0640, 0604, 0660)
{
	chmod $mode, $file;
	is_refused(sprintf('mode %o', $mode), qr/Others may read it/);
}
is(ask("SELECT setting, error, applied FROM pg_file_settings WHERE name = 'apikeys.hmac_secret_file'"),
	"$file|setting could not be applied|f", 'pg_file_settings says so');

# A parallel worker does not fail for the file.
like(ask(q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	SET enable_indexonlyscan = off;
	EXPLAIN (ANALYZE) SELECT count(*) FROM pg_proc}), qr/Workers Launched: [1-9]/, 'parallel workers start all the same');

unlink $file;
is_refused('no file', qr/It could not be opened: No such file/);
is(verify($node, 'postgres', 'unknown'), 'NOT_FOUND', 'no file: an unknown key is not found');
mkdir $file;
is_refused('a directory', qr/It is not a regular file/);
rmdir $file;
mkfifo($file, 0600);
is_refused('a pipe', qr/It is not a regular file/);
unlink $file;

my ($status, $out, $err) = $node->psql('postgres', "ALTER SYSTEM SET apikeys.hmac_secret_file = '/nowhere'");
like($err, qr/HMAC secret file "\/nowhere" was refused\nDETAIL:  It could not be opened/, 'ALTER SYSTEM refuses a bad file');
($status, $out, $err) = $node->psql('postgres', "SET apikeys.hmac_secret_file = '$file'");
like($err, qr/cannot be changed now/, 'nobody sets it for a session');

# --- a backend in the middle of a statement

# It verifies, waits until the world has changed, makes a key, and verifies again.
ask(q{CREATE FUNCTION twice(key_name text, other_key text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
	  first text;
	BEGIN
	  first := code(key_name);
	  PERFORM pg_advisory_lock(1);
	  PERFORM pg_advisory_unlock(1);
	  PERFORM make(other_key || ' late');
	  RETURN concat_ws(' ', first, code(key_name), code(other_key), code(other_key || ' late'));
	END $$});

# Returns what a statement gives that waits for lock 1 while there is a change.
sub run_during
{
	my ($sql, $change) = @_;
	my $holder = $node->background_psql('postgres');
	my $waiter = $node->background_psql('postgres');

	$holder->query_safe('SELECT pg_advisory_lock(1)');
	my $answer = answer_after($node, $waiter, $sql, sub {
		$change->();
		$holder->quit;
	});
	$waiter->quit;
	return $answer;
}

sub meanwhile
{
	my ($key, $other, $change, $test_name) = @_;

	like(run_during("SELECT twice('$key', '$other')", $change), qr/^VALID VALID VALID VALID$/m, $test_name);
}

write_secrets($node, 'two', 'one');
reload_secrets($node);

# It does not sign anew with a secret that may be gone from the file by now.
ask("INSERT INTO kept VALUES ('late', 'late-key')");
ask(sprintf "SELECT apikey_import(hmac('late-key', '%s', 'sha256'), 'late', 'x', hash_secret => 'one')", secret_of('one'));
ask(q{CREATE FUNCTION flush_late() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
	  PERFORM pg_advisory_lock(1);
	  PERFORM pg_advisory_unlock(1);
	  RETURN concat_ws(' ', code('late'), apikey_flush() IS NOT NULL, signed('late'));
	END $$});
like(run_during('SELECT flush_late()', sub {
	write_secrets($node, 'three', 'two', 'one');
	reload_secrets($node);
}), qr/^VALID t one$/m, 'a backend that has not reloaded yet is_current no key anew');
write_secrets($node, 'two', 'one');
reload_secrets($node);
meanwhile('first', 'third', sub {
	write_secrets($node, 'three', 'two', 'one');
	reload_secrets($node);
	ask("SELECT make('third'), code('first')");
	ask('SELECT apikey_flush()');
	is(ask("SELECT signed('first'), signed('third')"), 'three|three', 'there is a new secret, and keys have it');
}, 'a backend that has not reloaded yet knows it all the same');
is(ask("SELECT signed('third late')"), 'three', 'and is_current with it');

meanwhile('first', 'fourth', sub {
	rename $file, "$file.moved";
	$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = '$file.moved'");
	reload_secrets($node);

	# The file that keys were signed by before is not asked any more.
	write_secrets($node, 'five');
	ask("INSERT INTO kept VALUES ('fifth', 'fifth-key')");
	ask(sprintf "SELECT apikey_import(hmac('fifth-key', '%s', 'sha256'), 'fifth', 'x', hash_secret => 'five')", secret_of('five'));
	is(ask("SELECT code('fifth')"), 'NOT_FOUND', 'a file that was used before is not asked');

	write_secrets($node, 'four', 'three', 'two', 'one');
	rename $file, "$file.moved";
	reload_secrets($node);
	ask("SELECT make('fourth'), code('first')");
	ask('SELECT apikey_flush()');
	is(ask("SELECT signed('first'), signed('fourth')"), 'four|four', 'it is in another file');
}, 'a backend that has not reloaded yet finds that');

# Nobody reloads: a session reads each new file once, and verifies by what is in it.
my $unloaded = $node->background_psql('postgres');
my $knows = q{SELECT string_agg(v.code, ' ' ORDER BY n) FROM unnest('{nobody,six,seven}'::text[]) n, LATERAL apikey_verify(n || '-key') v};
ask("SELECT apikey_import(hmac('$_-key', '" . secret_of($_) . "', 'sha256'), '$_', 'x', hash_secret => '$_')") foreach qw(six seven);
is(ask($knows, $unloaded), 'NOT_FOUND NOT_FOUND NOT_FOUND', 'secrets that are in no file');
foreach my $case ([ six => 'NOT_FOUND NOT_FOUND VALID' ], [ seven => 'NOT_FOUND VALID NOT_FOUND' ])
{
	write_secrets($node, $case->[0], 'four', 'three', 'two', 'one');
	rename $file, "$file.moved";
	is(ask($knows, $unloaded), $case->[1], "$case->[0] is in it") foreach 1, 2;
}
$unloaded->quit;
write_secrets($node, 'four', 'three', 'two', 'one');
rename $file, "$file.moved";

# --- the server starts with a bad file

chmod 0644, "$file.moved";
$offset = -s $node->logfile;
$node->restart;
is(count_in_log($node, qr/HMAC secret file "\Q$file.moved\E" was refused\n.*DETAIL:  Others may read it/, $offset), 1, 'a bad file at the start is logged');
is(ask("SELECT code('first')"), 'NOT_FOUND', 'and keys are not found');
add_keys($node, 'postgres', 'unsigned');
is(verify($node, 'postgres', 'unsigned'), 'VALID', 'plain ones are');
($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT make('none')");
like($err, qr/ERROR:  55000: the HMAC secrets are not loaded/, 'no key is made');
chmod 0600, "$file.moved";
my $early = $node->background_psql('postgres');
is(ask("SELECT code('first')", $early), 'VALID', 'a backend that has not reloaded finds that the file is good');
$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = ''");
reload_secrets($node);
is(ask("SELECT code('first')", $early), 'NOT_FOUND', '... and that it is used no more');
$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = '$file.moved'");
reload_secrets($node);
is(ask("SELECT code('first'), signed('first')"), 'VALID|four', 'until the file is good');
is(ask('SHOW apikeys.hmac_secret_file'), "$file.moved", 'the setting says where it is');

# Another secret in the place of one: known before the reload, as after it.
ask("INSERT INTO kept VALUES ('$_', '$_-key')"), ask(sprintf "SELECT apikey_import(hmac('$_-key', '%s', 'sha256'), '$_', 'x', hash_secret => '$_')", secret_of($_))
  foreach 'one', 'eight';
# Its row is locked, so it cannot be rehashed meanwhile.
$holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT FROM apikeys_data.key WHERE name = 'one' FOR UPDATE");
is(ask("SELECT code('one'), code('eight')", $early), 'VALID|NOT_FOUND', 'a secret that is not there yet');
write_secrets($node, 'four', 'three', 'two', 'eight');
rename $file, "$file.moved";
is(ask("SELECT code('one'), code('eight')", $early), 'VALID|VALID', '... comes in the place of another');
reload_secrets($node);
is(ask("SELECT code('one'), code('eight')", $early), 'NOT_FOUND|VALID', '... which is gone with the reload');
$_->quit foreach $early, $holder;

# --- no secrets any more

$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = ''");
reload_secrets($node);
is(ask("SELECT code('first')"), 'NOT_FOUND', 'without a file no secret verifies');
ask("SELECT make('last')");
is(ask("SELECT signed('last'), code('last')"), 'plain|VALID', 'and keys are plain');
is(hash_is_made_with('last'), 't', "by pgcrypto's digest");
ask("SELECT pg_reload_conf(), pg_sleep(1), make('reloading')");
is(ask("SELECT signed('reloading'), code('reloading')"), 'plain|VALID', 'also in a backend that has not reloaded yet');
$node->append_conf('postgresql.conf', "apikeys.hmac_secret_file = '$file.moved'");
reload_secrets($node);
is(ask("SELECT code('first')"), 'VALID', 'they are back');

# --- without preloading, where each session reads the file

my $preload = ask('SHOW shared_preload_libraries');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
my $alone = $node->background_psql('postgres');
is(ask("SELECT code('first')", $alone), 'VALID', 'not preloaded: the file is read');
chmod 0644, "$file.moved";
$offset = reload_secrets($node);
is(ask("SELECT code('first')", $alone), 'VALID', '... and kept when a bad one comes');
is(count_in_log($node, qr/HMAC secret file "\Q$file.moved\E" was refused\n.*DETAIL:  Others may read it/, $offset), 1, '... which the session logs');
$alone->quit;
chmod 0600, "$file.moved";
$node->append_conf('postgresql.conf', "shared_preload_libraries = '$preload'");
$node->restart;

# --- where secrets are not

ask('CREATE ROLE watcher IN ROLE pg_monitor; CHECKPOINT');
my $seen = join "\n",
  ask('TABLE pg_settings'), ask('TABLE pg_file_settings'), ask('TABLE apikeys.secret_usage'),
  ask('TABLE apikeys_data.event'),
  ask('TABLE pg_stat_activity'), ask('SET ROLE watcher; SHOW ALL'), slurp_file($node->logfile),
  scalar(run_log([ 'pg_dumpall', '--file', $node->basedir . '/dump.sql', '--dbname', $node->connstr('postgres') ]) && slurp_file($node->basedir . '/dump.sql'));

# The test itself has said some in SQL: in hmac(), to check hashes.
my $said = qr/hmac\([^)]*\)/;
$seen =~ s/$said//g;
unlike($seen, qr/s3cr3t-of-|secret from elsewhere/, 'no setting, view, dump or line of the log has a secret');
like($seen, qr/first/, 'the search would find it');

my ($files, $hits) = (0, 0);
find(sub {
	return unless -f $_;
	my $content = slurp_file($_);
	$content =~ s/$said//g;
	$files++;
	$hits++ if $content =~ /s3cr3t-of-/;
}, $node->data_dir);
ok($files > 500 && $hits == 0, "none of the $files files of the data directory does") or diag "$hits";

$reader->quit;
$node->stop;
done_testing();
