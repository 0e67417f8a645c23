
# Every bound of doc/bounds.md: what is at it passes, what is beyond is refused
# with 22023 and leaves nothing behind; and whatever is given, a call ends soon
# after it has been cancelled.  What the catalog has and the page has not fails
# as well.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';

my $node = start_node('main');

$node->safe_psql(
	'postgres', q{
	-- A document of so many bytes.
	CREATE FUNCTION doc(bytes int) RETURNS jsonb IMMUTABLE
	RETURN jsonb_build_object('k', repeat('x', bytes - 17));
	-- An object that is nested so deeply.
	CREATE FUNCTION nested(levels int) RETURNS jsonb IMMUTABLE
	RETURN (repeat('{"k":', levels) || '1' || repeat('}', levels))::jsonb;
	CREATE FUNCTION addresses(n int) RETURNS inet[] IMMUTABLE
	RETURN (SELECT array_agg('2001:db8::'::inet + i) FROM generate_series(1, n) i);
	CREATE FUNCTION patterns(n int, bytes int) RETURNS jsonb IMMUTABLE
	RETURN (SELECT jsonb_build_object('custom_permissions', jsonb_agg(rpad(i || '-', bytes, 'x')))
	        FROM generate_series(1, n) i);
	-- As many patterns as there may be; the last is x*.
	CREATE FUNCTION long_list() RETURNS jsonb IMMUTABLE
	RETURN jsonb_insert(patterns(999, 10), '{custom_permissions,999}', '"x*"');
	CREATE FUNCTION window_of(member text, value jsonb) RETURNS jsonb IMMUTABLE
	RETURN jsonb_build_object('windows', jsonb_build_array(jsonb_build_object('per', '1 day', 'requests', 1, member, value)));
	CREATE FUNCTION names(n int, bytes int) RETURNS text[] IMMUTABLE
	RETURN array_fill(repeat('x', bytes), ARRAY[n])});

my $key = $node->safe_psql('postgres', q{SELECT raw_key FROM apikey_generate('k', permissions => long_list())});
my $id = $node->safe_psql('postgres', q{SELECT id FROM apikey_list()});
my $other = $node->safe_psql('postgres', q{SELECT (apikey_generate('to be changed')).id});
my $limited = $node->safe_psql('postgres', q{SELECT raw_key FROM apikey_generate('limited', rate_limits => '{"max_concurrent_requests": 9}')});
my $budget = $node->safe_psql('postgres', q{SELECT apikey_budget_create('b', 1)});

