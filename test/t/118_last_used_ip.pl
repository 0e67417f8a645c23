
# The address of the last use: seen at once, written with the last use, kept
# over a clean restart, lost with the use it belongs to in a crash, and left
# alone by a use without one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '1h'", "apikeys.last_used_throttle = '1h'");

add_keys($node, 'postgres', qw(plain bare));
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x', rate_limits => '{"requests_per_day": 1000}')});

# Uses a key, from an address or SQL's NULL, in a second in which it was not
# used before: within one, only the first use is recorded.
sub use_key
{
	my ($name, $ip) = @_;
	my $before = last_use($node, 'postgres', $name);

	wait_until("$name is used, from $ip", sub {
		$node->safe_psql('postgres', "SELECT code FROM apikey_verify('$name-key', client_ip => $ip)") eq 'VALID'
		  or die;
		return last_use($node, 'postgres', $name) ne $before;
	});
	return;
}

sub seen
{
	my ($name) = @_;

	return $node->safe_psql('postgres', "SELECT last_used_ip FROM apikeys.info WHERE name = '$name'");
}

sub stored
{
	my ($name) = @_;

	return $node->safe_psql('postgres', "SELECT last_used_ip FROM apikeys_data.usage WHERE key_id = ${\id_of($name)}");
}

foreach my $name ('plain', 'limited')
{
	use_key($name, q('192.0.2.1'));
	is(seen($name), '192.0.2.1', "$name: seen at once");
	is(stored($name), '', "$name: not written by verify");

	use_key($name, q('[2001:db8::1]:443'));
	is(seen($name), '2001:db8::1', "$name: another address");
	use_key($name, 'NULL');
	is(seen($name), '2001:db8::1', "$name: a use without one leaves it");
	use_key($name, q('nonsense'));
	is(seen($name), '2001:db8::1', "$name: nor does one from nowhere");

	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	is(stored($name), '2001:db8::1', "$name: a flush writes it");
	use_key($name, 'NULL');
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	is(stored($name), '2001:db8::1', "$name: a flush without one leaves it");
}
use_key('bare', 'NULL');
is(seen('bare'), '', 'never an address: none');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is(stored('bare'), '', 'nor is one written');

# A clean restart
use_key($_, q('192.0.2.2')) foreach 'plain', 'limited';
$node->restart;
is(seen($_), '192.0.2.2', "$_, restart: kept") foreach 'plain', 'limited';
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is(stored($_), '192.0.2.2', "$_, restart: and written") foreach 'plain', 'limited';

# Nothing is pending, so nothing is loaded; the table has it.
$node->restart;
is(seen('plain'), '192.0.2.2', 'restart: what is written is seen');
use_key('plain', 'NULL');
is(seen('plain'), '192.0.2.2', 'a use without an address, of a key without an entry');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is(stored('plain'), '192.0.2.2', 'and its flush');

# A crash
use_key('plain', q('192.0.2.3'));
is(seen('plain'), '192.0.2.3', 'before the crash');
$node->stop('immediate');
$node->start;
is(seen('plain'), '192.0.2.2', 'after it: what was written');

# Of a standby's own uses and those of its primary, the latest counts.
use_key('plain', q('192.0.2.4'));
is($node->safe_psql('postgres', "SELECT apikeys.last_used_ip(id, 'infinity', '192.0.2.5'), apikeys.last_used_ip(id, '-infinity', '192.0.2.5'),
		apikeys.last_used_ip(id, 'infinity', NULL) FROM apikeys_data.key WHERE name = 'plain'"),
	'192.0.2.5|192.0.2.4|192.0.2.4', 'the address of the latest use');

# An entry that is used for another key has nothing of the one before.
$node->safe_psql('postgres', "SELECT apikey_delete(${\id_of('plain')})");
$node->safe_psql('postgres', "SELECT apikey_import(digest('plain-key', 'sha256'), 'plain', 'x')");
use_key('plain', 'NULL');
is(seen('plain'), '', 'another key in its place');
is_sound($node, 'postgres', 'in the end');

done_testing();
