
# Listeners on apikeys.notify_channel hear of each event when it is committed,
# of none that is rolled back, and never of a key or its hash.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', 'max_prepared_transactions = 5');

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN');
my $listener = $node->background_psql('postgres');

# What has been sent on a channel since the last call.
sub heard
{
	my ($channel) = @_;
	my $said = $listener->query_safe('SELECT 1');

	return $said =~ /Asynchronous notification "$channel" with payload "(.*)" received/g;
}

sub listen_on
{
	my ($channel) = @_;

	(my $quoted = $channel) =~ s/"/""/g;
	$node->append_conf('postgresql.conf', "apikeys.notify_channel = '$channel'");
	$node->reload;
	$node->poll_query_until('postgres', qq{SELECT current_setting('apikeys.notify_channel') = '$channel'})
	  or die 'no reload';
	$listener->query_safe(qq{LISTEN "$quoted"}) if $channel ne '';
}

sub count_heard { return scalar(my @heard = heard(@_)) }

# The payload, as the table has it.
sub is_event
{
	my ($payload, $test_name) = @_;

	$payload =~ s/'/''/g;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql('postgres', qq{
			SET timezone = 'UTC';
			SELECT to_jsonb(e) = '$payload'::jsonb FROM apikeys_data.event e WHERE id = ('$payload'::jsonb ->> 'id')::bigint}),
		't', $test_name);
}

my $change = q{SET timezone = 'UTC'; SELECT id FROM apikey_generate('%s', metadata => '{"a": "%s"}')};

# Off, by default.
$listener->query_safe('LISTEN audit');
my $id = $node->safe_psql('postgres', sprintf $change, 'one', 'x');
is(count_heard('.*'), 0, 'off: nothing is sent');

# On: at commit, all that happened, in order.
listen_on('audit');
my @events;
foreach my $sql (sprintf($change, 'two', 'it\'\'s \\"quoted\\" \\\\ and ü'),
	qq{SET timezone = 'UTC'; SELECT apikey_update('$id', '{"name": "three"}')},
	qq{SET timezone = 'UTC'; SELECT id FROM apikey_rotate('$id')},
	qq{SET timezone = 'UTC'; SELECT apikey_delete('$id')},
	q{SET timezone = 'UTC'; SELECT apikey_budget_create('b', 1)},
	q{SET timezone = 'UTC'; SELECT apikey_grant('app', 'manage')})
{
	$node->safe_psql('postgres', $sql);
	my @heard = heard('audit');
	is(scalar @heard, 1, 'one event: ' . ($sql =~ /(apikey_\w+)/)[0]);
	is_event($heard[0], 'it is the event');
	push @events, @heard;
}
is($node->safe_psql('postgres', "SELECT string_agg(member, ' ') FROM json_object_keys('$events[-1]') member"),
	'id at action key_id session_role acting_role client_addr application_name details', 'its members, which doc/rights.md names');
is(join(' ', map { /"action":"(\w+)"/ } @events), 'generate update rotate delete budget_create grant', 'the actions');

# In one form, whatever the settings of the session.
$node->safe_psql('postgres', q{SET timezone = 'Asia/Kolkata'; SELECT id FROM apikey_generate('elsewhere')});
is_event((heard('audit'))[0], 'it is in UTC');

$node->safe_psql('postgres', q{SELECT apikey_generate(n::text) FROM generate_series(1, 100) n});
my @heard = heard('audit');
is(scalar @heard, 100, 'many in one transaction');
is(join(',', map { /"name":\s*"(\d+)"/ } @heard), join(',', 1 .. 100), 'in their order');

# In bulk: the first 64, and that there are more, though some are taken back.
$node->safe_psql('postgres', q{
	UPDATE apikeys_data.key SET team_id = '00000000-0000-0000-0000-00000000000a';
	BEGIN;
	SAVEPOINT s;
	SELECT apikey_revoke_where(team_id => '00000000-0000-0000-0000-00000000000a', reason => 'undone');
	ROLLBACK TO s;
	SELECT apikey_revoke_where(team_id => '00000000-0000-0000-0000-00000000000a', reason => 'many');
	COMMIT});
@heard = heard('audit');
is(scalar(grep { /"action":"revoke"/ } @heard), 0, 'those that a savepoint has taken back count');
is(scalar(grep { /"action":"more_events","key_id":null/ } @heard), 1, 'there are more');
$node->safe_psql('postgres', q{
	UPDATE apikeys_data.key SET revoked_at = NULL, expires_at = created_at;
	UPDATE apikeys_data.key SET expires_at = NULL WHERE length(name) > 2;
	SELECT apikey_cleanup_expired();});
