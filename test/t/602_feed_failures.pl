
# Whatever fails between servers, each goes on by itself, says so, and catches up: a
# link that is cut or hangs, a primary that crashes, one that is replaced, a standby
# that restarts.  What was used counts once, and nobody waits.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use POSIX ();
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $primary = new_primary('primary', "apikeys.reservation_timeout = '1h'");
add_keys($primary, 'postgres', 'key', 'late');
$primary->safe_psql('postgres', q{
	SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x', rate_limits => '{"requests_per_day": 100000}');
	CREATE ROLE feeder LOGIN;
	CREATE ROLE nobody LOGIN;
	SELECT apikey_grant('feeder', 'feed')});
my $first = new_standby('first', $primary);
my $second = new_standby('second', $primary);
my $third = new_standby('third', $second);

sub spend
{
	my ($node, $n) = @_;

	is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE apikey_check('limited-key') = 'VALID') FROM generate_series(1, $n)"),
		$n, $node->name . ": $n requests");
}

# All servers agree on what was used.
sub used_is
{
	my ($n, $test_name, @nodes) = @_;

	wait_for_rounds(2, grep { $_->safe_psql('postgres', 'SELECT pg_is_in_recovery()') eq 't' } @nodes);
	is(used_of_limit($_, 'limited', 'requests_per_day'), $n, "$test_name: " . $_->name) foreach @nodes;
}

wait_for_rounds(1, $first, $second, $third);
spend($_, 10) foreach $primary, $first, $second, $third;
used_is(40, 'all', $primary, $first, $second, $third);

# ---------------------------------------------------- a link that is refused

sub set_conninfo
{
	my ($node, $conninfo) = @_;

	$conninfo =~ s/'/''/g;
	$node->append_conf('postgresql.conf', "apikeys.primary_conninfo = '$conninfo'");
	$node->reload;
}

sub set_interval
{
	my ($interval) = @_;

	$first->append_conf('postgresql.conf', "apikeys.feed_interval = '$interval'");
	$first->reload;
}

my $address = "host=${\$primary->host} port=${\$primary->port}";
set_conninfo($first, "$address user=nobody");
wait_for($first, 'postgres', q{SELECT feed_state = 'down' AND feed_error ~ 'permission denied' FROM apikeys.stats}, 'a role without the level feed is refused');
spend($first, 10);
spend($primary, 10);
is(used_of_limit($first, 'limited', 'requests_per_day'), 50, 'first goes on by itself');
is(used_of_limit($primary, 'limited', 'requests_per_day'), 50, 'so does the primary');
set_conninfo($first, "$address user=feeder");
used_is(60, 'a role with the level feed', $primary, $first, $second, $third);

# Answers that are none, each in turn: of another version, too short, too long, with a place
# or a number of items that is none, with too few, and with one that cannot be.
sub answer
{
	my %answer = (version => 1, next => -1, nitems => 0, items => [], @_);

	return unpack('H*', pack('l> q> l> q> q> l> l>', $answer{version}, 1, 1, 0, 0, $answer{next}, $answer{nitems}) . join('', @{ $answer{items} }));
}

my @answers = (
	'', answer(version => 2), answer() . '00', answer(next => -2), answer(nitems => -1),
	answer(nitems => 513, items => [ (feed_item()) x 513 ]), answer(nitems => 1), answer(nitems => 1, items => [ feed_item(current => -1) ]));
my $definition = $primary->safe_psql('postgres', q{SELECT pg_get_functiondef('apikeys.feed_exchange(bytea)'::regprocedure)});
$primary->safe_psql('postgres', sprintf q{
	CREATE SEQUENCE asked;
	CREATE OR REPLACE FUNCTION apikeys.feed_exchange(request bytea) RETURNS bytea LANGUAGE sql SECURITY DEFINER
	AS $$SELECT decode(('{%s}'::text[])[1 + nextval('public.asked') %% %d], 'hex')$$}, join(',', map { qq{"$_"} } @answers), scalar @answers);
wait_for($_, 'postgres', q{SELECT feed_state = 'down' AND feed_error = 'the answer is not one of this version' FROM apikeys.stats},
	$_->name . ': what is no answer is an error') foreach $first, $second;
my $succeeded = $first->safe_psql('postgres', 'SELECT feed_succeeded_at FROM apikeys.stats');
isnt($succeeded, '', 'when all was told last is known still');
wait_for($primary, 'postgres', "SELECT last_value > ${\(8 * @answers)} FROM asked", 'each of them has been given');
is($first->safe_psql('postgres', 'SELECT feed_succeeded_at FROM apikeys.stats'), $succeeded, 'none of them is taken for one');
# No answer at all, which the log of a server that is new to it says, too
$primary->safe_psql('postgres', q{
	CREATE OR REPLACE FUNCTION apikeys.feed_exchange(request bytea) RETURNS bytea LANGUAGE sql SECURITY DEFINER AS 'SELECT NULL::bytea'});
