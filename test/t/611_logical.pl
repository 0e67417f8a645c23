
# Two servers that publish to each other: keys, plans and budgets are written on
# the first, and used on both.  What each has used the other knows, they never
# write the same row, and after any number of crashes both say the same.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use LogicalTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my @settings = ("apikeys.last_used_throttle = 0", "apikeys.flush_interval = '200ms'");
my @nodes = map { new_server($_, @settings) } 1, 2;
my ($first, $second) = @nodes;

publish($first, 1, 'keys', 'usage');
publish($second, 2, 'usage');
subscribe($second, $first, 'apikeys_keys', 'apikeys_usage');
subscribe($first, $second, 'apikeys_usage');

# Waits until both have applied all; what is applied is not sent on.
sub settle
{
	wait_for_apply($second, $first);
	wait_for_apply($first, $second);
}

$first->safe_psql('postgres', q{
	SELECT apikey_plan_set('team', rate_limits => '{"requests_per_minute": 1000000}');
	SELECT apikey_import_many(
		array_agg(digest('k' || n || '-key', 'sha256')), array_agg('k' || n), array_agg('k-...'::text),
		budget_id => apikey_budget_create('all', 1000000, warn_at => '{0.5}'), plan => 'team')
	FROM generate_series(1, 20) n});
wait_for_apply($second, $first);
is(verify($second, 'postgres', 'k1'), 'VALID', 'a key is there once it is applied');

# What is used on one server counts on the other.
$first->safe_psql('postgres', 'SELECT apikey_record_usage(id, 5, 0.5, model => name) FROM apikeys.info');
$second->safe_psql('postgres', 'SELECT apikey_record_usage(id, 7, 0.25, model => name) FROM apikeys.info');
settle();
my $usage = q{SELECT total_requests, total_tokens, total_cost, requests_today, tokens_today, cost_today FROM apikey_usage(} . id_of('k1') . ')';
my $spent = 'SELECT spent FROM apikeys.budget_info';
foreach my $node (@nodes)
{
	my $name = $node->name;

	is($node->safe_psql('postgres', $usage), '2|12|0.75|2|12|0.75', "$name: usage of both, by entries");
	is($node->safe_psql('postgres', $spent), '15.00', "$name: spending of both, by entries");
}
$_->safe_psql('postgres', 'SELECT apikey_flush()') foreach @nodes;
settle();
foreach my $node (@nodes)
{
	my $name = $node->name;

	is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage_entry'), '0', "$name: all is rolled up");
	is($node->safe_psql('postgres', $usage), '2|12|0.75|2|12|0.75', "$name: usage of both, rolled up");
	is($node->safe_psql('postgres', $spent), '15.00', "$name: spending of both, rolled up");
	is($node->safe_psql('postgres', 'SELECT count(*), sum(requests), sum(cost) FROM apikeys.usage_report'), '20|40|15.00', "$name: the report");
}

# A request counts once, on whichever server it is repeated, and is taken back
# where it was recorded.
my $record = 'SELECT apikey_record_usage(' . id_of('k2') . q{, 1, 1, request_id => 'r')};
my $void = 'SELECT apikey_void_usage(' . id_of('k2') . q{, 'r')};
is($first->safe_psql('postgres', $record), 't', 'a request is recorded');
settle();
is($second->safe_psql('postgres', $record), 'f', 'and known to the other server');
is($second->safe_psql('postgres', $void), 'f', 'which does not take it back');
is($first->safe_psql('postgres', $void), 't', 'but its own does');
settle();
is($second->safe_psql('postgres', $record), 'f', 'it is not recorded again');
is($_->safe_psql('postgres', $spent), '15.00', $_->name . ': it costs nothing') foreach @nodes;

