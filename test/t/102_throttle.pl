
# One key, verified all the time: its last use is written once in each
# throttle interval and not more often.  A clock that steps back never makes
# it older.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node(
	'main',
	"apikeys.flush_interval = '10ms'",
	"apikeys.last_used_throttle = '1h'");
add_keys($node, 'postgres', 'hot', 'seldom', 'off', 'zero', 'ahead', 'lowered');

my $writes = q{SELECT coalesce(sum(n_tup_ins + n_tup_upd), 0)
	FROM pg_stat_user_tables WHERE schemaname = 'apikeys_data' AND relname = 'usage'};

# Each write, as it happens
$node->safe_psql('postgres', q{
	CREATE TABLE history (n bigint GENERATED ALWAYS AS IDENTITY, key_id uuid, last_used_at timestamptz,
	  written_at timestamptz DEFAULT clock_timestamp());
	CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO public.history (key_id, last_used_at) VALUES (NEW.key_id, NEW.last_used_at);
	  RETURN NULL;
	END $$;
	CREATE TRIGGER note_write AFTER INSERT OR UPDATE ON apikeys_data.usage FOR EACH ROW EXECUTE FUNCTION note_write();
	ALTER TABLE apikeys_data.usage ENABLE ALWAYS TRIGGER note_write});
my $of_hot = 'FROM history WHERE key_id = ' . id_of('hot');

sub verify_many
{
	my ($times) = @_;

	$node->safe_psql('postgres', qq{
		DO \$\$ BEGIN
		  FOR i IN 1 .. $times LOOP
		    ASSERT (SELECT code FROM apikey_verify('hot-key')) = 'VALID';
		  END LOOP;
		END \$\$});
}

sub set
{
	my ($name, $value) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET apikeys.$name = '$value'");
	$node->reload;
	wait_until("$name is $value", sub {
		return $node->safe_psql('postgres', "SHOW apikeys.$name") eq $value;
	});
}

# By hand: it writes what is pending, due or not.
sub flush
{
	return $node->safe_psql('postgres', 'SELECT apikey_flush()');
}

# An interval that does not end: one write.  The flush worker runs all the while.
verify_many(50_000);
wait_for($node, 'postgres', 'SELECT count(*) = 1 FROM apikeys_data.usage', 'the first use is written');
verify_many(50_000);
wait_for_flush_worker($node, 'postgres');
is($node->safe_psql('postgres', "SELECT count(*) $of_hot"), 1, '100,000 verifies in one interval: one write');

# Within one second only the first use is recorded, and all may have been in one.
wait_until('though later uses are seen', sub {
	verify_many(1);
	return $node->safe_psql('postgres', q{
		SELECT i.last_used_at > u.last_used_at FROM apikeys.info i JOIN apikeys_data.usage u ON u.key_id = i.id
		WHERE i.name = 'hot'}) eq 't';
});

# Intervals of three seconds, from write to write, until five have been seen
# of each key.  One is used all the time.  The other is used again a while
# after each write, and then not until that use is written: long after it.
set('last_used_throttle', '3s');
my $verified = 100_000;
my $of_seldom = 'FROM history WHERE key_id = ' . id_of('seldom');
wait_until('intervals have gone by', sub {
	verify_many(5_000);
	$verified += 5_000;
	verify($node, 'postgres', 'seldom')
	  if $node->safe_psql('postgres', qq{SELECT coalesce(max(written_at) < clock_timestamp() - interval '1 second', true)
		  $of_seldom}) eq 't' && last_use($node, 'postgres', 'seldom') eq stored_use($node, 'postgres', 'seldom');
	return $node->safe_psql('postgres', "SELECT (SELECT count(*) $of_hot) > 4 AND (SELECT count(*) $of_seldom) > 4") eq 't';
});
foreach my $which ([ 'used all the time', $of_hot ], [ 'seldom used', $of_seldom ])
{
	my ($how, $writes_of) = @$which;

	is($node->safe_psql('postgres', qq{
			SELECT min(written_at - before) >= '3 seconds'
			FROM (SELECT written_at, lag(written_at) OVER (ORDER BY n) AS before $writes_of) h}),
		't', "$how, $verified verifies in all: never two writes in one interval");
}
set('last_used_throttle', '1h');
wait_for($node, 'postgres', "SELECT count(*) = ($writes) FROM history", 'pg_stat_user_tables says the same');

# 0: each flush writes what is new.
set('flush_interval', '1h');
set('last_used_throttle', '0');
verify($node, 'postgres', 'zero');
flush();
my $first = stored_use($node, 'postgres', 'zero');
isnt($first, '', '0: the first use is written');
wait_until('a later use is written', sub {
	verify($node, 'postgres', 'zero');
	flush();
	return stored_use($node, 'postgres', 'zero') gt $first;
});
flush();
is(flush(), 0, '0: what is written is not written again');

# -1: no use is kept.
set('last_used_throttle', '-1');
is(verify($node, 'postgres', 'off'), 'VALID', '-1: verify works');
flush();
is(last_use($node, 'postgres', 'off'), '', '-1: the use is not seen');
is(stored_use($node, 'postgres', 'off'), '', '-1: the use is not written');

# Lowered: what was seen and not due becomes due.
set('flush_interval', '10ms');
set('last_used_throttle', '1h');
verify($node, 'postgres', 'lowered');
wait_for_flush_worker($node, 'postgres');
$first = stored_use($node, 'postgres', 'lowered');
wait_until('a later use is seen', sub {
	verify($node, 'postgres', 'lowered');
	return last_use($node, 'postgres', 'lowered') gt $first;
});
wait_for_flush_worker($node, 'postgres');
is(stored_use($node, 'postgres', 'lowered'), $first, 'a use that is not due is not written');
set('last_used_throttle', '0');
wait_for($node, 'postgres', "SELECT last_used_at > '$first' FROM apikeys_data.usage WHERE key_id = ${\id_of('lowered')}",
	'it is due with a shorter throttle');

# The stored use is ahead of the clock, as after a step back.
verify($node, 'postgres', 'ahead');
flush();
$node->safe_psql('postgres', "UPDATE apikeys_data.usage SET last_used_at = '2100-01-01' WHERE key_id = " . id_of('ahead'));
$first = stored_use($node, 'postgres', 'ahead');
foreach my $restarted (0, 1)
{
	my $when = $restarted ? 'after a restart' : 'a clock behind';

	$node->restart if $restarted;
	is(verify($node, 'postgres', 'ahead'), 'VALID', "$when: verify works");
	flush();
	is(stored_use($node, 'postgres', 'ahead'), $first, "$when: the stored use gets no older");
	is(last_use($node, 'postgres', 'ahead'), $first, "$when: nor does the live one");
}

$node->stop;
done_testing();