# The SQLSTATE that a statement ends with, or 'ok'.
sub state_of
{
	my ($sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql");

	return $ret == 0 ? 'ok' : ($err =~ /(?:ERROR|FATAL): +(\w{5})$/m)[0] // $err;
}

sub generate { return "SELECT apikey_generate(" . ($_[0] =~ /name/ ? '' : "'n', ") . "$_[0])" }
sub limits { return "SELECT apikey_generate('n', rate_limits => $_[0])" }
sub windows { return limits(q('{"windows": [) . join(', ', @_) . q(]}')) }
sub tower { return $_[0] == 0 ? 'NULL' : "apikey_budget_create('b', parent_id => " . tower($_[0] - 1) . ')' }
sub import_with { return "SELECT apikey_import(sha256(random()::text::bytea), 'n', $_[0])" }
sub import_many { return "SELECT count(m) FROM (SELECT $_[0] AS h, $_[1] AS n, $_[2] AS p FROM generate_series(1, $_[3])) a, apikey_import_many(h::bytea[], n::text[], p::text[]) m" }
sub plan_set { return "SELECT apikey_plan_set($_[0])" }
sub update { return "SELECT apikey_update('$other', $_[0])" }
sub verify_with { return "SELECT code FROM apikey_verify('$key', $_[0])" }
sub reserve_with { return "SELECT code FROM apikey_verify('$limited', reserve => true, $_[0])" }
sub check_with { return "SELECT apikey_check('$key', $_[0])" }
sub login_with { return "SELECT code FROM apikey_login('$key', $_[0])" }
sub request { return "BEGIN; SELECT set_config('request.headers', $_[0], true); SELECT apikey_pre_request(); COMMIT" }
sub path { return request("'{\"x-api-key\": \"$key\"}'") =~ s/;/; SELECT set_config('request.path', $_[0], true);/r }

my $mb = 1024 * 1024;

# For each row of the table of arguments: calls at the bound, calls beyond.
my %bounds = (
	'raw_key' => [
		[ map { "SELECT * FROM apikey_verify(repeat('x', $_))" } 0, 256, 257, 10_000_000 ],
		[] ],
	'model, endpoint' => [ [], [] ],
	'required_permissions, any_permissions' => [
		[ verify_with("required_permissions => names(100, 10000)"), login_with("required_permissions => names(100, 10)"),
		  verify_with("required_permissions => '{}'"), verify_with("any_permissions => names(100, 10000)") ],
		[ verify_with("required_permissions => names(101, 1)"), login_with("required_permissions => names(101, 1)"),
		  verify_with("required_permissions => names(500000, 1)"), verify_with("required_permissions => names(100, 11000)"),
		  verify_with("required_permissions => array_fill(NULL::text, ARRAY[101])"),
		  map { verify_with("any_permissions => names($_)") } '101, 1', '500000, 1', '100, 11000' ] ],
	'client_ip' => [ [ map { verify_with("client_ip => repeat('1', $_)") } 0, 39, 10_000_000 ], [] ],
	'permission of apikey_current_has_permission' => [
		[ "SELECT apikey_current_has_permission(repeat('x', $mb))" ],
		[ "SELECT apikey_current_has_permission(repeat('x', $mb + 1))" ] ],
	'tokens' => [
		[ "SELECT apikey_record_usage('$id', 9223372036854775807)", map { verify_with("tokens => $_"), reserve_with("tokens => $_") } 0, 9223372036854775807 ],
		[ "SELECT apikey_record_usage('$id', -1)", map { verify_with("tokens => $_"), reserve_with("tokens => $_") } -1, '-9223372036854775808' ] ],
	'cost, max_cost' => [
		[ "SELECT apikey_record_usage('$id', cost => 0)", "SELECT apikey_record_usage('$id', cost => 1e18 - 1e-18)",
		  "SELECT apikey_budget_create('b', 1e18 - 1e-18)", "SELECT apikey_budget_update('$budget', '{\"max_cost\": 999999999999999999}')",
		  map { verify_with("cost => $_"), login_with("cost => $_"), reserve_with("cost => $_") } 0, '1e-18', '0.3333333333333333333', '1e18 - 1e-18' ],
		[ "SELECT apikey_record_usage('$id', cost => -1)", "SELECT apikey_record_usage('$id', cost => 1e18)",
		  "SELECT apikey_record_usage('$id', cost => 1e18 - 1e-19)",
		  "SELECT apikey_record_usage('$id', cost => 'NaN')", "SELECT apikey_budget_create('b', 'Infinity')",
		  "SELECT apikey_budget_create('b', 1e18)", "SELECT apikey_budget_update('$budget', '{\"max_cost\": 1e18}')",
		  "SELECT apikey_record_usage('$id', cost => 1e131000)",
		  map { verify_with("cost => $_"), login_with("cost => $_"), reserve_with("cost => $_") }
			-1, '-1e-18', "'NaN'", "'Infinity'", "'-Infinity'", '1e18', '1e131000' ] ],
	'request_id, model of apikey_record_usage' => [
		[ map { "SELECT apikey_record_usage('$id', $_ => repeat(chr(8364), 255))" } qw(request_id model) ],
		[ map { my $what = $_; map { "SELECT apikey_record_usage('$id', $what => repeat('x', $_))" } 0, 256, 50_000_000 }
			qw(request_id model) ] ],
	'name, external_id, plan' => [
		[ generate("name => repeat(chr(8364), 255)"), generate("external_id => repeat('x', 255)"),
		  "SELECT apikey_budget_create(repeat('x', 255), 1)", update("jsonb_build_object('name', repeat('x', 255))"),
		  plan_set("repeat(chr(8364), 255)"), generate("plan => repeat(chr(8364), 255)"), import_with("'x', plan => repeat(chr(8364), 255)"),
		  update("jsonb_build_object('plan', repeat(chr(8364), 255))") ],
		[ generate("name => repeat(chr(8364), 256)"), generate("external_id => repeat('x', 256)"), generate("name => repeat('x', 10000000)"),
		  "SELECT apikey_budget_create(repeat('x', 256), 1)", update("jsonb_build_object('name', repeat('x', 256))"), generate("name => ''"),
		  map({ generate("name => $_"), update("jsonb_build_object('name', $_)"), "SELECT apikey_import(sha256(random()::text::bytea), $_, 'x')",
		    "SELECT apikey_budget_create($_, 1)", "SELECT apikey_budget_update('$budget', jsonb_build_object('name', $_))", plan_set($_) } "' '", q{E' \t\n'}),
		  map { plan_set($_), "SELECT apikey_plan_delete($_)", "SELECT apikey_revoke_where(plan => $_)", generate("plan => $_"), import_with("'x', plan => $_"), update("jsonb_build_object('plan', $_)") }
		    "''", "repeat('x', 256)", "repeat('x', 10000000)" ] ],
	'description' => [
		[ generate("description => repeat('x', 1000)"), plan_set("'p', description => repeat('x', 1000)") ],
		[ plan_set("'p', description => repeat('x', 1001)"), plan_set("'p', description => repeat('x', 50000000)"), generate("description => repeat('x', 1001)"), generate("description => repeat('x', 50000000)") ] ],
	'reason' => [
		[ map +("SELECT apikey_revoke((apikey_generate('r')).id, $_)", "SELECT apikey_revoke_where(plan => 'x', reason => $_)"), "repeat(chr(8364), 1000)", 'NULL' ],
		[ map +("SELECT apikey_revoke('$id', $_)", "SELECT apikey_revoke_raw('$key', $_)", "SELECT apikey_revoke_where('$id', reason => $_)"), "''", "repeat('x', 1001)", "repeat('x', 50000000)" ] ],
	'count' => [
		[ 'SELECT count(*) FROM apikey_generate_many(1, \'n\')', 'SELECT count(*) FROM apikey_generate_many(20000, \'n\')' ],
		[ map { "SELECT apikey_generate_many($_, 'n')" } 0, -1, 1_000_001, 2147483647 ] ],
	'key_hashes, names, key_prefixes' => [
		[ import_many("array_agg(sha256(random()::text::bytea))", "array_agg('n'::text)", "array_agg('p'::text)", 20000) ],
		[ import_many("array_fill(sha256('x'), ARRAY[1000001])", "'{n}'", "'{p}'", 1), import_many("'{}'", "'{}'", "'{}'", 1),
		  map({ import_many("ARRAY[sha256('x')]", $_, "'{p}'", 1) } "'{n,n}'", "'{}'", "'{NULL}'", "'{\"\"}'", "'{{n}}'", "ARRAY[repeat('x', 256)]", "ARRAY[repeat('x', 10000000)]"),
		  map({ import_many("ARRAY[sha256('x')]", "'{n}'", $_, 1) } "'{p,p}'", "'{}'", "'{NULL}'", "'{\"\"}'", "ARRAY[repeat('x', 33)]", "ARRAY[repeat('x', 10000000)]"),
		  map({ import_many($_, "'{n}'", "'{p}'", 1) } "ARRAY[NULL::bytea]", "ARRAY['x'::bytea]", "ARRAY[repeat('x', 10000000)::bytea]") ] ],
	'prefix' => [
		[ generate("prefix => repeat('x', 24)") ],
		[ generate("prefix => repeat('x', 25)"), generate("prefix => ''"), generate("prefix => repeat('x', 50000000)") ] ],
	'key_hash' => [
		[ "SELECT apikey_import(sha256('another'), 'n', 'x')" ],
		[ map { "SELECT apikey_import(decode(repeat('00', $_), 'hex'), 'n', 'x')" } 0, 31, 33, 10_000_000 ] ],
	'key_prefix of apikey_import' => [
		[ import_with("repeat('x', 32)") ],
		[ map { import_with("repeat('x', $_)") } 0, 33, 50_000_000 ] ],
	'hash_secret' => [
		[ import_with("'x', hash_secret => repeat('x', 63)") ],
		[ map { import_with("'x', hash_secret => repeat('x', $_)") } 0, 64, 50_000_000 ] ],
	'allowed_ips' => [
		[ generate('allowed_ips => addresses(1000)'), import_with("'x', allowed_ips => addresses(1000)"),
		  update("jsonb_build_object('allowed_ips', to_jsonb(addresses(1000)))") ],
		[ generate('allowed_ips => addresses(1001)'), import_with("'x', allowed_ips => addresses(1001)"),
		  update("jsonb_build_object('allowed_ips', to_jsonb(addresses(1001)))"), generate('allowed_ips => addresses(1000000)'),
		  generate("allowed_ips => array_fill(inet '::1', ARRAY[1000000])"), generate("allowed_ips => '{NULL}'"),
		  generate("allowed_ips => '{{::1},{::2}}'") ] ],
	'permissions' => [
		[ plan_set("'p', patterns(1000, 50)"), generate('permissions => patterns(1000, 50)'), generate('permissions => patterns(250, 255)'),
		  "SELECT apikey_model_allowed(patterns(1000, 50), 'x')", update("jsonb_build_object('permissions', patterns(1000, 50))") ],
		[ map({ plan_set("'p', patterns($_)") } '1001, 10', '260, 255', '1, 256', '100000, 10'), generate('permissions => patterns(1001, 10)'), generate('permissions => patterns(260, 255)'), generate('permissions => patterns(1, 256)'),
		  generate('permissions => patterns(100000, 10)'), "SELECT apikey_model_allowed(patterns(1001, 50), 'x')",
		  "SELECT apikey_endpoint_allowed(patterns(260, 255), 'x')", update("jsonb_build_object('permissions', patterns(1001, 50))"),
		  generate("permissions => '{\"custom_permissions\": [\"\"]}'"), generate("permissions => '{\"other\": 1}'") ] ],
	'rate_limits' => [
		[ map { generate("rate_limits => '{\"requests_per_minute\": $_}'") } 0, 60, '60.0', '6e1', '60.000', '0.6e2', 9007199254740991, '9007199254740991.0' ],
		[ map { my $n = $_; map { $_ =~ s/LIMIT/$n/r } generate("rate_limits => '{\"requests_per_minute\": LIMIT}'"), plan_set("'p', rate_limits => '{\"requests_per_minute\": LIMIT}'") } -1, '60.5', 9007199254740992, '1e100000', '1e-5', '"60"' ] ],
	'windows of rate_limits' => [
		[ windows(map { "{\"per\": \"1 second\", \"requests\": 9007199254740991, \"name\": \"$_\"}" } 1 .. 8),
		  windows('{"per": "31 days", "cost": 0.000000001}'), windows('{"per": "1 hour", "cost": 9000000000}'),
		  limits("window_of('name', to_jsonb(repeat(chr(8364), 255)))"),
		  limits("window_of('models', patterns(1000, 50) -> 'custom_permissions')"),
		  limits("window_of('endpoints', patterns(250, 250) -> 'custom_permissions')") ],
		[ windows(map { "{\"per\": \"1 second\", \"requests\": 1, \"name\": \"$_\"}" } 1 .. 9),
		  windows(map { '{"per": "1 minute", "tokens": 1, "name": "n"}' } 1 .. 2),
		  (map { windows("{\"per\": \"$_\", \"requests\": 1}") } '0', '0.9 seconds', '1.5 seconds', '31 days 1 second', '178000000 years', '-1 day'),
		  (map { windows("{\"per\": \"1 day\", \"tokens\": $_}") } -1, 0, 1.5, 9007199254740992),
		  (map { windows("{\"per\": \"1 day\", \"cost\": $_}") } -1, 0, '1e-10', '9000000000.1', '1e100000'),
		  windows('{"per": "1 day"}'), windows('{"requests": 1}'), windows('{"per": "1 day", "requests": 1, "cost": 1}'),
		  (map { limits("window_of('name', to_jsonb(repeat('x', $_)))") } 0, 256),
		  limits("window_of('models', patterns(1001, 10) -> 'custom_permissions')"),
		  limits("window_of('endpoints', patterns(1, 256) -> 'custom_permissions')") ] ],
	'reservation' => [
		[ "SELECT apikey_record_usage('$id', reservation => gen_random_uuid())", 'SELECT apikey_release(gen_random_uuid())' ],
		[ "SELECT apikey_record_usage('$id', reservation => reservation) FROM apikey_verify('$limited', reserve => true)" ] ],
	'metadata' => [
		[ generate('metadata => doc(65536)'), generate('metadata => nested(100)'), update("jsonb_build_object('metadata', nested(100))") ],
		[ generate('metadata => doc(65537)'), generate('metadata => doc(50000000)'), generate('metadata => nested(101)'),
		  generate('metadata => nested(2000)'), update("jsonb_build_object('metadata', nested(101))"), generate(q(metadata => '[]')) ] ],
	'changes' => [
		[ update("jsonb_build_object('metadata', doc(65536), 'permissions', patterns(250, 255), 'allowed_ips', to_jsonb(addresses(1000)))") ],
		[ 'SELECT apikey_update(gen_random_uuid(), doc(262145))', 'SELECT apikey_budget_update(gen_random_uuid(), doc(262145))',
		  update("jsonb_build_object('allowed_ips', to_jsonb(addresses(200000)))") ] ],
	'preset, access' => [
		[ q{SELECT apikey_permissions_preset('admin')}, q{SELECT apikey_grant('pg_monitor', 'verify')} ],
		[ map { my $n = $_; map { "SELECT $_ repeat('x', $n))" } 'apikey_permissions_preset(', 'apikey_rate_limits_preset(',
			"apikey_grant('pg_monitor',", "apikey_revoke_grant('pg_monitor'," } 63, 64, 50_000_000 ] ],
	'expires_at' => [
		[ generate("expires_at => 'infinity'") ],
		[ generate("expires_at => '-infinity'"), generate("expires_at => now()"), "SELECT apikey_rotate('$id', expires_at => '-infinity')" ] ],
	'idle_timeout' => [
		[ map { generate("idle_timeout => '$_'"), import_with("'x', idle_timeout => '$_'"), update("jsonb_build_object('idle_timeout', '$_')") } '1 second', '1000 years' ],
		[ map { generate("idle_timeout => '$_'"), update("jsonb_build_object('idle_timeout', '$_')") } '0', '0.9 seconds', '-1 day', '1 month -1 day', '1001 years', '178000000 years', '2147483647 days' ] ],
	'created_at' => [
		[ import_with("'x', created_at => '4713-01-01 BC'") ],
		[ import_with("'x', created_at => 'infinity'"), import_with("'x', created_at => '-infinity'"), import_with("'x', created_at => '294276-01-01'") ] ],
	'expires_in' => [
		[ map { "SELECT apikey_derive('$key', '$_')" } '1 second', '30 days' ],
		[ map { "SELECT apikey_derive('$key', '$_')" } '0.9 seconds', '30 days 1 second', '-1 day', '1001 years', '178000000 years', '2147483647 days' ] ],
	'grace' => [
		[ "SELECT apikey_rotate((apikey_generate('g')).id, '0')", "SELECT apikey_rotate((apikey_generate('g')).id, '100000 years')" ],
		[ map { "SELECT apikey_rotate('$id', '$_')" } '-1 second', '100001 years', '178000000 years', '-178000000 years', '2147483647 days', '1000000 years -1 day' ] ],
	'older_than' => [
		[ map { "SELECT apikey_cleanup_expired('$_')" } '0', '1000 years' ],
		[ map { "SELECT apikey_cleanup_expired('$_')" } '-1 second', '1001 years', '178000000 years', '-178000000 years', '2147483647 days' ] ],
	'parent_id' => [
		[ 'SELECT ' . tower(4), "SELECT apikey_budget_update('$budget', jsonb_build_object('parent_id', ${\tower(3)}))" ],
		[ 'SELECT ' . tower(5), "SELECT apikey_budget_update('$budget', jsonb_build_object('parent_id', ${\tower(4)}))",
		  "SELECT apikey_budget_update('$budget', jsonb_build_object('parent_id', '$budget'))" ] ],
	'reset_every' => [
		[ map { "SELECT apikey_budget_create('b', 1, '$_')" } '1 second', '1000 years' ],
		[ map { "SELECT apikey_budget_create('b', 1, '$_')" } '0.9 seconds', '-1 day', '1001 years', '178000000 years', '2147483647 days' ] ],
	'amount' => [
		[ "SELECT apikey_budget_add(apikey_budget_create('b', 1), 1e18 - 2)", "SELECT apikey_budget_add(apikey_budget_create('b', 1e18 - 1), 1 - 1e18)" ],
		[ map { "SELECT apikey_budget_add('$budget', $_)" } "'NaN'", "'Infinity'", "'-Infinity'", '1e18', '-1e18', '1e131000' ] ],
	'note' => [
		[ "SELECT apikey_budget_add('$budget', 0, repeat('x', 1000))" ],
		[ map { "SELECT apikey_budget_add('$budget', 0, $_)" } "''", "repeat('x', 1001)", "repeat('x', 10000000)" ] ],
	'warn_at' => [
		[ "SELECT apikey_budget_create('b', 1, warn_at => '{1, .1, .2, .3, .4, .5, .6, 1e-18}')" ],
		[ map { "SELECT apikey_budget_create('b', 1, warn_at => $_)" } "'{}'", "'{0}'", "'{1.1}'", "'{1e-19}'", "'{NaN}'",
			"array_fill(0.5, ARRAY[100000])", "ARRAY[('0.' || repeat('1', 10000))::numeric]" ] ],
	'starts_at' => [
		[ map { "SELECT apikey_budget_create('b', 1, '1000 years', starts_at => '$_')" } '0001-01-01Z', '9999-12-31 23:59:59Z' ],
		[ map { "SELECT apikey_budget_create('b', 1, starts_at => '$_')" } '0001-12-31 BC', '10000-01-01Z', '-infinity', 'infinity' ] ],
	'time_zone' => [
		[ map { "SELECT apikey_budget_create('b', 1, '1 day', time_zone => '$_')" } 'UTC', 'America/Argentina/Buenos_Aires', 'Etc/GMT+5' ],
		[ map { "SELECT apikey_budget_create('b', 1, time_zone => $_)" } "''", "'Etc/GMT+99'", "'AAA5'", "repeat('x', 256)", "repeat('x', 1000000)" ] ],
	'row_limit, row_offset' => [
		[ map { "SELECT apikey_list(row_limit => $_, row_offset => $_); SELECT apikey_events(row_limit => $_)" } 0, 2147483647 ],
		[ 'SELECT apikey_list(row_limit => -1)', 'SELECT apikey_list(row_offset => -1)', 'SELECT apikey_events(row_limit => -1)' ] ],
	'external_id of apikey_list and apikey_count' => [
		[ map { "SELECT $_(external_id => repeat('x', 10000000))" } 'apikey_list', 'apikey_count' ], [] ],
	'name_like' => [
		[ map +("SELECT $_(name_like => repeat('%', 1000))", "SELECT $_(name_like => repeat(chr(8364), 1000))"), 'apikey_list', 'apikey_count' ],
		[ map { my $n = $_; map { "SELECT $_(name_like => repeat('%', $n))" } 'apikey_list', 'apikey_count' } 0, 1001, 50_000_000 ] ],
	'metadata of apikey_list and apikey_count' => [
		[ map +("SELECT $_(metadata => doc(8192))", "SELECT $_(metadata => nested(400))"), 'apikey_list', 'apikey_count' ],
		[ map +("SELECT $_(metadata => doc(8193))", "SELECT $_(metadata => doc(50000000))", "SELECT $_(metadata => '[]')"), 'apikey_list', 'apikey_count' ] ],
	'document' => [ [ map { "SELECT count(*) FROM apikey_scan(repeat('x', $_))" } 0, 50_000_000 ], [] ],
	'since, from_day, to_day' => [
		[ map { "SELECT apikey_events(since => '$_'); SELECT apikey_usage_history('$id', '$_', '$_')" } 'infinity', '-infinity', '4713-01-01 BC' ],
		[] ],
	'request.headers of PostgREST' => [
		[ request(q('{"a": "' || repeat('x', 262144 - 9) || '"}')) ],
		[ request(q('{"a": "' || repeat('x', 262144 - 8) || '"}')), request(q(repeat('[', 50000000))) ] ],
	'request.path of PostgREST' => [
		[ path("repeat('x', $mb)") ],
		[ path("repeat('x', $mb + 1)"), path("repeat('x', 50000000)") ] ]);

foreach my $arg ('model', 'endpoint')
{
	push @{ $bounds{'model, endpoint'}[0] }, verify_with("$arg => repeat('x', $mb)"), check_with("$arg => repeat('x', $mb)"), login_with("$arg => repeat('x', $mb)"),
	  "SELECT apikey_${arg}_allowed('{}', repeat('x', $mb))";
	push @{ $bounds{'model, endpoint'}[1] }, map { verify_with("$arg => repeat('x', $_)"), check_with("$arg => repeat('x', $_)"), login_with("$arg => repeat('x', $_)"),
		  "SELECT apikey_${arg}_allowed('{}', repeat('x', $_))" } $mb + 1, 50_000_000;
}

# --------------------------------------------------------------- the page

my $page = slurp_file("$FindBin::RealBin/../../doc/bounds.md");
my ($arguments) = $page =~ /^## Arguments\n(.*?)^## /ms;
my @rows = map { s/`//gr } $arguments =~ /^\| (`.*?) \|/mg;

is_deeply([ sort @rows ], [ sort keys %bounds ], 'each row of the page is tried here');

# Arguments of variable size, of functions for others than the owner.
my $named = $node->safe_psql(
	'postgres', q{
	SELECT DISTINCT a.name
	FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'apikeys'
	CROSS JOIN LATERAL unnest(p.proargnames[1:p.pronargs], p.proargtypes::oid[]) a(name, type)
	JOIN pg_type t ON t.oid = a.type
	WHERE t.typlen = -1 AND p.proname LIKE 'apikey\\_%'
	ORDER BY 1});
cmp_ok(scalar(split /\n/, $named), '>', 10, 'there are such arguments');
like($arguments, qr/^\|[^|]*`$_`/m, "the page has $_") foreach split /\n/, $named;

like($page, qr/^\| `$_` \|/m, "the page has the table $_")
  foreach split /\n/, $node->safe_psql('postgres', q{SELECT tablename FROM pg_tables WHERE schemaname = 'apikeys_data'});
like($page, qr/^\| `$_`/m, "the page has the shared memory $_")
  foreach split /\n/, $node->safe_psql('postgres', q{SELECT name FROM pg_shmem_allocations WHERE name LIKE 'apikeys %'});

# -------------------------------------------------------------- the bounds

foreach my $row (@rows)
{
	my ($at, $beyond) = @{ $bounds{$row} // next };
	my %short = map { $_ => length > 150 ? substr($_, 0, 150) . '...' : $_ } @$at, @$beyond;

	is(state_of($_), 'ok', "$row: $short{$_}") foreach @$at;
	is(state_of($_), '22023', "$row: $short{$_}") foreach @$beyond;
}

# For a bad key nothing else is looked at.
is($node->safe_psql('postgres', qq{SELECT code FROM apikey_verify('no key', model => repeat('x', 10000000), required_permissions => names(1000, 10), tokens => -1)}),
	'NOT_FOUND', 'a bad key, with anything');

# What is stored keeps to 18 decimals, and so does what it adds up to.
my $usage = "SELECT scale(total_cost), scale(cost_today) FROM apikey_usage('$id')";
$node->safe_psql('postgres', "SELECT apikey_record_usage('$id', cost => 1 / 3::numeric + ('1e-' || n)::numeric) FROM unnest(ARRAY[19, 100, 16000]) n");
is($node->safe_psql('postgres', $usage), '18|18', 'usage has 18 decimals');
$node->safe_psql('postgres', 'SELECT apikey_flush()');
is($node->safe_psql('postgres', $usage), '18|18', '... also when it is rolled up');
is($node->safe_psql('postgres', q{SELECT max(scale(total_cost)) FROM apikeys_data.usage}), '18', '... and in the table');
is($node->safe_psql('postgres', q{SELECT max_cost FROM apikey_budget_update(apikey_budget_create('thirds', 0.66666666666666666666), '{}')}),
	'0.666666666666666667', 'a budget has 18 decimals');
is($node->safe_psql('postgres', q{SELECT max_cost FROM apikey_budget_update(apikey_budget_create('thirds', 1), '{"max_cost": 0.33333333333333333333}')}),
	'0.333333333333333333', '... also after a change');

# What comes by DML.
is(state_of($_->[1]), $_->[0], $_->[1]) foreach
  [ '22023', 'UPDATE apikeys_data.key SET allowed_ips = addresses(1001)' ],
  [ '22023', 'UPDATE apikeys_data.key SET metadata = nested(101)' ],
  [ '22023', 'UPDATE apikeys_data.key SET permissions = patterns(1001, 1)' ],
  [ '22023', 'UPDATE apikeys_data.plan SET permissions = patterns(1001, 1)' ],
  [ '22023', "UPDATE apikeys_data.plan SET name = repeat('x', 256)" ],
  [ '22023', 'UPDATE apikeys_data.budget SET max_cost = 1e-19' ],
  [ '23514', "INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) VALUES ('$id', now(), 1, 1e-19)" ],
  [ '23514', 'UPDATE apikeys_data.usage SET total_cost = 1e-19' ],
  [ '23514', 'UPDATE apikeys_data.usage_day SET cost = 1e-19' ],
  [ '23514', "INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period) VALUES (now(), 0, 0, 1e-19, '$budget', now())" ],
  [ '23514', "INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period) VALUES (now(), 0, 0, -1e18, '$budget', now())" ],
  [ '23514', "INSERT INTO apikeys_data.usage_request (key_id, request_id, recorded_at, tokens, cost) VALUES ('$id', '', now(), 1, 1)" ],
  [ '23514', "INSERT INTO apikeys_data.usage_request (key_id, request_id, recorded_at, tokens, cost) VALUES ('$id', 'r', now(), 1, 1e18)" ],
  [ '22023', q{UPDATE apikeys_data.budget SET rate_limits = '{"requests_per_minute": -1}'} ],
  [ '23514', "INSERT INTO apikeys_data.budget_period VALUES ('$budget', now(), 1e-19)" ];

# ------------------------------------------------------------------ cancel

# What is huge is ready before the clock runs.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE huge AS
	SELECT repeat('some words ', 5000000) AS t, array_fill(inet '::1', ARRAY[2000000]) AS ips,
	       array_fill('x'::text, ARRAY[500000]) AS names, array_fill(sha256('x'), ARRAY[500000]) AS hashes, jsonb_build_object('allowed_ips', jsonb_agg('10.0.0.' || i % 256)) AS changes,
	       jsonb_build_object('metadata', jsonb_object_agg(i, '[[[1]]]'::jsonb), 'custom_permissions', jsonb_agg('x' || i)) AS j
	FROM generate_series(1, 300000) i;
	ALTER TABLE huge ALTER t SET STORAGE EXTERNAL});

