
# Policies of row level security stop who reads keys and budgets after his snapshot has been
# taken, as long as somebody has an advisory lock.  They can where the tables' owner is no
# superuser.

package PolicyTest;

use strict;
use warnings;

use ApikeysTest;
use Exporter 'import';

our @EXPORT = qw(make_readers_wait answer_while);

# A statement that has just been planned is executed twice: a reader that is to stop in one
# needs to have executed it before.
sub make_readers_wait
{
	my ($node) = @_;

	$node->safe_psql('postgres', q{
		-- Waits as long as somebody has the lock, and then takes in messages.
		CREATE TABLE touched ();
		CREATE FUNCTION wait() RETURNS boolean LANGUAGE plpgsql AS
		$$
		BEGIN
			PERFORM pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1);
			PERFORM FROM touched;
			RETURN true;
		END
		$$;

		CREATE ROLE owner;
		GRANT USAGE ON SCHEMA apikeys, apikeys_data TO owner;
		GRANT ALL ON ALL TABLES IN SCHEMA apikeys_data, apikeys, public TO owner;
		GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA apikeys_data TO owner;
		GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA apikeys TO owner;
		ALTER TABLE apikeys_data.key OWNER TO owner;
		ALTER TABLE apikeys_data.key ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		ALTER TABLE apikeys_data.budget ENABLE ROW LEVEL SECURITY;
		CREATE POLICY wait ON apikeys_data.key USING (wait());
		CREATE POLICY wait ON apikeys_data.budget USING (wait())});
	return;
}

# What a reader answers to a query, while a writer makes changes as it is reading: statements,
# or code to be called.
sub answer_while
{
	my ($node, $reader, $writer, $query, @changes) = @_;

	$writer->query_safe('SELECT pg_advisory_lock(1)');
	return answer_after($node, $reader, $query, sub {
		ref $_ ? $_->() : $writer->query_safe($_) foreach @changes, 'SELECT pg_advisory_unlock(1)';
	});
}

1;