@heard = heard('audit');
is(scalar(grep { /"action":"cleanup".*"key_id":"/ } @heard), 64, 'in bulk: the first 64');
like($heard[-1], qr/"action":"more_events","key_id":null.*"details":null/, '... and that there are more');
is(scalar @heard, 65, '... once');

# By whoever it is done.
$node->safe_psql('postgres', q{SELECT apikey_generate('app')}, extra_params => [ '-U', 'app' ]);
like((heard('audit'))[0], qr/"session_role":"app"/, 'another role');

# Not what did not happen.
$node->safe_psql('postgres', q{BEGIN; SELECT apikey_generate('undone'); ROLLBACK;
	BEGIN; SAVEPOINT s; SELECT apikey_generate('undone'); ROLLBACK TO s; COMMIT});
is(count_heard('audit'), 0, 'nothing that was rolled back');
my $writer = $node->background_psql('postgres');
$writer->query_safe(q{BEGIN; SELECT id FROM apikey_generate('open')});
is(count_heard('audit'), 0, 'nothing before the commit');
$writer->query_safe('COMMIT');
is(count_heard('audit'), 1, 'but then');
$writer->quit;

# No key, no hash.
my ($key, $raw_key) = split /\|/, $node->safe_psql('postgres', q{SELECT id, raw_key FROM apikey_generate('secret')});
my $hash = $node->safe_psql('postgres', "SELECT encode(key_hash, 'hex') FROM apikeys_data.key WHERE id = '$key'");
@heard = heard('audit');
is(scalar @heard, 1, 'a new key is heard of');
unlike($heard[0], qr/\Q$raw_key\E|$hash/, 'and neither raw key nor hash');

# An event that is too long for NOTIFY goes without its details.
$node->safe_psql('postgres', qq{SELECT apikey_update('$key', jsonb_build_object('metadata', jsonb_build_object('m', repeat('x', length))))
	FROM (VALUES (1000), (60000)) l(length)});
@heard = heard('audit');
is(scalar @heard, 2, 'a long event and a longer one');
like($heard[0], qr/"details":\{.*xxx/, 'the long one has its details');
like($heard[1], qr/"action":"update".*"key_id":"$key".*"details":null/, 'the longer one has none');
cmp_ok(length $heard[1], '<', 1000, 'and is short');

# Around the greatest length that NOTIFY takes, 7,999 bytes, there is no error.
$node->safe_psql('postgres', qq{SELECT apikey_update('$key', jsonb_build_object('metadata', jsonb_build_object('m', repeat('x', n))))
	FROM generate_series(3700, 3900) n});
@heard = heard('audit');
is(scalar @heard, 201, 'all are sent');
cmp_ok(scalar(grep { length >= 7998 } @heard), '==', 1, 'one has about the greatest length');
cmp_ok(scalar(grep { /"details":null/ } @heard), '>', 10, 'longer ones have no details');

# A transaction that has sent one cannot be prepared; the server says so.
my ($ret, $stdout, $stderr) = $node->psql('postgres', q{BEGIN; SELECT apikey_generate('prepared'); PREPARE TRANSACTION 'p'});
like($stderr, qr/cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY/, 'it cannot be prepared');

# What comes out of a dump is old news, and what somebody writes by hand is none of ours.
$node->safe_psql('postgres', q{
	CREATE TABLE saved AS SELECT * FROM apikeys_data.event;
	DELETE FROM apikeys_data.event;
	INSERT INTO apikeys_data.event OVERRIDING SYSTEM VALUE SELECT * FROM saved});
is(count_heard('audit'), 0, 'events that are restored are not sent');

# Capitals count, so LISTEN needs quotes.
$node->append_conf('postgresql.conf', "apikeys.notify_channel = 'Keys'");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('apikeys.notify_channel') = 'Keys'}) or die 'no reload';
$listener->query_safe('UNLISTEN *; LISTEN Keys');
$node->safe_psql('postgres', q{SELECT apikey_generate('capitals')});
is(count_heard('.*'), 0, 'LISTEN Keys listens to keys');
$listener->query_safe('LISTEN "Keys"');
$node->safe_psql('postgres', q{SELECT apikey_generate('capitals')});
is(count_heard('Keys'), 1, 'LISTEN "Keys" hears it');

# Another name, an awkward one, and off again; no session decides.
listen_on('Audit "channel"; é');
$node->safe_psql('postgres', q{SELECT apikey_generate('elsewhere')});
is(count_heard('Audit "channel"; é'), 1, 'an awkward name');
($ret, $stdout, $stderr) = $node->psql('postgres', q{SET apikeys.notify_channel = ''}, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($stderr, qr/55P02/, 'not even a superuser changes it for a session');
my $log = -s $node->logfile;
$node->append_conf('postgresql.conf', sprintf "apikeys.notify_channel = '%s'", 'x' x 64);
$node->reload;
ok($node->wait_for_log(qr/invalid value for parameter "apikeys\.notify_channel"/, $log), 'a name that is too long is refused');
listen_on('');
$node->safe_psql('postgres', q{SELECT apikey_generate('off')});
is(count_heard('.*'), 0, 'off again');

$listener->quit;
$node->stop;
done_testing();
