
# Whoever can name a relation can keep others waiting: the server takes the
# lock of CREATE RULE and its like before it asks who owns the relation, and
# whoever comes next waits behind it.  So no level can name a table, and what a
# reader can name, no function needs.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '10ms'", 'apikeys.last_used_throttle = 0');

$node->safe_psql('postgres', q{
	CREATE ROLE rita LOGIN;
	CREATE ROLE max LOGIN;
	CREATE ROLE nora LOGIN;
	GRANT CREATE ON SCHEMA public TO rita, max;
	SELECT apikey_grant('rita', 'read'), apikey_grant('max', 'manage')});
add_keys($node, 'postgres', 'test', 'other');
$node->safe_psql('postgres', sprintf q{
	SELECT apikey_update(%1$s, jsonb_build_object('budget_id', apikey_budget_create('pool', 1000),
		'rate_limits', '{"requests_per_minute": 1000}'::jsonb))}, id_of('test'));

# What the extension has, by name.
my $relations = q{
	SELECT %s FROM pg_class c
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
	WHERE e.extname = 'apikeys' AND %s ORDER BY 1};

sub names
{
	my ($condition) = @_;

	return split /\n/, $node->safe_psql('postgres', sprintf $relations, 'c.oid::regclass', $condition);
}

# Statements that lock a relation which one cannot own.
my @locking = (
	'CREATE RULE r AS ON INSERT TO %s DO INSTEAD NOTHING',
	'CREATE TRIGGER t BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE TABLE public.mine (LIKE %s)',
	'CREATE TABLE public.mine () INHERITS (%s)',
	'CREATE TABLE public.mine (id uuid REFERENCES %s)',
	'BEGIN; CREATE TABLE public.parts (id uuid) PARTITION BY LIST (id); ALTER TABLE public.parts ATTACH PARTITION %s DEFAULT',
	'CREATE STATISTICS public.s ON name, id FROM %s',
	q(COMMENT ON TABLE %s IS 'mine'),
	'BEGIN; LOCK TABLE %s',
	'BEGIN; LOCK TABLE %s IN ACCESS SHARE MODE',
	'DROP TABLE %s',
	'TRUNCATE %s',
	'VACUUM FULL %s',
	'INSERT INTO %s DEFAULT VALUES');

# The SQLSTATE of a statement in a new session that does not wait long.
sub state_of
{
	my ($user, $sql) = @_;
	my $stderr;

	$node->psql('postgres', "\\set VERBOSITY sqlstate\nSET lock_timeout = '10s';\n$sql;",
		stderr => \$stderr, extra_params => [ '-U', $user ]);
	return $stderr =~ /ERROR:  (\w+)/ ? $1 : 'none';
}

# Rita has read all that she can read, and her transaction goes on.
my $reader = $node->background_psql('postgres', extra_params => [ '-U', 'rita' ]);
$reader->query_safe('BEGIN');
$reader->query_safe("SELECT count(*) FROM $_")
  foreach my @views = split /\n/, $node->safe_psql('postgres', sprintf $relations, 'c.oid::regclass', "relkind = 'v' AND relnamespace = 'apikeys'::regnamespace");
$reader->query_safe('SELECT * FROM ' . $_)
  foreach 'apikey_list()', 'apikey_count()', 'apikey_events()', sprintf('apikey_get((SELECT id FROM apikeys.info WHERE name = %s))', q('test'));

# Tables: refused at once.  VACUUM answers with a warning.
foreach my $user ('rita', 'max')
{
	foreach my $table (names("c.relkind <> 'v'"))
	{
		my @states = map { state_of($user, sprintf $_, $table) } @locking;

		is(join(' ', grep $_ ne '42501', @states), '', "$user cannot lock $table");
	}
}

