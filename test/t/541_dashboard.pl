
# The dashboard on a real Prometheus, which asks a real exporter of a server under load:
# each panel has something to show, and a picture is made of it.  DASHBOARD_SECONDS is how
# long; "make pictures" takes longer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use Browser;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{DASHBOARD_SECONDS} || 20;
my %program;
foreach my $name ('prometheus', 'prometheus-postgres-exporter')
{
	($program{$name}) = grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/bin';
	plan skip_all => "$name is not installed" if !$program{$name};
}

my $directory = PostgreSQL::Test::Utils::tempdir('prometheus');
my $http = HTTP::Tiny->new(timeout => 10);
my $node = start_node('main', q{apikeys.flush_interval = '1s'}, 'apikeys.max_tracked_keys = 4096', 'unix_socket_permissions = 0777');
my ($rights) = slurp_file('doc/operations.md') =~ /^```sql\n(CREATE ROLE monitoring.*?)^```$/ms or die 'no role';
$node->safe_psql('postgres', $rights);

# ------------------------------------------------- what is watched, and by whom

$node->safe_psql('postgres', q{
	CREATE TABLE client AS
	SELECT g.raw_key, g.id, row_number() OVER () AS n
	FROM apikey_generate_many(1500, 'client', plan => 'premium') g;
	CREATE INDEX ON client (n);
	SELECT count(apikey_update(id, '{"plan": null}')) FROM client WHERE n < 5;
	SELECT count(apikey_update(id, '{"rate_limits": {"requests_per_minute": 30}}')) FROM client WHERE n BETWEEN 5 AND 20;
	SELECT count(apikey_revoke(id)) FROM client WHERE n BETWEEN 21 AND 30;
	SELECT count(*) FROM apikey_generate_many(40, 'short', expires_at => now() + interval '3 days');
	SELECT count(apikey_import(sha256(n::text::bytea), 'old', 'o...', created_at => now() - interval '1 year')) FROM generate_series(1, 12) n});

my $exporter_port = PostgreSQL::Test::Cluster::get_free_port();
my $port = PostgreSQL::Test::Cluster::get_free_port();
append_to_file("$directory/prometheus.yml", qq{
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: apikeys
    static_configs: [{targets: ['127.0.0.1:$exporter_port']}]
});

my @running;
sub run_beside
{
	push @running, IPC::Run::start([@_], '<', \undef, '>', "$PostgreSQL::Test::Utils::log_path/beside-" . @running . '.log', '2>&1');
}

{
	local $ENV{DATA_SOURCE_NAME} = 'user=monitoring dbname=postgres sslmode=disable host=' . $node->host . ' port=' . $node->port;
	run_beside($program{'prometheus-postgres-exporter'}, '--extend.query-path=examples/monitoring/queries.yaml',
		"--web.listen-address=127.0.0.1:$exporter_port", '--disable-default-metrics', '--disable-settings-metrics',
		'--no-collector.database', '--no-collector.bgwriter');
}
run_beside($program{prometheus}, "--config.file=$directory/prometheus.yml", "--storage.tsdb.path=$directory/data",
	"--web.listen-address=127.0.0.1:$port");

# Many good requests, some beyond a limit, some with ended or unknown keys, and changes;
# for a while, somebody tries keys.
append_to_file("$directory/load.sql", q{
\set n random_zipfian(1, 1500, 1.05)
\set wrong random(1, 40)
\set change random(1, 60)
SELECT apikey_check(CASE WHEN :wrong = 1 THEN 'nobody' ELSE raw_key END, tokens => 20) FROM client WHERE n = :n;
\if :change = 1
SELECT status FROM apikey_update((SELECT id FROM client WHERE n = 31 + :n % 1000), '{"metadata": {"seen": true}}');
\endif
});
append_to_file("$directory/guess.sql", "SELECT apikey_check('gw-' || md5(random()::text));\n");
my @pgbench = ('pgbench', '-n', '-h', $node->host, '-p', $node->port);
run_beside(@pgbench, '-c', '2', '-R', '120', '-T', $seconds + 60, '-f', "$directory/load.sql", 'postgres');
run_beside('sh', '-c', "sleep ${\int($seconds / 2)}; exec \"\$@\"", 'sh',
	@pgbench, '-R', '60', '-T', int($seconds / 6), '-f', "$directory/guess.sql", 'postgres');

# --------------------------------------------------------------- what is shown

sub ask
{
	my ($path, %parameters) = @_;
	my $response = $http->get("http://127.0.0.1:$port$path?" . $http->www_form_urlencode(\%parameters));

	return $response->{success} ? JSON::PP->new->decode($response->{content})->{data} : undef;
}

wait_until('Prometheus has what the exporter says', sub {
	my $data = ask('/api/v1/query', query => 'apikeys_keys_active');
	return $data && @{ $data->{result} };
});
my $start = time;
sleep 1 while time < $start + $seconds;
my $end = time;

# As Grafana fills in its variables.
sub filled_in
{
	my ($expression) = @_;
	my $interval = $seconds > 120 ? '30s' : '8s';

	return $expression =~ s/\$__rate_interval/$interval/gr =~ s/\$instance/.*/gr;
}

my $dashboard = JSON::PP->new->utf8->decode(slurp_file('examples/monitoring/dashboard.json'));
foreach my $panel (@{ $dashboard->{panels} })
{
	foreach my $target (@{ $panel->{targets} })
	{
		my $query = filled_in($target->{expr});
		my $data = ask('/api/v1/query_range', query => $query, start => $start, end => $end, step => $seconds / 200);
		my @results = @{ $data->{result} // [] };

		$target->{results} = \@results;
		cmp_ok(scalar(map { @{ $_->{values} } } @results), '>', 10, "$panel->{title}: $target->{legendFormat} has values");
	}
}
my ($outcomes) = grep { $_->{title} eq 'Verifies by outcome' } @{ $dashboard->{panels} };
my %seen = map { $_->{metric}{code} => (sort { $b <=> $a } map { $_->[1] } @{ $_->{values} })[0] } @{ $outcomes->{targets}[0]{results} };
cmp_ok($seen{$_} // 0, '>', 0, "$_ is among the outcomes") foreach qw(VALID RATE_LIMITED REVOKED NOT_FOUND);
my %colour_of = map { $_->{matcher}{options} => $_->{properties}[0]{value}{fixedColor} } @{ $outcomes->{fieldConfig}{overrides} };
my %outcome_of = reverse %colour_of;
is(join(' ', grep { !$colour_of{$_} } sort map { $_->{metric}{code} } @{ $outcomes->{targets}[0]{results} }), '', 'each outcome has a colour');
is(scalar keys %outcome_of, scalar keys %colour_of, '... of its own');

$_->kill_kill foreach reverse @running;

# ---------------------------------------------------------------- the picture

SKIP:
{
	my $browser = Browser->start or skip 'there is no chromedriver', 1;
	my $page = "$directory/dashboard.html";

	append_to_file("$directory/data.js", 'const dashboard = ' . JSON::PP->new->ascii->canonical->encode($dashboard) . ";\n");
	append_to_file($page, slurp_file('test/pictures/dashboard.html'));
	$browser->size(1200, 1280);
	$browser->open("file://$page");
	is($browser->value(q{document.querySelectorAll('section').length}), scalar @{ $dashboard->{panels} }, 'each panel is drawn');
	is($browser->value(q{[...document.querySelectorAll('section')].filter((panel) => !panel.querySelector('path, b')).length}), 0, '... with something in it');
	$browser->picture("$PostgreSQL::Test::Utils::log_path/dashboard.png");
	$browser->stop;
}

$node->stop;
done_testing();
