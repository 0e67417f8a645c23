
# What a transaction has written itself it sees at once, but the cache must
# not keep it: it may yet be undone.  Whatever way the row was written,
# whoever verified it, and however it was undone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', 'max_prepared_transactions = 2', "apikeys.flush_interval = '1h'");

# The key "kept" is there for good and stays in the cache, the key "new" comes
# and goes.  say() verifies in PL/pgSQL, which lets a statement see what the
# statement around it has done so far.
add_keys($node, 'postgres', 'kept', 'new');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE saved AS SELECT * FROM apikeys_data.key WHERE name = 'new';
	DELETE FROM apikeys_data.key WHERE name = 'new';

	CREATE FUNCTION say(name text) RETURNS text LANGUAGE plpgsql AS
	$$
	BEGIN
		RETURN (SELECT code FROM apikey_verify(name || '-key'));
	END
	$$;

	CREATE TABLE said (what text);

	-- A trigger that notes what the new row's name says.
	CREATE FUNCTION note_say() RETURNS trigger LANGUAGE plpgsql AS
	$$
	BEGIN
		PERFORM set_config('test.said', current_setting('test.said', true) || say(NEW.name) || ' ', false);
		RETURN NEW;
	END
	$$});

my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query('SET client_min_messages = warning');

# Runs statements, with "?" for a verify of the new key, "!" for one of the
# other and "@" for what the triggers have recorded, and gives what these say.
# Errors are expected.
my %ask = (
	'?' => q{SELECT say('new')},
	'!' => q{SELECT say('kept')},
	'@' => q{SELECT rtrim(current_setting('test.said'))});

sub run
{
	my @said;

	foreach my $sql (@_)
	{
		my $answer = $session->query($ask{$sql} // $sql);

		push @said, $answer if $ask{$sql};
		$session->{stderr} = '';
	}
	return join ' ', @said;
}

my $insert = 'INSERT INTO apikeys_data.key SELECT * FROM saved';
my $import = q{SELECT apikey_import(digest('new-key', 'sha256'), 'new', 'new-...')};
my $disable = q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'kept'};
my $fail = 'SELECT 1 / 0';

# Warm, then the statements, then both keys as they were.
sub check
{
	my ($test_name, $statements, $expected) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(run('!', '!', '?', @{$statements}, '?', '?', '!', '!'),
		join(' ', 'VALID VALID NOT_FOUND', $expected || (), 'NOT_FOUND NOT_FOUND VALID VALID'), $test_name);
}

foreach my $route ($insert, $import)
{
	my $name = $route eq $insert ? 'insert' : 'import';

	check("$name, rollback", [ 'BEGIN', $route, '?', '?', '!', 'ROLLBACK' ], 'VALID VALID VALID');
	check("$name, error", [ 'BEGIN', $route, '?', '?', $fail, 'COMMIT' ], 'VALID VALID');
	check("$name, savepoint", [ 'BEGIN', 'SAVEPOINT s', $route, '?', '?', 'ROLLBACK TO s', '?', '!', 'COMMIT' ],
		'VALID VALID NOT_FOUND VALID');
	check("$name, error in a savepoint", [ 'BEGIN', 'SAVEPOINT s', $route, '?', $fail, 'ROLLBACK TO s', '?', 'COMMIT' ],
		'VALID NOT_FOUND');

	# The savepoint is not where it was written, or not where it was read.
	check("$name, read in a savepoint", [ 'BEGIN', $route, 'SAVEPOINT s', '?', '?', 'ROLLBACK TO s', '?', 'ROLLBACK' ],
		'VALID VALID VALID');
	check("$name, read in a savepoint that is kept", [ 'BEGIN', $route, 'SAVEPOINT s', '?', 'RELEASE s', '?', 'ROLLBACK' ],
		'VALID VALID');
	check("$name, read after a savepoint", [ 'BEGIN', 'SAVEPOINT s', $route, 'RELEASE s', '?', '?', 'ROLLBACK' ],
		'VALID VALID');
	check("$name, savepoint in a savepoint",
		[ 'BEGIN', 'SAVEPOINT s', 'SAVEPOINT t', $route, '?', 'RELEASE t', '?', 'ROLLBACK TO s', '?', 'COMMIT' ],
		'VALID VALID NOT_FOUND');
	check("$name, again after a savepoint",
		[ 'BEGIN', 'SAVEPOINT s', $route, '?', 'ROLLBACK TO s', '?', $route, '?', '?', 'ROLLBACK' ],
		'VALID NOT_FOUND VALID VALID');

	# Prepared: not yet, and then never.
	check("$name, prepared", [ 'BEGIN', $route, '?', '?', q{PREPARE TRANSACTION 'p'}, '?', '?', q{ROLLBACK PREPARED 'p'} ],
		'VALID VALID NOT_FOUND NOT_FOUND');

	# Undone by an exception block
	check("$name, exception", [
			qq{DO \$\$
			DECLARE
				answer text;
			BEGIN
				BEGIN
					EXECUTE '${\($route =~ s/'/''/gr)}';
					ASSERT say('new') = 'VALID' AND say('new') = 'VALID', 'new';
					RAISE division_by_zero;
				EXCEPTION WHEN division_by_zero THEN
					answer := say('new');
				END;
				ASSERT answer = 'NOT_FOUND' AND say('new') = 'NOT_FOUND', 'undone';
				INSERT INTO said VALUES ('$name');
			END \$\$} ],
		'');
	is($node->safe_psql('postgres', "SELECT count(*) FROM said WHERE what = '$name'"), 1, "$name, exception: all was as it should be");
}

