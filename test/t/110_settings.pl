
# Bad settings are refused, at start, at reload and by ALTER SYSTEM, with a
# message that names the setting.  Good ones are taken.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;

# [setting, value, at its default]
my @bad = (
	[ 'apikeys.last_used_throttle', '-2', '5min' ],
	[ 'apikeys.last_used_throttle', 'often', '5min' ],
	[ 'apikeys.last_used_throttle', '100000000d', '5min' ],
	[ 'apikeys.flush_interval', '0', '10s' ],
	[ 'apikeys.flush_interval', '9ms', '10s' ],
	[ 'apikeys.flush_interval', '-1', '10s' ],
	[ 'apikeys.usage_durability', 'off', 'sync' ],
	[ 'apikeys.max_lifetime', '-1', '0' ],
	[ 'apikeys.node', '-1', '0' ],
	[ 'apikeys.node', '32768', '0' ],
	[ 'apikeys.expiry_notice', 'soon', '' ],
	[ 'apikeys.expiry_notice', '7 days,', '' ],
	[ 'apikeys.expiry_notice', '-1 day', '' ],
	[ 'apikeys.expiry_notice', '1 day, 24 hours', '' ],
	[ 'apikeys.expiry_notice', '1d, 2d, 3d, 4d, 5d, 6d, 7d, 8d, 9d', '' ],
	[ 'apikeys.expiry_notice', 'soon, 1 day', '' ],
	[ 'apikeys.expiry_notice', '7 days, infinity', '' ],
	[ 'apikeys.expiry_notice', '200000000 years', '' ],
	[ 'apikeys.expiry_notice', '0' x 58 . '1 days', '' ],
	[ 'apikeys.expiry_notice', '1 day,' . ' ' x 1000, '' ],
	[ 'apikeys.cache_memory', '1kB', '32MB' ],
	[ 'apikeys.notify_channel', 'x' x 64, '' ],
	[ 'apikeys.primary_conninfo', 'nowhere', '' ],
	[ 'apikeys.max_tracked_keys', '0', '65536' ],
	[ 'apikeys.max_tracked_keys', '15', '65536' ],
	[ 'apikeys.max_tracked_keys', '-1', '65536' ],
	[ 'apikeys.max_tracked_keys', '100000000000', '65536' ]);

my $node = new_node('main');
my $conf = $node->data_dir . '/postgresql.conf';
my $good_conf = slurp_file($conf);
my $message = qr/invalid value for parameter|is outside the valid range for parameter/;

sub set_conf
{
	my (@lines) = @_;

	open my $handle, '>', $conf or die "$conf: $!";
	print $handle join "\n", $good_conf, @lines, '';
	close $handle;
}

# At start: the server stops, or goes on without the value.  The log says why.
foreach my $case (@bad)
{
	my ($name, $value, $default) = @$case;
	my $log_before = -s $node->logfile // 0;

	set_conf("$name = '$value'");
	if ($node->start(fail_ok => 1))
	{
		is($node->safe_psql('postgres', "SHOW $name"), $default, "start: $name = $value is not taken");
		$node->stop;
	}
	else
	{
		pass("start: $name = $value is refused");
	}
	cmp_ok(count_in_log($node, qr/(?:$message).*"$name"|"$name".*(?:$message)/, $log_before),
		'>', 0, "start: the log says so");
}

# At reload: what was in force stays.
set_conf();
$node->start;
add_extension($node, 'postgres');
foreach my $case (@bad)
{
	my ($name, $value, $default) = @$case;
	my $log_before = -s $node->logfile;

	set_conf("$name = '$value'");
	$node->reload;
	ok($node->wait_for_log(qr/(?:$message).*"$name"|"$name".*(?:$message)/, $log_before),
		"reload: $name = $value is refused");
	is($node->safe_psql('postgres', "SHOW $name"), $default, 'reload: what was in force stays');
}
set_conf();
$node->reload;

foreach my $case (@bad)
{
	my ($name, $value, $default) = @$case;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', "ALTER SYSTEM SET $name = '$value'",
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	like($stderr, qr/ERROR:  22023: $message.*"$name"|ERROR:  22023: .*"$name"/, "ALTER SYSTEM: $name = $value is refused");
}

# One user's session does not decide over the others.
foreach my $name (map { "apikeys.$_" } qw(last_used_throttle flush_interval max_tracked_keys))
{
	my ($ret, $stdout, $stderr) = $node->psql('postgres', "SET $name = 100",
		extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	like($stderr, qr/ERROR:  55P02/, "SET $name is refused");
}
my ($ret, $stdout, $stderr) = $node->psql('postgres', 'SET apikeys.throttle = 1');
like($stderr, qr/ERROR.*apikeys\.throttle/, 'a setting that does not exist is refused');

# A reload takes good ones, but for the size of the table.
my $log_before = -s $node->logfile;
set_conf(
	'apikeys.last_used_throttle = -1',
	"apikeys.flush_interval = '10ms'",
	'apikeys.max_tracked_keys = 16');
$node->reload;
ok($node->wait_for_log(qr/"apikeys\.max_tracked_keys" cannot be changed without restarting/, $log_before),
	'reload: the table keeps its size');
wait_for($node, 'postgres', q{
	SELECT current_setting('apikeys.last_used_throttle') = '-1'
	   AND current_setting('apikeys.flush_interval') = '10ms'
	   AND current_setting('apikeys.max_tracked_keys') = '65536'}, 'reload: the others are taken');
is(stats($node, 'entries_free'), 65536, 'the default size');
$node->restart;
is(stats($node, 'entries_free'), 16, 'restart: the table has the new size');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name LIKE 'apikeys.%'
		AND (short_desc = '' OR short_desc IS NULL)"),
	0, 'each setting says what it is for');

# The flush worker follows a reload, also while it sleeps a long sleep.
set_conf('apikeys.last_used_throttle = 0', "apikeys.flush_interval = '1h'");
$node->restart;
add_keys($node, 'postgres', 'key');
verify($node, 'postgres', 'key');
is(stats($node, 'pending'), 1, 'a use waits for an hour');
set_conf('apikeys.last_used_throttle = 0', "apikeys.flush_interval = '10ms'");
$node->reload;
wait_for($node, 'postgres', 'SELECT pending = 0 AND flushes > 0 FROM apikeys.stats', 'the flush worker wakes up at a reload');
isnt(stored_use($node, 'postgres', 'key'), '', 'and writes it');

$node->stop;
done_testing();
