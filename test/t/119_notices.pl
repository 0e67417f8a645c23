
# Before a key expires there is an event, and its NOTIFY: once for each of
# apikeys.expiry_notice, for expires_at and for idle_timeout.
#
# The background workers do not see a moved clock, so with it notices are given
# by apikey_flush().

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use ClockTest;
use PostgreSQL::Test::Utils;
use Test::More;

sub generate
{
	my ($node, $name, $arguments) = @_;

	return $node->safe_psql('postgres', "SELECT id FROM apikey_generate('$name', $arguments)");
}

# What has been said about a key, in order.
sub events
{
	my ($node, $name) = @_;

	return $node->safe_psql('postgres', qq{
		SELECT string_agg(details->>'reason' || ' ' || (details->>'notice'), ', ' ORDER BY at, id)
		FROM apikeys_data.event WHERE action = 'expiring' AND details->>'name' = '$name'});
}

sub rows
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.key_notice');
}

# ------------------------------------------------------- flush workers alone

my $node = start_node('workers',
	"apikeys.flush_interval = '10ms'",
	"apikeys.expiry_notice = '1 hour , 90 seconds '",
	"apikeys.notify_channel = 'keys'");
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN keys');

# While no key ends a worker has nothing to come back for.
generate($node, 'endless', "metadata => '{}'");
$node->safe_psql('postgres', "SELECT apikey_record_usage(${\id_of('endless')}, 1)");
wait_for($node, 'postgres', 'SELECT count(*) = 0 FROM apikeys_data.usage_entry', 'a worker comes');
wait_for_flush_worker($node, 'postgres');
wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'apikeys flush worker'", '... and goes');
my $flushes = stats($node, 'flushes');
sleep 1;
is(stats($node, 'flushes'), $flushes, '... and none comes again');
is(rows($node), 0, '... for nothing is planned');

# A key that is within a notice when it is made, and one that gets there.
my $id = generate($node, 'soon', "expires_at => now() + '30 minutes'");
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM apikey_events('$id') WHERE action = 'expiring'",
	'a worker gives the notice that is due');
generate($node, 'later', "expires_at => now() + '93 seconds'");
generate($node, 'idle', "idle_timeout => '93 seconds'");
wait_for($node, 'postgres', "SELECT count(*) = 4 FROM apikey_events() WHERE action = 'expiring'",
	'and, in their time, those that become due');
is(events($node, 'later'), 'expiry 1 hour, expiry 90 seconds', 'by expires_at: all notices, as they were written');
is(events($node, 'idle'), 'idle 90 seconds', 'by idle_timeout: those that are shorter');
wait_for_flush_worker($node, 'postgres') foreach 1 .. 3;
is(events($node, 'soon'), 'expiry 1 hour', 'workers that come later repeat nothing');
my $heard = $listener->query('SELECT 1');
is(scalar(() = $heard =~ /"action":"expiring"/g), 4, 'who listens is notified of each, once');
is($node->safe_psql('postgres', q{
		SELECT details->>'ends_at' = to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
		       details->>'key_prefix' = key_prefix, e.key_id = k.id
		FROM apikey_events() e JOIN apikeys.info k ON k.name = e.details->>'name'
		WHERE action = 'expiring' AND k.name = 'soon'}),
	't|t|t', 'the event says what an application needs');
$listener->quit;

# One that cannot be given is given later.
my $errors = stats($node, 'flush_errors');
$node->safe_psql('postgres', "ALTER TABLE apikeys_data.event ADD CONSTRAINT spanner CHECK (action <> 'expiring') NOT VALID");
generate($node, 'prevented', "expires_at => now() + '30 minutes'");
wait_for($node, 'postgres', "SELECT flush_errors > $errors FROM apikeys.stats", 'a notice cannot be written');
is(events($node, 'prevented'), '', '... nor is it taken for given');
$node->safe_psql('postgres', 'ALTER TABLE apikeys_data.event DROP CONSTRAINT spanner');
wait_for($node, 'postgres', q{SELECT count(*) = 1 FROM apikey_events() WHERE action = 'expiring' AND details->>'name' = 'prevented'},
	'once it can, it is given');

