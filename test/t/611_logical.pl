
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

# An hour, shortened: both record, verify and take back all the time, keys change
# on the first, and both are killed again and again.
my $load = q{
	\set key random(1, 20)
	\set what random(1, 10)
	\set request random(1, 1000000000)
	SELECT code FROM apikey_verify('k' || :key || '-key');
	\if :what <= 6
	SELECT apikey_record_usage(id, :what, 0.01 * :what, model => 'm' || :what) FROM apikeys.info WHERE name = 'k' || :key;
	\elif :what <= 8
	SELECT apikey_record_usage(id, 3, 0.03, request_id => :request::text) FROM apikeys.info WHERE name = 'k' || :key;
	\else
	BEGIN;
	SELECT apikey_record_usage(id, 3, 0.03, request_id => :request::text) FROM apikeys.info WHERE name = 'k' || :key;
	SELECT apikey_void_usage(id, :request::text) FROM apikeys.info WHERE name = 'k' || :key;
	COMMIT;
	\endif
};
my $changes = q{
	\set key random(5, 20)
	\set n random(1, 1000000000)
	SELECT (apikey_update(id, jsonb_build_object('description', :n::text))).id FROM apikeys.info WHERE name = 'k' || :key;
	SELECT apikey_delete(id) FROM apikey_generate('short-lived', expires_at => 'infinity') k(id, raw_key);
	SELECT apikey_revoke(id, 'test') FROM apikey_generate('revoked', expires_at => now() + interval '1 day') k(id, raw_key);
	SELECT apikey_rotate(id) FROM apikey_generate('rotated') k(id, raw_key);
	SELECT (apikey_budget_add(id, 1)).id FROM apikeys.budget_info;
};

foreach my $round (1 .. 3)
{
	my @loads;

	push @loads, start_load($_, 'postgres', $load, '--time', 4, '--rate', 200, '--client', 4) foreach @nodes;
	push @loads, start_load($first, 'postgres', $changes, '--time', 4, '--rate', 10);
	sleep 2;
	kill_cluster($round == 2 ? $second : $first);
	end_load($_) foreach @loads;
	($round == 2 ? $second : $first)->start;
	wait_for_server($_) foreach @nodes;
}
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

	ok($rows[0] eq $rows[1], "after three crashes both have the same $name")
	  or diag "first:\n" . substr($rows[0], 0, 2000) . "\nsecond:\n" . substr($rows[1], 0, 2000);
}
is_sound($_, 'postgres', $_->name) foreach @nodes;
foreach my $node (@nodes)
{
	is(count_in_log($node, qr/ERROR:.*(?:duplicate key|violates)/), 0, $node->name . ': no conflict');
	$node->stop;
}
done_testing();
