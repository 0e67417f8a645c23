
# The function that other servers call, with messages made by hand: what is no message
# is refused and changes nothing, a batch that comes twice counts once, and who may
# call it may do nothing else.  It takes no transaction id and works in a read-only
# transaction.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', "apikeys.flush_interval = '1h'", 'apikeys.max_tracked_keys = 200');
$node->safe_psql('postgres', q{
	CREATE ROLE feeder LOGIN;
	SELECT apikey_grant('feeder', 'feed');
	SELECT apikey_import(digest('limited-key', 'sha256'), 'limited', 'x', rate_limits => '{"requests_per_day": 100}')});
my $key = $node->safe_psql('postgres', 'SELECT id FROM apikeys_data.key') =~ tr/-//dr;
# The id of a limit is known to whoever is told of its use.
my $now = $node->safe_psql('postgres', q{SELECT (extract(epoch FROM now() - '2000-01-01 00:00+00') * 1000000)::bigint});
my $day = 86_400_000_000;

# An item is of this key, now, if it does not say otherwise.
sub item { return feed_item(owner => $key, start => $now, @_) }
sub server { return feed_server(since => $now, @_) }
sub request { return feed_request(at => $now, @_) }

my $feeder = $node->background_psql('postgres', extra_params => [ '-U', 'feeder' ], on_error_stop => 0);

sub ask
{
	return feed_exchange($feeder, at => $now, @_);
}

sub refused
{
	my ($bytes) = @_;
	my $hex = unpack('H*', $bytes);
	my ($ret, $out, $err) = $node->psql('postgres', "SELECT apikeys.feed_exchange('\\x$hex')",
		extra_params => [ '-U', 'feeder', '-v', 'VERBOSITY=sqlstate' ]);

	return $err =~ /ERROR:  (\w+)/ ? $1 : 'not refused';
}

sub used
{
	return $node->safe_psql('postgres', q{SELECT used FROM apikey_limits((SELECT id FROM apikeys_data.key WHERE name = 'limited'))});
}

# ------------------------------------------------------------- the protocol

$node->safe_psql('postgres', q{SELECT apikey_verify('limited-key')});
my $answer = ask(kind => FEED_HELLO);
ok(!$answer->{accepted}, 'a stranger is told who answers');
my $epoch = $answer->{epoch};
isnt($epoch, 0, '... a server with a number');
ok(!ask(epoch => $epoch + 1, items => [ item(start => $now + 1) ])->{accepted}, 'of another server nothing is taken');

$answer = ask(epoch => $epoch, batch => 1);
ok($answer->{accepted}, 'whoever is known is accepted');
is(scalar @{ $answer->{items} }, 2, '... and told what has changed');
is($answer->{next}, -1, '... all of it');
my ($window) = grep { $_->{limit} != 0 } @{ $answer->{items} };
is("$window->{owner} $window->{seconds} $window->{unit} $window->{current}", "$key 86400 0 1", 'the window of the limit');
my %of_limit = (limit => $window->{limit}, seconds => 86400, unit => 0);

$answer = ask(epoch => $epoch, batch => 2, since => $answer->{upto}, items => [ item(%of_limit, current => 10) ]);
is(used(), 11, 'what was added counts');
is($answer->{items}[0]{start} ne '' && $answer->{nitems}, 2, '... and is told back, as a state');
ask(epoch => $epoch, batch => 2, items => [ item(%of_limit, current => 10) ]);
is(used(), 11, 'the same batch counts once');
is(refused(request(node => $epoch, epoch => $epoch)), '55000', 'a server that follows itself');
is(refused(request(epoch => $epoch, batch => 3, servers => [ server(), server(node => $epoch) ])), '55000', '... by another');
ok(!ask(node => 99, servers => [ server(node => $epoch) ])->{accepted}, 'who was told by this one before is told whom it asks');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys.servers'), 1, '... and not known yet');
is(ask(epoch => $epoch, batch => 3, since => $answer->{upto}, next => -1)->{nitems}, 0, 'who has read all is told nothing');
is(ask(epoch => $epoch, batch => 4, since => 1 << 60)->{nitems}, 0, 'a position that was never given');
ask(epoch => $epoch, batch => 5, items => [ item(%of_limit, current => -4) ]);
is(used(), 7, 'what was taken back counts no more');
ask(epoch => $epoch, batch => 6, items => [ item(%of_limit, current => -1000, previous => -1000) ]);
is(used(), 0, 'never less than nothing');
ask(epoch => $epoch, kind => FEED_WHOLE, items => [ item(%of_limit, current => 50) ]);
is(used(), 50, 'a whole window that is more is taken');
ask(epoch => $epoch, kind => FEED_WHOLE, items => [ item(%of_limit, current => 20) ]);
is(used(), 50, 'one that is less is not');
# A reservation of a moment before was counted in this bucket, as the server was told later.
ask(epoch => $epoch, batch => 50, at => $now - 10_000_000, items => [ item(%of_limit, start => $now - 10_000_000, current => -5) ]);
is(used(), 45, 'what is taken back of a moment before the window begins');
ask(epoch => $epoch, batch => 51, items => [ item(%of_limit, current => 5) ]);
ask(epoch => $epoch, batch => 50, items => [ item(%of_limit, current => 30) ]);
is(used(), 50, 'one that comes late, after the next, counts once');
ask(epoch => $epoch, batch => 52, items => [ item(%of_limit, seconds => 60, current => 20) ]);
is(used(), 50, 'nor one of another length under the same number');
ask(epoch => $epoch, batch => 53, items => [ item(%of_limit, current => 9_223_372_036_854_775_807) ]);
is($node->safe_psql('postgres', q{SELECT code FROM apikey_verify('limited-key')}), 'RATE_LIMITED', 'as much as there is');
ask(epoch => $epoch, batch => 54, items => [ item(%of_limit, current => -9_223_372_036_854_775_807) ]);
# What is taken back of now, and was counted in the bucket before, which counts half.
ask(epoch => $epoch, kind => FEED_WHOLE, items => [ item(%of_limit, start => $now - $day / 2, previous => 5000) ]);
ask(epoch => $epoch, batch => 56, items => [ item(%of_limit, current => -1000) ]);
my $used = used();
ok($used > 1900 && $used <= 2000, "a bucket that lacks it leaves it to the other: $used");

