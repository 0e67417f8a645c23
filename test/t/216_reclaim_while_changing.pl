
# Shared memory changes while who finds no space there reads whose entries can go: a key
# that comes back, or is gone, while its entry is found dead.  A policy stops the reader
# there, which it can where the table's owner is no superuser.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PolicyTest;
use PostgreSQL::Test::Utils;
use Test::More;

# There is no worker but the launcher (and the server's own): windows are stored by
# apikey_flush() alone.
my $node = start_node('main', "apikeys.flush_interval = '1h'", 'apikeys.max_tracked_keys = 16',
	'apikeys.last_used_throttle = -1', 'max_worker_processes = 2');

make_readers_wait($node);

my $reader = $node->background_psql('postgres');
my $writer = $node->background_psql('postgres');

sub ask { return "SELECT code FROM apikey_verify('$_[0]-key')" }

# What the reader says of a key while something changes as it is reading.
sub stopped
{
	my ($name, @changes) = @_;

	return answer_while($node, $reader, $writer, ask($name), @changes);
}

# How often a key has been used by its window.
sub used
{
	return $node->safe_psql('postgres', sprintf 'SELECT used FROM apikey_limits(%s)', id_of($_[0]));
}

# A table that is full of keys whose windows are not stored, one of which is revoked
# if that is asked for.
sub fill
{
	my ($revoked) = @_;

	$_->quit foreach $reader, $writer;
	$node->safe_psql('postgres', 'DELETE FROM apikeys_data.key');
	$node->stop('immediate');
	$node->start;
	$reader = $node->background_psql('postgres');
	$writer = $node->background_psql('postgres');
	$node->safe_psql('postgres', q{
		SELECT apikey_import(digest(name || '-key', 'sha256'), name, 'x', rate_limits => '{"requests_per_day": 4}')
		FROM (SELECT 'limited ' || i FROM generate_series(1, 16) i UNION ALL VALUES ('new 1')) v(name)});
	# So that the reader has the new key cached, and has planned the statement that looks
	# for the dead: one that has just been planned is executed twice.
	$reader->query_safe($_) foreach ask('limited 1'), ask('new 1'), 'SELECT apikey_flush()';
	is($node->safe_psql('postgres', q{
			SELECT count(*) FROM generate_series(1, 16) i, LATERAL apikey_verify('limited ' || i || '-key') v WHERE v.valid}),
		16, 'a table that is full');
	$node->safe_psql('postgres', q{UPDATE apikeys_data.key SET revoked_at = now() WHERE name = 'limited 1'}) if $revoked;
}

# A transaction without an id, or with one, changes what was found dead.
my $successor = q{
	INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name, rate_limits)
	SELECT gen_random_uuid(), id, digest('successor-key', 'sha256'), 'x', 'successor', rate_limits FROM apikeys_data.key WHERE name = 'limited 1'};
foreach my $changes ([ $successor, ask('successor') ], [ 'BEGIN', $successor, ask('successor'), 'COMMIT' ])
{
	fill(1);
	is(stopped('new 1', @$changes), 'RATE_LIMITED', 'the keys of an entry were dead, but have a successor by now');
	is(used('limited 1'), 3, '... and what they have used counts');
	is($node->safe_psql('postgres', ask('successor')), 'VALID', '... to the limit');
	is($node->safe_psql('postgres', ask('successor')), 'RATE_LIMITED', '... and no longer');
}
fill(1);
is(stopped('new 1', 'SELECT apikey_flush()'), 'VALID', 'the entry of a dead key is gone by now');
is(stats($node, 'reclaimed'), 1, '... once');

# All were alive, but there is space by now: that is found, and no time is taken down
# for which nobody would look again.
fill(0);
is(stopped('new 1', q{DELETE FROM apikeys_data.key WHERE name = 'limited 1'}, 'SELECT apikey_flush()'),
	'VALID', 'all were alive, and one is gone by now');
is($node->safe_psql('postgres', 'SELECT * FROM apikeys_data.shared_memory_problems()'), '', '... and shared memory is sound');

$reader->quit;
$writer->quit;
$node->stop;
done_testing();