wait_for($first, 'postgres', q{SELECT feed_state = 'down' AND feed_error = 'no answer' FROM apikeys.stats}, 'null is no answer');
my $log = -s $first->logfile;
$first->restart;
ok($first->wait_for_log(qr/LOG: .*in database "postgres" to the server that this one follows: no answer$/m, $log), '... which is logged');
$primary->safe_psql('postgres', "$definition; DROP SEQUENCE asked");
used_is(60, 'answers again', $primary, $first, $second, $third);

# What answers may be no PostgreSQL: an error without a message.
my $stranger = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die $!;

sub answer_without_message
{
	my ($client) = @_;

	sysread $client, my $startup, 10000;
	syswrite $client, pack('a N N a N a', 'R', 8, 0, 'Z', 5, 'I');
	while (sysread $client, my $request, 10000)
	{
		my $error = "SERROR\0CXX000\0\0";

		syswrite $client, pack('a N a* a N a', 'E', 4 + length $error, $error, 'Z', 5, 'I');
	}
}

my $process = fork // die $!;
if ($process == 0)
{
	while (my $client = $stranger->accept) { answer_without_message($client) }
	POSIX::_exit(0);
}
set_conninfo($first, "host=127.0.0.1 port=${\$stranger->sockport} user=feeder sslmode=disable gssencmode=disable");
wait_for($first, 'postgres', q{SELECT feed_state = 'down' AND feed_error = 'an error without a message' FROM apikeys.stats},
	'an error without a message');
kill 'KILL', $process;
waitpid $process, 0;
set_conninfo($first, "$address user=feeder");
used_is(60, 'a server again', $primary, $first, $second, $third);

# A password comes from a file, and from nowhere else.
my $passfile = $first->basedir . '/feeder.pgpass';
my $hba = $primary->data_dir . '/pg_hba.conf';
my $rules = slurp_file($hba);
append_to_file($passfile, "*:*:*:keeper:right\n");
chmod 0600, $passfile or die $!;
$primary->safe_psql('postgres', q{CREATE ROLE keeper LOGIN PASSWORD 'right'; SELECT apikey_grant('keeper', 'feed')});
unlink $hba;
append_to_file($hba, "local all keeper scram-sha-256\n$rules");
$primary->reload;
set_conninfo($first, "$address user=keeper");
wait_for($first, 'postgres', q{SELECT feed_state = 'down' AND feed_error ~ 'password' FROM apikeys.stats}, 'without its password a role is refused');
set_conninfo($first, "$address user=keeper passfile=$passfile");
used_is(60, 'a password file', $primary, $first, $second, $third);