# The same of a change of a key that is cached.
check('update, rollback', [ 'BEGIN', '!', $disable, '!', '!', 'ROLLBACK' ], 'VALID DISABLED DISABLED');
check('update, error', [ 'BEGIN', '!', $disable, '!', '!', $fail, 'COMMIT' ], 'VALID DISABLED DISABLED');
check('update, savepoint', [ 'BEGIN', '!', 'SAVEPOINT s', $disable, '!', '!', 'ROLLBACK TO s', '!', '!', 'COMMIT' ],
	'VALID DISABLED DISABLED VALID VALID');
check('update, read in a savepoint', [ 'BEGIN', $disable, 'SAVEPOINT s', '!', 'ROLLBACK TO s', '!', 'ROLLBACK' ],
	'DISABLED DISABLED');
check('update, another after a savepoint',
	[ 'BEGIN', 'SAVEPOINT s', $disable, '!', 'ROLLBACK TO s', '!', $insert, '?', '!', $disable, '!', 'ROLLBACK' ],
	'DISABLED VALID VALID VALID DISABLED');
check('update, prepared', [ 'BEGIN', $disable, '!', q{PREPARE TRANSACTION 'p'}, '!', '!', q{ROLLBACK PREPARED 'p'} ],
	'DISABLED VALID VALID');
check('delete, savepoint',
	[ 'BEGIN', 'SAVEPOINT s', 'DELETE FROM apikeys_data.key', '!', '!', 'ROLLBACK TO s', '!', 'COMMIT' ],
	'NOT_FOUND NOT_FOUND VALID');
check('truncate, savepoint',
	[ 'BEGIN', '!', 'SAVEPOINT s', 'TRUNCATE apikeys_data.key', '!', $insert, '?', '?', 'ROLLBACK TO s', '?', '!', 'COMMIT' ],
	'VALID NOT_FOUND VALID VALID NOT_FOUND VALID');

# A key that is disabled for good, and enabled for a moment
run($insert, q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'new'});
is( run('?', '?', 'BEGIN', q{UPDATE apikeys_data.key SET enabled = true WHERE name = 'new'}, '?', '?', 'ROLLBACK', '?', '?'),
	'DISABLED DISABLED VALID VALID DISABLED DISABLED', 'enable, rollback');
is( run('?', 'BEGIN', 'SAVEPOINT s', q{UPDATE apikeys_data.key SET enabled = true WHERE name = 'new'}, '?', '?', 'ROLLBACK TO s', '?', '?', 'COMMIT', '?'),
	'DISABLED VALID VALID DISABLED DISABLED DISABLED', 'enable, savepoint');
run(q{DELETE FROM apikeys_data.key WHERE name = 'new'});

# In the middle of a statement: from its RETURNING, in a query around it, and
# from triggers of others, before ours and after.
foreach my $statement ("$insert RETURNING say(name)", "WITH i AS ($insert RETURNING name) SELECT say(name) FROM i")
{
	$ask{$statement} = $statement;
	check("$statement, rollback", [ 'BEGIN', $statement, '?', 'ROLLBACK' ], 'VALID VALID');
	check("$statement, savepoint", [ 'BEGIN', 'SAVEPOINT s', $statement, 'ROLLBACK TO s', '?', 'COMMIT' ], 'VALID NOT_FOUND');
}
$ask{"$disable RETURNING say(name)"} = "$disable RETURNING say(name)";
check('update with RETURNING, rollback', [ 'BEGIN', '!', "$disable RETURNING say(name)", '!', 'ROLLBACK' ], 'VALID DISABLED DISABLED');

foreach my $trigger ('a_note', 'z_note')
{
	run(q{SET test.said = ''}, "CREATE TRIGGER $trigger AFTER INSERT OR UPDATE ON apikeys_data.key FOR EACH ROW EXECUTE FUNCTION note_say()");
	check("trigger $trigger, insert, rollback", [ 'BEGIN', $insert, '@', '?', 'ROLLBACK' ], 'VALID VALID');
	run(q{SET test.said = ''});
	check("trigger $trigger, insert, savepoint", [ 'BEGIN', 'SAVEPOINT s', $insert, '@', '?', 'ROLLBACK TO s', '?', 'COMMIT' ], 'VALID VALID NOT_FOUND');
	run(q{SET test.said = ''});
	check("trigger $trigger, update, rollback", [ 'BEGIN', $disable, '@', '!', 'ROLLBACK' ], 'DISABLED DISABLED');
	run("DROP TRIGGER $trigger ON apikeys_data.key");

	# Before the change, and yet it must not be remembered after it.
	run(q{SET test.said = ''}, "CREATE TRIGGER $trigger BEFORE INSERT OR UPDATE ON apikeys_data.key FOR EACH ROW EXECUTE FUNCTION note_say()");
	check("trigger $trigger, before insert, rollback", [ 'BEGIN', $insert, '@', '?', 'ROLLBACK' ], 'NOT_FOUND VALID');
	run(q{SET test.said = ''});
	check("trigger $trigger, before update, rollback", [ 'BEGIN', $disable, '@', '!', '!', 'ROLLBACK' ], 'VALID DISABLED DISABLED');
	run(q{SET test.said = ''}, $disable);
	is(run('@', '!', '!'), 'VALID DISABLED DISABLED', "trigger $trigger, before update, committed");
	run("DROP TRIGGER $trigger ON apikeys_data.key", q{UPDATE apikeys_data.key SET enabled = true});
}

# Was there a cache at all?
my $hits = stats($node, 'cache_hits');
run('!', '!', 'BEGIN', '!', 'ROLLBACK', '!');
cmp_ok(stats($node, 'cache_hits'), '>=', $hits + 3, 'hits, also in and after a transaction that was rolled back');

$session->quit;
$node->stop;
done_testing();