ask(epoch => $epoch, batch => 57, items => [ item(%of_limit, unit => 1, current => 20) ]);
is(used(), $used, 'nor is one of another unit taken');
$answer = ask(epoch => $epoch, batch => 58, upto => 1 << 60, next => 5);
is("$answer->{nitems} $answer->{next}", '2 -1', 'a pass that was never begun begins at the start');
cmp_ok($answer->{upto}, '<', 1 << 60, '... with a position of its own');

ask(epoch => $epoch, batch => 59, items => [ item(start => $now + 365 * $day, ip => '0123') ]);
is($node->safe_psql('postgres', 'SELECT last_used_at <= clock_timestamp(), last_used_ip FROM apikeys.info'), 't|123::', 'a use in the future was now');
is($node->safe_psql('postgres', 'SELECT pending > 0 FROM apikeys.stats'), 't', 'it is to be stored');

# What is over is not told, though it is still in memory.
$node->safe_psql('postgres', q{
	SELECT apikey_import(digest('short-key', 'sha256'), 'short', 'x', rate_limits => '{"windows": [{"per": "1 second", "requests": 5}]}');
	SELECT apikey_verify('short-key')});
my $short = $node->safe_psql('postgres', "SELECT id FROM apikeys_data.key WHERE name = 'short'") =~ tr/-//dr;
sleep 3;
$answer = ask(epoch => $epoch, batch => 60);
is(join(' ', map { $_->{limit} == 0 ? 'use' : 'window' } grep { $_->{owner} eq $short } @{ $answer->{items} }), 'use', 'a window that is over');

# A server that notes no last use takes those alone that decide how long a key may be idle.
sub set_throttle
{
	my ($value) = @_;

	$node->append_conf('postgresql.conf', "apikeys.last_used_throttle = $value");
	$node->reload;
	wait_until("a throttle of $value", sub { $feeder->query_safe('SHOW apikeys.last_used_throttle') eq $value });
}

my $throttle = $feeder->query_safe('SHOW apikeys.last_used_throttle');
my $entries = stats($node, 'entries_used');
set_throttle('-1');
ask(epoch => $epoch, batch => 61, items => [ item(owner => sprintf('%032x', 7)) ]);
is(stats($node, 'entries_used'), $entries, 'a last use is not taken where none is noted');
ask(epoch => $epoch, batch => 62, items => [ item(owner => sprintf('%032x', 7), current => 3600) ]);
is(stats($node, 'entries_used'), $entries + 1, '... but of a key that may not be idle for long');
my $last_use = "SELECT last_used_at, last_used_ip FROM apikeys.info WHERE name = 'short'";
my $before = $node->safe_psql('postgres', $last_use);
my %use = (owner => $short, start => $now + $day, ip => '04' . '00' x 11 . 'c0000201');
ask(epoch => $epoch, batch => 63, items => [ item(%use, current => 60) ]);
isnt($node->safe_psql('postgres', $last_use), $before, '... it advances');
like($node->safe_psql('postgres', $last_use), qr/\|$/, '... without the address');
set_throttle($throttle);

# A server that is named by another has not told anything itself: it begins anew, as one that says so does.
my $other = $node->background_psql('postgres', extra_params => [ '-U', 'feeder' ], on_error_stop => 0);
feed_exchange($other, at => $now, node => 7, servers => [ server(node => 8) ]);
ok(!feed_exchange($other, at => $now, node => 8, epoch => $epoch)->{accepted}, 'a server that is only named is not known');
ok(feed_exchange($other, at => $now, node => 8, epoch => $epoch, batch => 5)->{accepted}, '... once it has asked, it is');
ok(!feed_exchange($other, at => $now, node => 8, epoch => $epoch, kind => FEED_HELLO)->{accepted}, '... it begins anew');
feed_exchange($other, at => $now, node => 8, epoch => $epoch, batch => 1, items => [ item(%of_limit, current => 1000) ]);
cmp_ok(used(), '>', $used + 900, '... and its first batch counts');
$other->quit;

