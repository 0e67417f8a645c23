
# What the tests of "no stale yes" share: the ways to change a key, and a
# stage with readers whose caches are warm.
#
# The readers are sessions that a driver holds through dblink, one outside of
# transactions and one for each isolation level.  The writer is a session of
# its own.  All of them ask for the key "test"; an answer looks like
# "VALID", "VALID/2" (version 2 of its metadata), "VALID/3 tokens" (the most a
# request may have) or "VALID/expires".

package TruthTest;

use strict;
use warnings;

use ApikeysTest;
use Exporter "import";

our @EXPORT = qw(@changes save_keys);

our $ask = q{
	SELECT concat_ws('/', code, metadata->>'v', permissions->>'max_tokens_per_request' || ' tokens',
	                 CASE WHEN expires_at IS NOT NULL THEN 'expires' END)
	FROM apikey_verify('test-key')};

my $test = q{FROM apikeys_data.key WHERE name = 'test'};

# Makes or changes a plan: so many tokens a request.
sub plan
{
	my ($name, $tokens) = @_;

	return qq{SELECT apikey_plan_set('$name', '{"max_tokens_per_request": $tokens}')};
}

# Gives the key the plan "p".
my $with_plan = join '; ', plan('p', 1), plan('other', 3), q{UPDATE apikeys_data.key SET plan = 'p'};

# Makes a parent, whose other values are those of the key; and derives the key
# from it, whether it is there or not.
my $parent = q{FROM apikeys_data.key WHERE name = 'parent'};
my $make_parent = q{
	INSERT INTO apikeys_data.key
	SELECT (jsonb_populate_record(s, jsonb_build_object('id', '00000000-0000-4000-8000-000000000001', 'name', 'parent',
	                                                    'key_hash', digest('parent-key', 'sha256')))).* FROM saved s};
my $derive = q{UPDATE apikeys_data.key SET parent_id = '00000000-0000-4000-8000-000000000001' WHERE name = 'test'};

sub replica
{
	my ($sql) = @_;

	return "SET LOCAL session_replication_role = replica; $sql; SET LOCAL session_replication_role = origin";
}