# The last use is that on any server.
$first->safe_psql('postgres', 'SELECT apikey_flush()');
my $used = $second->safe_psql('postgres', q{SELECT clock_timestamp() FROM apikey_verify('k3-key', client_ip => '192.0.2.7')});
$second->safe_psql('postgres', 'SELECT apikey_flush()');
settle();
is($first->safe_psql('postgres', "SELECT last_used_at >= timestamptz '$used' - interval '1 second', last_used_ip FROM apikeys.info WHERE name = 'k3'"),
	't|192.0.2.7', 'a use on the other server is known');

# One warns.
$second->safe_psql('postgres', 'SELECT apikey_record_usage(' . id_of('k1') . ', cost => 600000)');
settle();
$first->safe_psql('postgres', 'SELECT apikey_record_usage(' . id_of('k1') . ', cost => 1)');
settle();
is($_->safe_psql('postgres', q{SELECT id >> 48, count(*) FROM apikeys_data.event WHERE action = 'budget_warning' GROUP BY 1}),
	'2|1', $_->name . ': one warning, of the server that spent') foreach @nodes;

# Both record, verify and take back all the time, keys change on the first, and one of
# them is killed again and again.  HOURS=1 does all that an hour brings, at 20 requests a
# second on each server and 10 changes of keys, plans and budgets, as fast as it goes, and
# kills one in each two minutes of that; without it, four minutes of it are done.
$_->safe_psql('postgres', q{
	CREATE TABLE known AS SELECT substr(name, 2)::integer AS n, id FROM apikeys_data.key WHERE name ~ '^k\d+$';
	ALTER TABLE known ADD PRIMARY KEY (n);
	ANALYZE}) foreach @nodes;
my $load = q{
	\set n random(1, 20)
	\set what random(1, 10)
	\set request random(1, 1000000000)
	SELECT code FROM apikey_verify('k' || :n || '-key');
	\if :what <= 6
	SELECT apikey_record_usage(id, :what, 0.01 * :what, model => 'm' || :what) FROM known WHERE n = :n;
	\elif :what <= 8
	SELECT apikey_record_usage(id, 3, 0.03, request_id => :request::text) FROM known WHERE n = :n;
	\else
	BEGIN;
	SELECT apikey_record_usage(id, 3, 0.03, request_id => :request::text) FROM known WHERE n = :n;
	SELECT apikey_void_usage(id, :request::text) FROM known WHERE n = :n;
	COMMIT;
	\endif
};
# Ten changes: three keys are made, one each is deleted, revoked and rotated.
my $changes = q{
	\set n random(5, 20)
	\set value random(1, 1000000000)
	SELECT (apikey_update(id, jsonb_build_object('description', :value::text))).id FROM known WHERE n = :n;
	SELECT (apikey_update(id, jsonb_build_object('metadata', jsonb_build_object('n', :value)))).id FROM known WHERE n = :n;
	SELECT apikey_delete(id) FROM apikey_generate('short-lived', expires_at => 'infinity') k(id, raw_key);
	SELECT apikey_revoke(id, 'test') FROM apikey_generate('revoked', expires_at => now() + interval '1 day') k(id, raw_key);
	SELECT apikey_rotate(id) FROM apikey_generate('rotated') k(id, raw_key);
	SELECT (apikey_budget_add(id, 1)).id FROM apikeys.budget_info;
	SELECT apikey_plan_set('team', rate_limits => '{"requests_per_minute": 1000000}', description => :value::text);
};
my $seconds = $ENV{HOURS} ? 3600 * $ENV{HOURS} : 240;
my $piece = $ENV{HOURS} ? 120 : 80;
my %done;

# How often a load was done in all, as pgbench was told, also of one that broke off.
sub transactions_of
{
	my ($run) = @_;

	eval { end_load($run) };
	return $run->{out} =~ /actually processed: (\d+)/ ? $1 : 0;
}