# What others do meanwhile, each in a new session, which has nothing in memory.
my $test_id = $node->safe_psql('postgres', 'SELECT ' . id_of('test'));
my $other_id = $node->safe_psql('postgres', 'SELECT ' . id_of('other'));
my $budget = $node->safe_psql('postgres', 'SELECT id FROM apikeys_data.budget');
my @calls = (
	[ max => q{SELECT code FROM apikey_verify('test-key')}, 'VALID' ],
	[ max => qq{SELECT name FROM apikey_get('$test_id')}, 'test' ],
	[ max => q{SELECT count(*) > 0 FROM apikey_list()}, 't' ],
	[ max => q{SELECT apikey_count() > 0}, 't' ],
	[ max => qq{SELECT count(*) FROM apikey_limits('$test_id')}, '2' ],
	[ max => qq{SELECT total_requests >= 0 FROM apikey_usage('$test_id')}, 't' ],
	[ max => qq{SELECT name FROM apikey_update('$test_id', '{"enabled": true}')}, 'test' ],
	[ max => qq{SELECT name FROM apikey_budget_update('$budget', '{"max_cost": 1000}')}, 'pool' ],
	[ max => q{SELECT count(*) FROM apikey_generate('new')}, '1' ],
	[ max => qq{SELECT count(*) FROM apikey_rotate('$other_id', '1 hour')}, '1' ],
	[ max => qq{SELECT apikey_revoke('$other_id')}, '' ],
	[ max => qq{SELECT apikey_record_usage('$test_id', 1, 1)}, 't' ],
	[ max => q{SELECT apikey_flush() >= 0}, 't' ],
	[ max => q{SELECT apikey_cleanup_expired()}, '0' ]);

sub answer
{
	my ($user, $sql, $timeout) = (@_, '10s');
	my ($stdout, $stderr);

	$node->psql('postgres', "SET lock_timeout = '$timeout';\n$sql;", stdout => \$stdout, stderr => \$stderr, extra_params => [ '-U', $user ]);
	return $stderr =~ /ERROR:  (.*)/ ? $1 : $stdout;
}

# Views: who would own one waits for the reader, and its next readers for him,
# but nobody else.
foreach my $view (@views)
{
	my $waiter = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'rita' ]);

	$waiter->query_until(qr/started/, sprintf "\\echo started\n$locking[0];\n", $view);
	wait_for($node, 'postgres', "SELECT count(*) > 0 FROM pg_locks WHERE relation = '$view'::regclass AND NOT granted", "$view: one waits");
	like(answer('rita', "SELECT count(*) FROM $view", '50ms'), qr/lock timeout/, "$view: its reader waits");
	is(answer($_->[0], $_->[1]), $_->[2], "$view: $_->[1]") foreach grep { $view eq $views[0] || $_->[1] !~ /revoke|rotate/ } @calls;
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted');
	$waiter->quit;
}
cmp_ok(scalar @views, '>=', 4, 'views were tried');
$reader->query_safe('COMMIT');
$reader->quit;

# Anybody can keep the lock of the extension, without any right on it.  What
# works for all goes on, and so do grants, whose taking back he may be after.
# The key is a new one: of the uses of one second only the first is recorded.
add_keys($node, 'postgres', 'unused');
my $unused_id = $node->safe_psql('postgres', 'SELECT ' . id_of('unused'));
my $holder = $node->background_psql('postgres', extra_params => [ '-U', 'nora' ]);
$holder->query_safe(q{
	BEGIN;
	CREATE FUNCTION pg_temp.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1';
	ALTER FUNCTION pg_temp.mine() DEPENDS ON EXTENSION apikeys});
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_extension'::regclass AND mode = 'AccessExclusiveLock'}),
	'1', 'nora holds the lock of the extension');
my $since = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
is(answer('max', q{SELECT code FROM apikey_verify('unused-key')}), 'VALID', 'a key is used');
is(answer('max', qq{SELECT apikey_record_usage('$unused_id', 7, 0)}), 't', 'and its usage recorded');
wait_for($node, 'postgres', "SELECT last_used_at >= '$since' FROM apikeys_data.usage WHERE key_id = '$unused_id'", 'a flush worker persists that it was used');
wait_for($node, 'postgres', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'and its usage');
is(answer('postgres', $_), '', $_) foreach q{SELECT apikey_grant('nora', 'read')}, q{SELECT apikey_revoke_grant('nora', 'verify')};
$holder->query_safe('COMMIT');
$holder->quit;
$node->stop;

done_testing();