# Another setting: each key is looked at again, and what was given is not.
$node->append_conf('postgresql.conf', "apikeys.expiry_notice = '25 hours, 1 hour, 90 seconds, 10 seconds'");
generate($node, 'tomorrow', "expires_at => now() + '1 day'");
$node->reload;
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM apikey_events() WHERE action = 'expiring' AND details->>'name' = 'tomorrow'",
	'a setting that has a notice for it');
is(events($node, 'tomorrow'), 'expiry 25 hours', 'which is given');
is(events($node, 'soon'), 'expiry 1 hour', 'but not what is longer than one that was given');
$node->append_conf('postgresql.conf', "apikeys.expiry_notice = ''");
$node->reload;
wait_for($node, 'postgres', "SELECT current_setting('apikeys.expiry_notice') = ''", 'none at all');
generate($node, 'silent', "expires_at => now() + '1 minute'");
wait_for_flush_worker($node, 'postgres');
is(events($node, 'silent'), '', 'then there is none');

# Few rows of many are due: they are found by the index.
$node->safe_psql('postgres', q{
	INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name, expires_at)
	SELECT i, i, sha256(i::text::bytea), 'many', 'many', '2500-01-01'
	FROM (SELECT gen_random_uuid() AS i FROM generate_series(1, 5000)) g});
$node->append_conf('postgresql.conf', "apikeys.expiry_notice = '2 hours'\napikeys.flush_interval = '1h'");
$node->restart;
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($node->safe_psql('postgres', "SELECT count(*) FROM apikeys_data.key_notice WHERE planned_for <> '2 hours'"), 0,
	'all of many are planned');
$node->safe_psql('postgres', 'ANALYZE apikeys_data.key_notice');
my $scans = q{SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'key_notice'};
my $before = $node->safe_psql('postgres', "SELECT pg_stat_force_next_flush(); $scans");
$node->safe_psql('postgres', 'SELECT apikey_flush(); SELECT pg_stat_force_next_flush()');
is($node->safe_psql('postgres', $scans), $before =~ s/\s//gr, 'no later flush reads all rows');

# A change of a key does not fail because a flush has looked at it meanwhile.
foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	my $name = lc $level =~ s/ /_/r;
	my $changer = $node->background_psql('postgres', on_error_stop => 0);

	generate($node, $name, "expires_at => now() + '1 year'");
	$changer->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM apikeys.info");
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	$changer->query("SELECT apikey_update(${\id_of($name)}, jsonb_build_object('expires_at', now() + '90 minutes'))");
	$changer->query('COMMIT');
	$changer->quit;
	$node->safe_psql('postgres', 'SELECT apikey_flush()');
	is(events($node, $name), 'expiry 2 hours', "$level: the change is committed, and noticed");
}
$node->stop;

# ------------------------------------------------------------ with a clock

if (!has_clock())
{
	diag 'libfaketime is not installed';
	done_testing();
	exit;
}

use constant DAY => 86400;

$node = new_node('clock', "apikeys.flush_interval = '1h'", "apikeys.expiry_notice = '7 days, 1 day'",
	"apikeys.notify_channel = 'keys'");
my $start_server = sub { with_clock($node, sub { $node->start }) };
set_clock($node, 0);
$start_server->();
add_extension($node, 'postgres');

# To so many days from the start, and an hour.
sub at_day
{
	my ($days) = @_;

	set_clock($node, $days * DAY + 3600);
	return $node->safe_psql('postgres', 'SELECT apikey_flush()');
}

sub update
{
	my ($name, $changes) = @_;

	return $node->safe_psql('postgres', sprintf q{SELECT name FROM apikey_update(%s, '%s')}, id_of($name), $changes);
}

sub day
{
	my ($days) = @_;

	return $node->safe_psql('postgres', sprintf 'SELECT to_timestamp(%d)', time + $days * DAY + 3000);
}