# Does what is missing of a number of transactions of each load, each on its server.
sub do_until
{
	my ($seconds) = @_;
	my %run;

	foreach my $what (['first', $first, $load, 20], ['second', $second, $load, 20], ['changes', $first, $changes, 1])
	{
		my ($name, $node, $script, $rate) = @$what;
		my $missing = $rate * $seconds - ($done{$name} // 0);
		my $clients = $name eq 'changes' ? 1 : 4;

		$run{$name} = start_load($node, 'postgres', $script, '--client', $clients, '--transactions', int($missing / $clients) + 1)
		  if $missing > 0;
	}
	return %run;
}

my $began = Time::HiRes::time();
my ($kills, $hits) = (0, 0);
for (my $upto = $piece; $upto <= $seconds; $upto += $piece)
{
	my $victim = $nodes[ $kills++ % 2 ];
	my %run = do_until($upto);

	# Somewhere in the middle.
	Time::HiRes::sleep(0.3 + rand(1));
	kill_cluster($victim);
	$done{$_} += transactions_of($run{$_}) foreach keys %run;
	$hits++ if $done{ $victim == $first ? 'first' : 'second' } < 20 * $upto;
	$victim->start;
	wait_for_server($_) foreach @nodes;
	%run = do_until($upto);
	$done{$_} += transactions_of($run{$_}) foreach keys %run;
}
note sprintf 'figure: %d s of changes in %d s: %d requests on the first, %d on the second, %d changes, %d kills',
  $seconds, Time::HiRes::time() - $began, @done{qw(first second)}, 10 * $done{changes}, $kills;
cmp_ok($hits, '>', $kills / 2, 'most kills were under load');
cmp_ok($done{$_}, '>=', 20 * $seconds, "all is done on the $_") foreach qw(first second);
cmp_ok($done{changes}, '>=', $seconds, 'and all changes');
settle();
$_->safe_psql('postgres', 'SELECT apikey_flush()') foreach @nodes;
settle();

my $all = q{SELECT i.*, u.day, u.model, u.requests, u.tokens, u.cost
	FROM (SELECT id, name, status, total_requests, total_tokens, total_cost, requests_today FROM apikeys.info) i
	LEFT JOIN apikeys.usage_report u ON u.key_id = i.id ORDER BY i.id, u.day, u.model};
my %same = (
	'keys and their usage' => $all,
	'keys' => 'SELECT * FROM apikeys_data.key ORDER BY id',
	'plans' => 'SELECT * FROM apikeys_data.plan ORDER BY name',
	'budgets' => 'SELECT id, spent, remaining, added FROM apikeys.budget_info',
	'events' => 'SELECT * FROM apikeys_data.event ORDER BY id',
	'requests' => 'SELECT * FROM apikeys_data.usage_request ORDER BY key_id, request_id, node',
	'rows of usage' => 'SELECT * FROM apikeys_data.usage ORDER BY key_id, node',
	'rows of days' => 'SELECT * FROM apikeys_data.usage_day ORDER BY key_id, day, model, node',
	'rows of periods' => 'SELECT * FROM apikeys_data.budget_period ORDER BY budget_id, started_at, node');

cmp_ok($first->safe_psql('postgres', 'SELECT sum(total_requests) FROM apikeys_data.usage'), '>', 500, 'much was recorded');
cmp_ok($second->safe_psql('postgres', 'SELECT count(*) FROM apikeys_data.usage WHERE node = 2 AND total_requests > 1'), '>=', 20, 'on the second, too');
foreach my $name (sort keys %same)
{
	my @rows = map { $_->safe_psql('postgres', $same{$name}) } @nodes;

	ok($rows[0] eq $rows[1], "after $kills crashes both have the same $name")
	  or diag "first:\n" . substr($rows[0], 0, 2000) . "\nsecond:\n" . substr($rows[1], 0, 2000);
}
is_sound($_, 'postgres', $_->name) foreach @nodes;
foreach my $node (@nodes)
{
	is(count_in_log($node, qr/ERROR:.*(?:duplicate key|violates)/), 0, $node->name . ': no conflict');
	$node->stop;
}
done_testing();