# Each change: what is done, what a verify says before and after.  "given"
# prepares the key.  {copy} is the directory of the files that save_keys makes.
our @changes = (
	{ name => 'revoke', sql => "SELECT apikey_revoke(id) $test", after => 'REVOKED' },
	{ name => 'update', sql => qq{SELECT apikey_update(id, '{"metadata": {"v": 2}}') $test}, after => 'VALID/2' },
	{ name => 'rotate', sql => "SELECT id FROM apikey_rotate((SELECT id $test))", after => 'REVOKED' },
	{ name => 'rotate with grace', sql => "SELECT id FROM apikey_rotate((SELECT id $test), '1 hour')", after => 'VALID/expires' },
	{ name => 'delete', sql => "SELECT apikey_delete(id) $test", after => 'NOT_FOUND' },
	{ name => 'disable', sql => qq{SELECT apikey_update(id, '{"enabled": false}') $test}, after => 'DISABLED' },
	{
		name => 'enable',
		given => 'UPDATE apikeys_data.key SET enabled = false',
		before => 'DISABLED',
		sql => qq{SELECT apikey_update(id, '{"enabled": true}') $test},
		after => 'VALID'
	},
	{
		name => 'clean up',
		given => q{UPDATE apikeys_data.key SET expires_at = now() - interval '1 hour'},
		before => 'EXPIRED/expires',
		sql => 'SELECT apikey_cleanup_expired()',
		after => 'NOT_FOUND'
	},
	{
		name => 'import',
		given => 'DELETE FROM apikeys_data.key',
		before => 'NOT_FOUND',
		sql => q{SELECT apikey_import(digest('test-key', 'sha256'), 'test', 'test-...')},
		after => 'VALID'
	},
	{ name => 'TRUNCATE', sql => 'TRUNCATE apikeys_data.key', after => 'NOT_FOUND' },
	{ name => 'UPDATE by hand', sql => 'UPDATE apikeys_data.key SET enabled = false', after => 'DISABLED' },
	{ name => 'DELETE by hand', sql => 'DELETE FROM apikeys_data.key', after => 'NOT_FOUND' },
	{
		name => 'INSERT by hand',
		given => 'DELETE FROM apikeys_data.key',
		before => 'NOT_FOUND',
		sql => 'INSERT INTO apikeys_data.key SELECT * FROM saved',
		after => 'VALID'
	},
	{ name => 'another hash', sql => q{UPDATE apikeys_data.key SET key_hash = digest('new', 'sha256')}, after => 'NOT_FOUND' },
	{
		name => 'INSERT ON CONFLICT',
		sql => 'INSERT INTO apikeys_data.key SELECT * FROM saved ON CONFLICT (id) DO UPDATE SET revoked_at = now()',
		after => 'REVOKED'
	},
	{
		name => 'MERGE',
		sql => 'MERGE INTO apikeys_data.key k USING saved s ON k.id = s.id WHEN MATCHED THEN UPDATE SET enabled = false',
		after => 'DISABLED'
	},
	{
		name => 'COPY',
		given => 'DELETE FROM apikeys_data.key',
		before => 'NOT_FOUND',
		sql => q{COPY apikeys_data.key FROM '{copy}/live'},
		after => 'VALID'
	},
	{
		name => 'COPY of an older state',
		sql => q{DELETE FROM apikeys_data.key; COPY apikeys_data.key FROM '{copy}/revoked'},
		after => 'REVOKED'
	},
	{
		name => 'COPY FREEZE',
		sql => q{TRUNCATE apikeys_data.key; COPY apikeys_data.key FROM '{copy}/revoked' WITH (FREEZE)},
		after => 'REVOKED'
	},
	map(
		+{
			given => $with_plan,
			before => 'VALID/1 tokens',
			name => $_->[0],
			sql => $_->[1],
			after => $_->[2]
		},
		[ 'plan_set', plan('p', 2), 'VALID/2 tokens' ],
		[ 'another plan', "SELECT apikey_update(id, '{\"plan\": \"other\"}') $test", 'VALID/3 tokens' ],
		[ 'no plan', "SELECT apikey_update(id, '{\"plan\": null}') $test", 'VALID' ],
		[ 'its own', "SELECT apikey_update(id, '{\"permissions\": {\"max_tokens_per_request\": 4}}') $test", 'VALID/4 tokens' ],
		[ 'plan by hand', q{UPDATE apikeys_data.plan SET permissions = '{}' WHERE name = 'p'}, 'VALID' ],
		[ 'plan by hand as a replica', replica(q{UPDATE apikeys_data.plan SET permissions = '{}' WHERE name = 'p'}), 'VALID' ],
		[ 'DELETE of a plan', q{DELETE FROM apikeys_data.plan WHERE name = 'p'}, 'NOT_FOUND' ],
		[ 'TRUNCATE of plans', 'TRUNCATE apikeys_data.plan', 'NOT_FOUND' ]),
	{
		name => 'a plan that was missing',
		given => "$with_plan; DELETE FROM apikeys_data.plan WHERE name = 'p'",
		before => 'NOT_FOUND',
		sql => plan('p', 2),
		after => 'VALID/2 tokens'
	},
	map(
		+{
			given => "$make_parent; $derive",
			name => "parent: $_->[0]",
			sql => $_->[1],
			after => $_->[2]
		},
		[ 'revoke', "SELECT apikey_revoke(id) $parent", 'REVOKED' ],
		[ 'narrow', "SELECT apikey_update(id, '{\"permissions\": {\"max_tokens_per_request\": 4}}') $parent", 'VALID/4 tokens' ],
		[ 'rotate', "SELECT id FROM apikey_rotate((SELECT id $parent))", 'REVOKED' ],
		[ 'delete', "SELECT apikey_delete(id) $parent", 'NOT_FOUND' ],
		[ 'by hand', q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'parent'}, 'DISABLED' ],
		[ 'deleted by hand', q{DELETE FROM apikeys_data.key WHERE name = 'parent'}, 'NOT_FOUND' ],
		[ 'as a replica', replica(q{UPDATE apikeys_data.key SET enabled = false WHERE name = 'parent'}), 'DISABLED' ],
		[ 'derived itself', q{UPDATE apikeys_data.key SET parent_id = id WHERE name = 'parent'}, 'NOT_FOUND' ]),
	{
		name => 'a parent that was missing',
		given => $derive,
		before => 'NOT_FOUND',
		sql => $make_parent,
		after => 'VALID'
	},
	{
		name => 'plan of the parent',
		given => "$make_parent; $derive; " . plan('p', 1) . q{; UPDATE apikeys_data.key SET plan = 'p' WHERE name = 'parent'},
		before => 'VALID/1 tokens',
		sql => plan('p', 2),
		after => 'VALID/2 tokens'
	},
	map(
		+{
			name => "$_->[0] as a replica",
			sql => replica($_->[1]),
			after => $_->[2]
		},
		[ 'UPDATE', 'UPDATE apikeys_data.key SET enabled = false', 'DISABLED' ],
		[ 'DELETE', 'DELETE FROM apikeys_data.key', 'NOT_FOUND' ],
		[ 'TRUNCATE', 'TRUNCATE apikeys_data.key', 'NOT_FOUND' ]));

$_->{before} //= 'VALID' foreach @changes;

# Makes the key, and what "given", "sql" and give_back need.
sub save_keys
{
	my ($node, $dbname) = @_;
	my $copy = $node->basedir;

	add_keys($node, $dbname, 'test');
	$node->safe_psql(
		$dbname, qq{
		CREATE TABLE saved AS TABLE apikeys_data.key;
		COPY apikeys_data.key TO '$copy/live';
		UPDATE apikeys_data.key SET revoked_at = now();
		COPY apikeys_data.key TO '$copy/revoked'});
	foreach my $change (@changes)
	{
		$change->{sql} =~ s/\{copy\}/$copy/;
	}
}

