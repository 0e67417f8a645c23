
# What watches a server, with the real exporters: the metrics that they make of the
# queries under examples/monitoring, the alerts and the dashboard on them, and the
# queries for people in psql.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use FeedTest;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', 'unix_socket_permissions = 0777', 'wal_level = replica', 'max_wal_senders = 8', 'hot_standby = on');
my $monitoring = 'examples/monitoring';

# The sizes that doc/operations.md and doc/feed.md tell are those of the server.
sub is_as_large
{
	my ($what, $page, $expected, $condition) = @_;

	is($node->safe_psql('postgres', qq{
		SELECT abs(sum(allocated_size) - ($expected)) < 150000 FROM pg_shmem_allocations WHERE $condition}), 't', "$page: $what");
}
my ($each, $fixed) = slurp_file('doc/operations.md') =~ /^\| shared memory \| `apikeys.max_tracked_keys` \* (\d+) bytes \+ ([\d.]+) MB \+ `apikeys.cache_memory`/m or die 'no size';
is_as_large('shared memory', 'doc/operations.md',
	"current_setting('apikeys.max_tracked_keys')::bigint * $each + 1000000 * $fixed + pg_size_bytes(current_setting('apikeys.cache_memory'))",
	"name LIKE 'apikeys %'");
($each, $fixed) = slurp_file('doc/feed.md') =~ /^\| shared memory \| (\d+) bytes for each of `apikeys.max_tracked_keys`, and ([\d.]+) MB/m or die 'no size';
is_as_large('shared memory', 'doc/feed.md', "current_setting('apikeys.max_tracked_keys')::bigint * $each + 1000000 * $fixed", "name = 'apikeys feed'");

# The role as doc/operations.md makes it.
my ($rights) = slurp_file('doc/operations.md') =~ /^```sql\n(CREATE ROLE monitoring.*?)^```$/ms or die 'no role';
$node->safe_psql('postgres', $rights);

# What there is to see.
$node->safe_psql('postgres', q{
	SELECT apikey_generate('sooner', expires_at => now() + interval '1 day');
	SELECT apikey_import(sha256('old'), 'old', 'o...', created_at => now() - interval '1 year');
	SELECT apikey_import(sha256('known'), 'known', 'k...', rate_limits => '{"requests_per_minute": 1}');
	SELECT apikey_record_usage(id, tokens => 10, cost => 0.5) FROM apikeys.info WHERE name = 'known';
	SELECT code FROM apikey_verify('known');
	SELECT code FROM apikey_verify('known');
	SELECT code FROM apikey_verify('none');
	SELECT code FROM apikey_verify('none')});

sub has { my ($command) = @_; return grep { -x "$_/$command" } split(/:/, $ENV{PATH}), '/usr/bin' }

# Starts an exporter; returns what it shows once that matches.
sub metrics
{
	my ($wanted, $port, $environment, @command) = @_;
	my ($out, $text) = ('', '');

	local %ENV = (%ENV, %$environment);
	my $run = IPC::Run::start(\@command, '<', \undef, '>&', \$out);
	wait_until("@command shows its metrics", sub {
		$run->pump_nb;
		die "$command[0] has ended:\n$out" unless $run->pumpable;
		$text = HTTP::Tiny->new(timeout => 10)->get("http://127.0.0.1:$port/metrics")->{content};
		return $text =~ $wanted;
	});
	$run->kill_kill;
	return $text;
}

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $text = '';