# ---------------------------------------------------------------- no message

my @bad = (
	'', 'x', request(version => 2), substr(request(), 0, -1), request() . 'x',
	request(kind => 3), request(kind => -1), request(next => -2), request(at => -9_223_372_036_854_775_808),
	request(items => [ item(start => 9_223_372_036_854_775_807) ]),
	request(items => [ item(current => -1) ]), request(items => [ item(current => 1 << 40) ]),
	request(items => [ item(limit => 1) ]), request(items => [ item(limit => 1, seconds => 60, unit => 3) ]),
	request(items => [ item(limit => 1, seconds => 60, unit => -1) ]), request(items => [ item(limit => 1, seconds => 32 * 86_400) ]),
	request(items => [ item(%of_limit, current => -9_223_372_036_854_775_808) ]),
	request(items => [ (item()) x 513 ]), request(items => [ (item()) x 1000 ]), request(servers => [ (server()) x 17 ]),
	request(servers => [ server(name => "a\nb") ]), request(servers => [ server(since => 9_223_372_036_854_775_807) ]),
	request(at => 9_223_372_036_854_775_807), request(servers => [ server(name => "a\x7f") ]),
	request(servers => [ server(since => -9_223_372_036_854_775_808) ]),
	request(items => [ item(start => -9_223_372_036_854_775_808) ]),
	request(items => [ item(%of_limit, previous => -9_223_372_036_854_775_808) ]),
	# numbers of servers and of items that are none
	substr(request(), 0, -8) . pack('l> l>', -1, 0), substr(request(), 0, -4) . pack('l>', -1));
my %states;
foreach my $bytes (@bad)
{
	my $state = refused($bytes);
	$states{$state}++;
	diag unpack('H*', substr($bytes, 0, 80)) if $state !~ /^(08P01|22023)$/;
}
is(join(' ', sort keys %states), '08P01 22023', 'what is no message is refused');
my ($ret, $out, $err) = $node->psql('postgres', 'SELECT apikeys.feed_exchange(NULL)', extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($err, qr/ERROR:  22023/, 'null');
is(refused(substr(request(), 0, 4)), '08P01', 'the connection and the server are well');

# --------------------------------------------------------------------- bounds

# Whatever it is told, the table of keys has its size, and others find their way.
foreach my $n (0 .. 3)
{
	ask(epoch => $epoch, batch => 100 + $n, items => [ map { item(owner => sprintf('%032x', 1000 * $n + $_)) } 1 .. 500 ]);
}
is($node->safe_psql('postgres', 'SELECT entries_used <= 200 AND dropped > 1000 FROM apikeys.stats'), 't', 'more keys than there is space for');

my @states = map { refused(request(node => $_, kind => FEED_HELLO)) } 2 .. 65;
is(join(' ', @states[ 0 .. 62 ]), join(' ', ('not refused') x 63), '64 servers');
is($states[63], '53400', 'one more is refused');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikeys.servers'), 64, '... and not shown');
wait_for($node, 'postgres', q{SELECT string_agg(server_id, ' ') = '1' FROM apikeys.servers JOIN pg_stat_activity USING (pid) WHERE usename = 'feeder'},
	'a session is known while it lasts');
is($node->safe_psql('postgres', 'SELECT count(pid) FROM apikeys.servers'), 1, '... and of those that have ended none');

# --------------------------------------------------------------------- rights

is($feeder->query_safe(qq{
	BEGIN READ ONLY;
	SELECT length(apikeys.feed_exchange('\\x${\unpack('H*', request(epoch => $epoch, batch => 200))}')) > 0;
	SELECT pg_current_xact_id_if_assigned() IS NULL;
	COMMIT}), "t\nt", 'it takes no transaction id');
foreach my $sql (
	'SELECT * FROM apikeys.stats', 'SELECT * FROM apikeys.servers', 'SELECT * FROM apikeys.info', 'SELECT * FROM apikeys_data.key',
	q{SELECT apikey_verify('limited-key')}, 'SELECT apikey_flush()')
{
	my ($ret, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'feeder', '-v', 'VERBOSITY=sqlstate' ]);

	like($err, qr/ERROR:  42501/, "the level feed: $sql");
}
$feeder->quit;
wait_for($node, 'postgres', 'SELECT count(pid) = 0 FROM apikeys.servers', 'it is forgotten');
$node->safe_psql('postgres', q{SELECT apikey_revoke_grant('feeder', 'feed')});
is(refused(request()), '42501', 'the level is revoked');

$node->stop;
done_testing();
