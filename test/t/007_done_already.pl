
# Who was not told asks again.  "Done already" has to be as safe as the answer that was lost: a
# primary that has crashed shows what its synchronous standby has not got, and whoever
# is told of it before the standby has it, is told what a promotion would lose.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $user = '6fa459ea-ee8a-3ca4-894e-db77e160355e';
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'apikeys'
	autovacuum = off
	log_statement = none
	apikeys.flush_interval = '1h'});
$primary->start;
add_extension($primary, 'postgres');
add_keys($primary, 'postgres', 'key');
$primary->safe_psql('postgres', qq{
	SELECT apikey_generate('of the user', user_id => '$user');
	SELECT apikey_record_usage(${\id_of('key')}, 1, 1, request_id => 'voided')});

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'");
$primary->reload;
wait_for($primary, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'},
	'the standby is synchronous');

my %calls = (
	record => "SELECT apikey_record_usage(${\id_of('key')}, 20, 2, request_id => 'recorded')",
	void => "SELECT apikey_void_usage(${\id_of('key')}, 'voided')",
	revoke_where => "SELECT apikey_revoke_where(user_id => '$user')");
my %again = (record => 'f', void => 'f', revoke_where => 0);

# Begins a call in the background.
sub call
{
	my ($name) = @_;
	my %call = (name => $name, out => '', err => '');

	local $ENV{PGAPPNAME} = $name;
	$call{run} = IPC::Run::start(
		[
			$primary->installed_command('psql'), '-XAtq', '-d', $primary->connstr('postgres'),
			'-c', $calls{$name}
		],
		'<', \undef, '>', \$call{out}, '2>', \$call{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%call;
}

# Does it wait for the standby, or was it told?
sub what_becomes_of
{
	my ($call) = @_;

	return wait_until("$call->{name} waits or is told", sub {
		$call->{run}->pump_nb if $call->{run}->pumpable;
		return "told $call->{out}" if $call->{out} ne '' || !$call->{run}->pumpable;
		return $primary->safe_psql('postgres',
			"SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = '$call->{name}'") && 'waits';
	});
}

# Nobody is told, as the standby is not there.
$standby->stop;
my @calls = map { call($_) } sort keys %calls;
is(what_becomes_of($_), 'waits', "$_->{name}: it waits for the standby") foreach @calls;
kill_cluster($primary);
foreach my $call (@calls)
{
	$call->{run}->finish;
	is($call->{out}, '', "$call->{name}: nobody was told");
}

my $state = q{
	SELECT total_requests, total_tokens, total_cost FROM apikeys.info WHERE name = 'key'
	UNION ALL
	SELECT count(*), 0, 0 FROM apikeys.info WHERE status = 'revoked'};
my $done = "1|20|2\n1|0|0";
$primary->start;
is($primary->safe_psql('postgres', $state) =~ s/\.0+\b//gr, $done, 'after the crash all of it is seen');

# Asked again, each is told once the standby has what it is told of.
@calls = map { call($_) } sort keys %calls;
is(what_becomes_of($_), 'waits', "$_->{name}, again: it waits for the standby") foreach @calls;
my $async = $primary->safe_psql('postgres', "SET apikeys.usage_durability = 'async'; $calls{record}");
is($async, $again{record}, 'record, again: with usage_durability = async it does not wait');
is($primary->safe_psql('postgres', "SET synchronous_commit = local; $calls{$_}"), $again{$_},
	"$_, again: with synchronous_commit = local it does not wait") foreach sort keys %calls;

$standby->start;
foreach my $call (@calls)
{
	$call->{run}->finish;
	is($call->{out}, "$again{ $call->{name} }\n", "$call->{name}, again: it is done");
}
kill_cluster($primary);
$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$standby->reload;
$standby->promote;
is($standby->safe_psql('postgres', $state) =~ s/\.0+\b//gr, $done, 'promoted: what was told is there');
is($standby->safe_psql('postgres', $calls{$_}), $again{$_}, "promoted: $_ is done") foreach sort keys %calls;
is_sound($standby, 'postgres', 'promoted');

$standby->stop;
done_testing();