# Whole windows, which are told first, cannot be told: then they are told from the start.
# Nothing is told of what an interrupted DROP DATABASE has left.
$primary->safe_psql('postgres', $_) foreach 'CREATE DATABASE half', q{UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'};
$primary->wait_for_catchup($first);
$primary->safe_psql('postgres', q{
	CREATE FUNCTION feed_exchange_now(bytea) RETURNS bytea LANGUAGE c AS '$libdir/apikeys', 'apikeys_feed_exchange';
	CREATE OR REPLACE FUNCTION apikeys.feed_exchange(request bytea) RETURNS bytea LANGUAGE plpgsql SECURITY DEFINER AS
	$$
	BEGIN
		IF get_byte(request, 31) = 1 THEN
			RAISE 'no whole windows';
		END IF;
		RETURN public.feed_exchange_now(request);
	END
	$$});
$first->restart;
wait_for($first, 'postgres', q{SELECT feed_state = 'down' AND feed_error ~ 'no whole windows' FROM apikeys.stats}, 'whole windows are not taken');
$primary->safe_psql('postgres', $definition);
used_is(60, '... and are told once they are', $primary, $first, $second, $third);
is(count_in_log($primary, qr/invalid database/), 0, '... and nobody has gone where nobody can');
$primary->safe_psql('postgres', 'DROP DATABASE half');

# An answer that comes when the window is over of which the request told
$primary->safe_psql('postgres', q{
	SELECT apikey_import(digest('short-key', 'sha256'), 'short', 'x', rate_limits => '{"windows": [{"per": "1 second", "requests": 5}]}');
	CREATE OR REPLACE FUNCTION apikeys.feed_exchange(request bytea) RETURNS bytea LANGUAGE sql SECURITY DEFINER
	AS $$SELECT pg_sleep(2.5); SELECT public.feed_exchange_now(request)$$});
$primary->wait_for_catchup($first);
set_interval('1h');
sleep 4;
is(verify($first, 'postgres', 'short'), 'VALID', 'a window of a second');
set_interval('100ms');
wait_for_rounds(1, $first);
is($first->safe_psql('postgres', "SELECT used FROM apikey_limits(${\id_of('short')})"), 0, '... is over when its use has been told');
is(verify($first, 'postgres', 'short'), 'VALID', '... and begins again');
is($first->safe_psql('postgres', "SELECT used FROM apikey_limits(${\id_of('short')})"), 1, '... with all that is used then');
$primary->safe_psql('postgres', "$definition; DROP FUNCTION feed_exchange_now(bytea)");
used_is(60, 'answers at once', $primary, $first, $second, $third);

$log = -s $first->logfile;
set_conninfo($first, "$address user=feeder password=secret");
$log = $first->wait_for_log(qr/invalid value for parameter "apikeys.primary_conninfo"/, $log);
unlike(slurp_file($first->logfile), qr/secret/, '... and not shown in the log');
is($first->safe_psql('postgres', 'SHOW apikeys.primary_conninfo'), "$address user=keeper passfile=$passfile", 'a password in the setting is refused');
set_conninfo($first, '');

# Whom no setting names, as where the WAL comes from an archive, is asked nothing.
$first->append_conf('postgresql.conf', "primary_conninfo = ''");
$first->reload;
my $told_by = q{SELECT string_agg(name, ' ' ORDER BY name) FROM apikeys.servers WHERE pid IS NOT NULL};
wait_for($primary, 'postgres', "SELECT 'second' = ($told_by)", 'without an address, first has no session');
my $failed = q{SELECT feed_error_at FROM apikeys.stats};
my $failed_at = $first->safe_psql('postgres', $failed);
sleep 2;
is($first->safe_psql('postgres', $failed), $failed_at, '... and tries to connect to nobody');
$first->enable_streaming($primary);
$first->reload;
used_is(60, 'an address again', $primary, $first, $second, $third);

# --------------------------------------------------------- a link that hangs

# A server that accepts and says nothing
my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die $!;
my $nobody = "host=127.0.0.1 port=${\$silent->sockport} user=feeder";
set_conninfo($first, "$nobody sslmode=disable");
wait_for($first, 'postgres', q{SELECT feed_state = 'down' AND feed_error ~ 'does not answer' FROM apikeys.stats}, 'a server does not answer');
set_conninfo($first, $nobody);
wait_for($first, 'postgres', q{SELECT feed_lag > interval '1 second' FROM apikeys.stats}, 'the link hangs');
my $start = time();
spend($first, 10);
cmp_ok(time() - $start, '<', 5, 'verify does not wait');
wait_for($first, 'postgres', q{SELECT feed_state = 'down' AND feed_error = 'timeout' FROM apikeys.stats}, 'it times out');
within_5_seconds('a shutdown does not wait for it', sub { $first->stop; return 1 });
$first->start;
used_is(60, 'what first has used is in its state file', $primary);
set_conninfo($first, '');
used_is(70, 'restarted, it tells', $primary, $first, $second, $third);

# ------------------------------------------------- the primary loses its memory

$primary->stop('immediate');
spend($_, 10) foreach $first, $second, $third;
wait_for($first, 'postgres', q{SELECT feed_state = 'down' FROM apikeys.stats}, 'the primary is down');
$primary->start;
# It knows again what the others know as soon as they have told it.
wait_for_rounds(1, $first, $second);
spend($primary, 10);
used_is(110, 'the primary has crashed', $primary, $first, $second, $third);

# So does a standby that is followed.
$second->stop('immediate');
spend($third, 10);
$second->start;
used_is(120, 'second has crashed', $primary, $first, $second, $third);

# ------------------------------------------------------------ another primary

verify($second, 'postgres', 'late');
spend($_, 10) foreach $first, $second, $third;
# What was used in the last two intervals may be lost with the primary.
wait_for_rounds(2, $first, $second, $third);
$primary->stop('immediate');
$first->promote;
foreach my $node ($second)
{
	$node->enable_streaming($first);
	$node->reload;
}
wait_for($first, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'apikeys feed worker'", 'promoted: its feed worker has ended');
spend($_, 10) foreach $first, $second, $third;
used_is(180, 'first is the primary', $first, $second, $third);
is(last_use($first, 'postgres', 'late'), last_use($second, 'postgres', 'late'), 'it knows the use of a key elsewhere');
$first->safe_psql('postgres', 'SELECT apikey_flush()');
is(stored_use($first, 'postgres', 'late'), last_use($second, 'postgres', 'late'), '... and stores it');
is_sound($_, 'postgres', $_->name) foreach $first, $second, $third;

# ------------------------------------------------------------------ it lets go

$first->safe_psql('postgres', 'CREATE DATABASE other');
add_extension($first, 'other');
wait_until('second tells of it', sub {
	$second->psql('other', "SELECT feed_state FROM apikeys.stats") == 0 or return 0;
	return ($second->safe_psql('other', 'SELECT feed_state FROM apikeys.stats') // '') eq 'up'});
within_5_seconds('CREATE DATABASE copies a database whose use is told', sub {
	return $first->psql('postgres', 'CREATE DATABASE copy TEMPLATE other') == 0});
within_5_seconds('ALTER DATABASE renames it', sub { return $first->psql('postgres', 'ALTER DATABASE other RENAME TO another') == 0 });
within_5_seconds('DROP EXTENSION', sub { return $first->psql('another', 'DROP EXTENSION apikeys') == 0 });
within_5_seconds('DROP DATABASE', sub { return $first->psql('postgres', 'DROP DATABASE another') == 0 });
used_is(180, 'the others are as they were', $first, $second, $third);

$_->stop foreach $third, $second, $first;
done_testing();