SKIP:
{
	skip 'prometheus-postgres-exporter is not installed', 1 unless has('prometheus-postgres-exporter');

	$text = metrics(qr/^apikeys_keys_active/m, $port,
		{ DATA_SOURCE_NAME => 'user=monitoring dbname=postgres sslmode=disable host=' . $node->host . ' port=' . $node->port },
		'prometheus-postgres-exporter', "--extend.query-path=$monitoring/queries.yaml",
		"--web.listen-address=127.0.0.1:$port", '--disable-default-metrics', '--disable-settings-metrics',
		'--no-collector.database', '--no-collector.bgwriter');

	my $value = sub { my ($metric) = @_; return $text =~ /^\Q$metric\E(?:\{[^}]*\})? (\S+)$/m ? $1 : 'none' };
	my %by_code = $text =~ /^apikeys_verifies_total\{code="(\w+)"[^}]*\} (\S+)$/mg;
	my %expected = map { split /\|/ } split /\n/, $node->safe_psql('postgres', q{
		SELECT upper(key) || '|' || value FROM jsonb_each_text((SELECT to_jsonb(s) FROM apikeys.stats s))
		WHERE key IN ('valid', 'not_found', 'revoked', 'expired', 'disabled', 'forbidden', 'insufficient_permissions',
			'rate_limited', 'budget_exceeded')});

	is_deeply(\%by_code, \%expected, 'verifies are shown by code');
	is("$by_code{VALID} $by_code{RATE_LIMITED} $by_code{NOT_FOUND}", '1 1 2', '... as they were');
	is($value->('apikeys_shared_memory'), 1, 'a flag is a number');
	is($value->('apikeys_cache_misses_total'), stats($node, 'cache_misses'), 'a counter is that of the view');
	is($value->('apikeys_entries_free') + $value->('apikeys_entries_used'), 65536, 'the size of the table');
	is_deeply([ map { $value->("apikeys_keys_$_") } qw(active expiring unused) ], [ 3, 1, 1 ], 'keys are counted');
	is($value->('pg_exporter_user_queries_load_error'), $text =~ /pg_exporter_user_queries_load_error/ ? 0 : 'none', 'the queries are loaded');

	# Every figure of the view is there, but for those that are no number or are shown by code.
	my @columns = split /\n/, $node->safe_psql('postgres', q{
		SELECT attname FROM pg_attribute WHERE attrelid = 'apikeys.stats'::regclass AND attnum > 0
			AND attname NOT IN ('since', 'last_flush_at', 'last_flush_error', 'last_flush_error_at',
				'feed_state', 'feed_succeeded_at', 'feed_lag', 'feed_error', 'feed_error_at')});
	is(join(' ', grep { !exists $by_code{ uc $_ } && $text !~ /^apikeys_${_}(?:_total)?[ \{]/m } @columns), '', 'each column of apikeys.stats is a metric');
}

# Names in alerts and in the dashboard are names of metrics.
my $alerts = slurp_file("$monitoring/alerts.yml");
my $dashboard = slurp_file("$monitoring/dashboard.json");
my %defined = map { $_ => 1 } $text =~ /^(apikeys_\w+)/mg;

SKIP:
{
	skip 'there are no metrics', 1 unless %defined;

	is(join(' ', grep { !$defined{$_} } join(' ', $alerts =~ /expr: (.*?)\n +(?:for|labels)/msg) =~ /\b(apikeys_\w+)/g), '', 'alerts name metrics');
	is(join(' ', grep { !$defined{$_} } $dashboard =~ /\b(apikeys_\w+)/g), '', 'the dashboard names metrics');
}
my @panels = @{ JSON::PP->new->utf8->decode($dashboard)->{panels} };
cmp_ok(scalar @panels, '>=', 10, 'the dashboard has panels');
is(scalar(grep { !@{ $_->{targets} } } @panels), 0, '... each with a query');

my ($failures) = grep { $_->{title} eq 'Flushes that failed' } @panels;
is(join(' ', sort map { $_->{expr} =~ /(apikeys_\w+)/g } @{ $failures->{targets} }),
	'apikeys_flush_errors_total apikeys_workers_not_started_total', 'failures are drawn beside nothing else');

# Each alert is tried: it fires, and it does not.
my $tests = slurp_file("$monitoring/alerts_test.yml");
foreach my $name ($alerts =~ /- alert: (\w+)/g)
{
	like($tests, qr/alertname: $name\n +eval_time: \S+\n +exp_alerts/, "$name has a test in which it fires");
	like($tests, qr/\{alertname: $name, eval_time: \S+\}/, "... and one in which it does not");
	like(slurp_file('doc/operations.md'), qr/`$name`/, '... and doc/operations.md says what to do');
}