generate($node, 'plain', 'NULL');
generate($node, $_, "expires_at => '" . day(10) . "'") foreach qw(ten sooner later revoked deleted);
generate($node, 'idle', "idle_timeout => '30 days'");
generate($node, 'hourly', "idle_timeout => '1 hour'");
generate($node, 'both', "idle_timeout => '30 days', expires_at => '" . day(20) . "'");
add_keys($node, 'postgres', 'used');
update('used', '{"idle_timeout": "30 days"}');
is(rows($node), 10, 'a row for each end that a key may have');

at_day(0);
is($node->safe_psql('postgres', "SELECT count(*) FROM apikey_events() WHERE action = 'expiring'"), 0, 'day 0: nothing is due');
$node->safe_psql('postgres', "SELECT apikey_revoke(${\id_of('revoked')}), apikey_delete(${\id_of('deleted')})");
is(rows($node), 8, 'what is revoked or deleted has no notices');
$node->safe_psql('postgres', "INSERT INTO apikeys_data.key_notice VALUES (gen_random_uuid(), true), (gen_random_uuid(), false); SELECT apikey_flush()");
is(rows($node), 8, 'what has no key, after a TRUNCATE for example, is removed');

at_day(3);
is(events($node, $_), 'expiry 7 days', "day 3, $_: a week before") foreach qw(ten sooner later);
is(events($node, $_), '', "day 3, $_: nothing") foreach qw(idle both used revoked deleted hourly);

# Neither another flush nor a restart repeats it, nor several at once.
at_day(3);
$node->stop;
$start_server->();
at_day(3);
$node->stop('immediate');
$start_server->();
my $load = start_load($node, 'postgres', "SELECT apikey_flush();\n", '--client=4', '--transactions=5');
end_load($load);
is(events($node, 'ten'), 'expiry 7 days', 'day 3: once only, over restarts and with several that give them');

# Sooner: no notice is given again.  Later: each is.
update('sooner', '{"expires_at": "' . day(8) . '"}');
update('later', '{"expires_at": "' . day(25) . '"}');
at_day(7.5);
is(events($node, 'sooner'), 'expiry 7 days, expiry 1 day', 'day 7.5, sooner: a day before');
is(events($node, 'later'), 'expiry 7 days', 'day 7.5, later: not yet');
at_day(9.5);
is(events($node, 'ten'), 'expiry 7 days, expiry 1 day', 'day 9.5: a day before');
at_day(19);
is(events($node, 'later'), 'expiry 7 days, expiry 7 days', 'day 19, later: a week before its new end');
is(events($node, 'both'), 'expiry 7 days, expiry 1 day', 'day 19, both: its expiry comes first');

# A use, though it is not written yet, is a later end.
at_day(22);
is(verify($node, 'postgres', 'used'), 'VALID', 'day 22: used');
at_day(23.5);
is(events($node, 'idle'), 'idle 7 days', 'day 23.5, idle: a week before');
is(events($node, 'used'), '', 'day 23.5, used: it is not idle');
is(events($node, 'both'), 'expiry 7 days, expiry 1 day', 'day 23.5, both: expired, and silent since');
at_day(29.5);
is(events($node, 'idle'), 'idle 7 days, idle 1 day', 'day 29.5, idle: a day before');
at_day(31);
is(events($node, 'idle'), 'idle 7 days, idle 1 day', 'day 31, idle: expired');
update('idle', '{"enabled": true}');
at_day(46);
is(events($node, 'used'), 'idle 7 days', 'day 46, used: a week before');
is(verify($node, 'postgres', 'used'), 'VALID', 'day 46: used again');
at_day(54.5);
is(events($node, 'used'), 'idle 7 days', 'day 54.5, used: it is not idle');
is(events($node, 'idle'), 'idle 7 days, idle 1 day, idle 7 days', 'day 54.5, idle: revived, and again a week before');
at_day(70);
is(events($node, 'used'), 'idle 7 days, idle 7 days', 'day 70, used: again a week before');
is(events($node, 'hourly'), '', 'a notice that is longer than the timeout is not given');
is(events($node, $_), '', "$_: nothing") foreach qw(plain revoked deleted);
is_sound($node, 'postgres', 'in the end');
$node->stop;

done_testing();