my @huge = (
	verify_with('t'), check_with('t'), verify_with('endpoint => t'), verify_with('required_permissions => names'), 'SELECT apikey_verify(t)',
	login_with('required_permissions => names'), generate('name => t'), generate('description => t'), generate('external_id => t'), generate('prefix => t'),
	generate('permissions => j'), generate('rate_limits => j'), generate('metadata => j'), generate('allowed_ips => ips'),
	import_with('t'), import_with("'x', hash_secret => t"), import_with("'x', allowed_ips => ips"), "SELECT apikey_import(t::bytea, 'n', 'x')",
	map({ plan_set($_) } 't', "'p', j", "'p', rate_limits => j", "'p', description => t"), 'SELECT apikey_plan_delete(t)', generate('plan => t'),
	update('changes'), update('j'), "SELECT apikey_budget_update('$budget', j)", 'SELECT apikey_budget_create(t, 1)',
	"SELECT apikey_model_allowed(j, 'x')", "SELECT apikey_endpoint_allowed('{}', t)", 'SELECT apikey_permissions_preset(t)',
	"SELECT apikey_grant('pg_monitor', t)", 'SELECT apikey_current_has_permission(t)', 'SELECT apikey_scan(t)', "SELECT apikey_scan(repeat('$key ', 300000))",
	'SELECT apikey_identify(t)', "SELECT apikey_derive('$key', '1 hour', t)",
	"SELECT apikey_derive('$key', '1 hour', permissions => j)", 'SELECT apikey_revoke_raw(t)', 'SELECT apikey_revoke_raw(t, t)', 'SELECT apikey_generate_many(1000000, \'n\')', 'SELECT apikey_generate_many(1, t)', "SELECT apikey_import_many(ARRAY[sha256('x')], names, names)",
	"SELECT apikey_import_many(hashes, names, names)", 'SELECT apikey_revoke_where(plan => t)', 'SELECT apikey_list(name_like => t)', 'SELECT apikey_count(metadata => j)');