SKIP:
{
	skip 'promtool is not installed', 1 unless has('promtool');

	command_ok([ 'promtool', 'check', 'rules', "$monitoring/alerts.yml" ], 'promtool takes the rules');
	command_ok([ 'promtool', 'test', 'rules', "$monitoring/alerts_test.yml" ], 'promtool: they fire when they should');
	foreach my $panel (@panels)
	{
		foreach my $target (@{ $panel->{targets} })
		{
			my $file = "$PostgreSQL::Test::Utils::tmp_check/rule.yml";
			my $expression = $target->{expr} =~ s/\$__rate_interval/5m/gr;

			unlink $file;
			append_to_file($file, JSON::PP->new->encode({ groups => [ { name => 'x', rules => [ { record => 'x', expr => $expression } ] } ] }));
			command_ok([ 'promtool', 'check', 'rules', $file ], "promtool takes a query of \"$panel->{title}\"");
		}
	}
}

SKIP:
{
	skip 'prometheus-sql-exporter is not installed', 1 unless has('prometheus-sql-exporter');

	my $config = "$PostgreSQL::Test::Utils::tmp_check/sql_exporter.yml";
	my $url = sprintf 'postgres://monitoring@/postgres?host=%s&port=%s&sslmode=disable', $node->host, $node->port;

	append_to_file($config, slurp_file("$monitoring/sql_exporter.yml") =~ s{^( +- )postgres://.*$}{$1'$url'}mr);
	$port = PostgreSQL::Test::Cluster::get_free_port();
	my $shown = metrics(qr/^sql_apikeys\{.*col="refused"/m, $port, {},
		'prometheus-sql-exporter', "-config.file=$config", "-web.listen-address=127.0.0.1:$port");
	like($shown, qr/^sql_apikeys_verifies\{(?=.*code="RATE_LIMITED")(?=.*col="total").*\} 1$/m, 'sql_exporter shows verifies by code');
	like($shown, qr/^sql_apikeys\{(?=.*col="dropped").*\} 0$/m, '... and other figures');
}

# On a standby that cannot tell anybody of its use, and never could, the lag grows.
my ($query) = slurp_file("$monitoring/queries.yaml") =~ /^apikeys:\n  query: \|\n(.*?)^  metrics:/ms or die 'no query';
my $standby = new_standby('standby', $node, q{apikeys.primary_conninfo = 'host=/nowhere'});
wait_for($standby, 'postgres', q{SELECT feed_state = 'down' FROM apikeys.stats}, 'a standby cannot reach its primary');
is($standby->safe_psql('postgres', "SELECT feed_lag IS NULL FROM apikeys.stats"), 't', 'control: it never could');
is($standby->safe_psql('postgres', "SELECT feed_lag_seconds > 0 FROM ($query) q"), 't', '... and has a lag');
is($node->safe_psql('postgres', "SELECT feed_lag_seconds FROM ($query) q"), '0', 'a primary has none');
$standby->stop;

# For people in psql.
$node->safe_psql('postgres', q{CREATE ROLE reader; SELECT apikey_grant('reader', 'read')});
like($node->safe_psql('postgres', "\\i examples/apikeys.psql\n:keys"), qr/\|k...\|known\|active\|.*\n.*\|old\|/s, ':keys');
like($node->safe_psql('postgres', "\\i examples/apikeys.psql\n:expiring"), qr/^[^|]*\|sooner\|\|[^|]+\|(23:59:00|1 day)[^\n]*\z/, ':expiring');
like($node->safe_psql('postgres', "\\i examples/apikeys.psql\n:unused"), qr/^[^|]*\|old\|\|[^|]+\|\z/, ':unused');
like($node->safe_psql('postgres', "\\i examples/apikeys.psql\n:top"), qr/^[^|]*\|known\|1\|10\|0\.5\z/, ':top');
like($node->safe_psql('postgres', "SET ROLE reader;\n\\i examples/apikeys.psql\n:limits"), qr/^known\|requests_per_minute\|1\|1\|0\|100\|00:0/, ':limits, as a role with level read');

$node->stop;
done_testing();