# A stage: "driver" is a node that can do without being restarted, "readers"
# and "writer" are the nodes where they read and write.
sub new
{
	my ($class, %arg) = @_;
	my $self = bless {%arg}, $class;

	$self->{driver_db} //= 'postgres';
	$self->{reader_db} //= 'postgres';
	$self->{writer_db} //= 'postgres';
	$self->{readers} //= $self->{driver};
	$self->{writer} //= $self->{driver};
	$self->{levels} //= [ 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE' ];
	$self->{settings} //= [];
	$self->{cached} //= 1;

	# Their time runs anew with each query.
	$self->{session} = $self->{driver}->background_psql($self->{driver_db});
	$self->{change} = $self->{writer}->background_psql($self->{writer_db});
	$_->set_query_timer_restart foreach $self->{session}, $self->{change};

	# Reads the count of hits, asks the readers in turn, and reads it again.
	$self->{session}->query_safe(
		q{
		CREATE FUNCTION pg_temp.ask(readers text[], question text) RETURNS text
		LANGUAGE plpgsql AS
		$$
		DECLARE
			hits CONSTANT text := 'SELECT cache_hits FROM apikeys.stats';
			before bigint := (SELECT n FROM dblink('stats', hits) d(n bigint));
			answers text := '';
			answer text;
			reader text;
		BEGIN
			FOREACH reader IN ARRAY readers LOOP
				SELECT d.answer INTO answer FROM dblink(reader, question) d(answer text);
				answers := answers || answer || ' ';
			END LOOP;
			RETURN answers || (SELECT n - before FROM dblink('stats', hits) d(n bigint));
		END
		$$});

	# The first reader stays outside of transactions.
	$self->{names} = [ map "reader_$_", 0 .. @{ $self->{levels} } ];
	foreach my $name ('stats', @{ $self->{names} })
	{
		$self->{session}->query_safe(
			sprintf "SELECT dblink_connect('%s', 'host=%s port=%s dbname=%s')",
			$name, $self->{readers}->host, $self->{readers}->port, $self->{reader_db});
		$self->{session}->query_safe("SELECT dblink_exec('$name', '$_')")
		  foreach "SET lock_timeout = ''10s''", @{ $self->{settings} };
	}
	$self->write($_) foreach 'SET client_min_messages = error', "SET lock_timeout = '10s'",
	  map { s/''/'/gr } @{ $self->{settings} };
	return $self;
}

sub quit
{
	my ($self) = @_;

	$self->{session}->quit;
	$self->{change}->quit;
}

# What all the readers say and how many hits that took: "VALID VALID 2".
sub ask
{
	my ($self) = @_;
	my $readers = join ',', @{ $self->{names} };

	return $self->{session}->query_safe("SELECT pg_temp.ask('{$readers}', \$q\$$ask\$q\$)");
}

# What ask returns if all say the same.
sub all
{
	my ($self, $answer) = @_;
	my $readers = @{ $self->{names} };
	my $hits = $self->{cached} && $answer ne 'NOT_FOUND' ? $readers : 0;

	return "$answer " x $readers . $hits;
}

# The same of answers of which nobody knows where they came from.
sub answers { return $_[0]->ask =~ s/ \d+$//r; }
sub all_answers { return $_[0]->all($_[1]) =~ s/ \d+$//r; }

# Starts a transaction in each reader but the first, with a snapshot and no
# lock on the table of keys, so that a TRUNCATE has nothing to wait for.
sub begin
{
	my ($self) = @_;
	my $n = 0;

	foreach my $level (@{ $self->{levels} })
	{
		$n++;
		$self->{session}->query_safe("SELECT dblink_exec('reader_$n', 'BEGIN ISOLATION LEVEL $level')");
		$self->{session}->query_safe("SELECT * FROM dblink('reader_$n', 'SELECT 1') d(one int)");
	}
}

sub commit
{
	my ($self) = @_;

	$self->{session}->query_safe("SELECT dblink_exec('$_', 'COMMIT')")
	  foreach @{ $self->{names} }[ 1 .. @{ $self->{levels} } ];
}

sub write
{
	my ($self, $sql) = @_;

	return $self->{change}->query_safe($sql);
}

# The writer's own answer, twice, since the second may come from its cache.
sub own
{
	my ($self) = @_;

	return join ' ', $self->write($ask), $self->write($ask);
}

# Puts the key back into its first state, and then into that of the change.
sub give_back
{
	my ($self, $change) = @_;

	$self->write("TRUNCATE apikeys_data.key; INSERT INTO apikeys_data.key SELECT * FROM saved; $_")
	  foreach $change->{given} // '';
}

1;