s/;?$/ FROM huge/ foreach grep { !/ FROM / } @huge;
s/ FROM (apikey_\w+)/ FROM huge, $1/ foreach @huge;

foreach my $sql (@huge)
{
	within_5_seconds("$sql ends", sub { state_of("SET statement_timeout = '100ms'; $sql") =~ /^(?:ok|22023|57014)$/ });
}

# ----------------------------------------------------------------- the log

# A text of many statements comes by with each of them.  One with a key in it is
# searched and copied once all the same, also when it is logged.  Then it takes
# about the time of one without; searched with each statement, a hundred times
# as much.
sub run_statements
{
	my ($name) = @_;
	my $file = $node->basedir . '/many.sql';
	my $start = time();

	open my $handle, '>', $file or die "$file: $!";
	print $handle "SET application_name = '$name'\\;", map { "SET work_mem = '1 MB' /* number $_ */\\;" } 1 .. 20_000;
	print $handle ";\n";
	close $handle;
	$node->command_ok([ 'psql', '--no-psqlrc', '--quiet', '--file', $file, 'postgres' ], 'many statements');
	return time() - $start;
}

foreach my $setting ('log_statement = none', 'log_statement = all')
{
	$node->append_conf('postgresql.conf', $setting);
	$node->reload;
	my $without = run_statements('x' x length $key);
	my $with = run_statements($key);
	cmp_ok($with, '<', 5 * $without + 2, "with a key they take no longer, $setting");
}

$node->stop;
done_testing();
