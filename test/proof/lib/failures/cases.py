# SPDX-License-Identifier: PostgreSQL
"""The functions, each with what it is called on, and what becomes of that.

given       makes what the call needs, under the names in needs
call        the call
state       what the call may change
answer      is this right?
becomes     is this what the state becomes, if there is no error?
may_stay    after an error too, a part may have been done: what is committed at once"""

import struct

SETUP = [
    """CREATE FUNCTION apikeys_fail_at(n integer) RETURNS void LANGUAGE C AS '$libdir/apikeys';
       CREATE FUNCTION apikeys_fail_report() RETURNS text LANGUAGE C AS '$libdir/apikeys'""",
    "CREATE ROLE some_role",
]

# Keys of before are not in the way; what they hold ends.
RESET = """SELECT apikey_delete(id) FROM apikeys_data.key WHERE parent_id IS NULL;
           SELECT apikey_budget_delete(id) FROM apikeys_data.budget WHERE parent_id IS NOT NULL;
           SELECT apikey_budget_delete(id) FROM apikeys_data.budget"""

LIMITS = '{{"requests_per_day": 1000, "tokens_per_day": 100000, "max_concurrent_requests": 500}}'

KEY = """WITH b AS MATERIALIZED (SELECT apikey_budget_create('b', 100) AS id)
         SELECT k.id, k.raw_key, b.id, gen_random_uuid() FROM b,
                LATERAL apikey_generate('key', budget_id => b.id, user_id => '00000000-0000-4000-8000-000000000001',
                                        rate_limits => '%s') k""" % LIMITS.replace("{{", "{").replace("}}", "}")
NEEDS = ("id", "raw", "budget", "other")

KEYS = "SELECT count(*), count(revoked_at), count(*) FILTER (WHERE enabled), max(name) FROM apikeys_data.key"
EVENTS = "SELECT count(*) FROM apikeys_data.event"
STATE = f"SELECT * FROM ({KEYS}) k, ({EVENTS}) e"
USAGE = """SELECT (SELECT total_requests FROM apikey_usage('{id}')), (SELECT spent FROM apikeys.budget_info WHERE id = '{budget}'),
                  (SELECT count(*) FROM apikeys_data.usage_request WHERE key_id = '{id}')"""
HELD = "SELECT name, used, reserved FROM apikey_limits('{id}') ORDER BY name"
NOTHING = "SELECT 1"


def more_keys(count, events=None):
    return lambda before, after: after[0][0] == before[0][0] + count and after[0][4] == before[0][4] + (events or count)


def one_event(before, after):
    return after[0][4] == before[0][4] + 1


# Whose calls see each other's keys, or what these have left.
ALONE = {"flush", "secrets", "check()", "import", "import_many", "revoke_where", "update", "list", "count", "info", "cleanup_expired"}


def case(name, call, state=STATE, given=KEY, needs=NEEDS, **more):
    return {"name": name, "alone": name in ALONE, "call": call, "state": state, "given": given, "needs": needs, **more}


def is_valid(rows):
    return rows[0][0] == "VALID"


# A request of the feed about the key {other}.
OWNER = b"\xee" * 16
USES = [struct.pack(">16sQiiqqq16x", OWNER, limit, seconds, unit, 0, 5, 0) for limit, seconds, unit in ((7, 86400, 1), (0, 0, 0))]
FEED = (struct.pack(">iQQQiqQQiii", 1, 9, 0, 1, 1, 0, 0, 0, 0, 0, len(USES)) + b"".join(USES)).hex().replace(OWNER.hex(), "{other}")

RESERVED = KEY.replace("gen_random_uuid()", "(SELECT reservation FROM apikey_verify(k.raw_key, tokens => 10, cost => 1, reserve => true))")

CASES = [
    # First, since it reads all events, of which each call of the others leaves some.
    case("check()", "SELECT count(*) FROM apikeys.check()", NOTHING, answer=lambda rows: rows[0][0] == 0),
    # Whoever verifies may be refused by an error, never by a wrong answer; what was
    # spent of a window by then is spent.
    case("verify", "SELECT code FROM apikey_verify('{raw}')", NOTHING, answer=is_valid),
    case("check", "SELECT apikey_check('{raw}', 'm', '/e', client_ip => '1.2.3.4', budget_id => '{budget}')", NOTHING, answer=is_valid),
    case("reserve", "SELECT code FROM apikey_verify('{raw}', tokens => 10, cost => 1, reserve => true)", NOTHING, answer=is_valid),
    case("verify nothing", "SELECT code FROM apikey_verify('gw-nothing')", NOTHING, answer=lambda rows: rows[0][0] == "NOT_FOUND"),
    case("release", "SELECT apikey_release('{other}')", NOTHING, RESERVED, answer=lambda rows: rows[0][0] is True),
    case("login", "SELECT code FROM apikey_login('{raw}')", NOTHING, answer=is_valid),
    case("current", "SELECT apikey_current_id(), apikey_current_has_permission('x') FROM apikey_login('{raw}')", NOTHING,
         answer=lambda rows: rows[0][1] is False),
    case("generate", "SELECT id::text FROM apikey_generate('new', budget_id => '{budget}', metadata => '{{\"a\": 1}}', allowed_ips => '{{10.0.0.0/8}}')",
         becomes=more_keys(1)),
    case("generate_many", "SELECT count(*) FROM apikey_generate_many(3, 'new')", becomes=more_keys(3)),
    case("import", "SELECT apikey_import(sha256('a'), 'new', 'a...')", becomes=more_keys(1)),
    case("import_many", "SELECT count(*) FROM apikey_import_many(ARRAY[sha256('a'), sha256('b')], '{{a,b}}', '{{a...,b...}}')", becomes=more_keys(2)),
    case("derive", "SELECT id::text FROM apikey_derive('{raw}', '1 hour', 'new', '{{\"max_tokens_per_request\": 5}}')", becomes=more_keys(1)),
    case("rotate", "SELECT id::text FROM apikey_rotate('{id}')",
         becomes=lambda b, a: a[0][0] == b[0][0] + 1 and a[0][1] == b[0][1] + 1 and a[0][4] == b[0][4] + 1),
    case("rotate with grace", "SELECT id::text FROM apikey_rotate('{id}', '1 hour')", becomes=more_keys(1)),
    case("revoke", "SELECT apikey_revoke('{id}', 'why')", becomes=lambda b, a: a[0][1] == b[0][1] + 1 and one_event(b, a)),
    case("revoke_raw", "SELECT apikey_revoke_raw('{raw}', 'why')", becomes=lambda b, a: a[0][1] == b[0][1] + 1 and one_event(b, a)),
    case("revoke_where", "SELECT apikey_revoke_where(user_id => '00000000-0000-4000-8000-000000000001')",
         becomes=lambda b, a: a[0][1] == b[0][1] + 1 and one_event(b, a)),
    case("update", "SELECT id FROM apikey_update('{id}', '{{\"name\": \"zzz\", \"enabled\": false, \"permissions\": {{\"allowed_models\": [\"a*\"]}}}}')",
         becomes=lambda b, a: a[0][3] == "zzz" and a[0][2] == b[0][2] - 1 and one_event(b, a)),
    case("delete", "SELECT apikey_delete('{id}')", becomes=lambda b, a: a[0][0] == b[0][0] - 1 and one_event(b, a)),
    case("cleanup_expired", "SELECT apikey_cleanup_expired()", becomes=lambda b, a: a[0][0] == b[0][0] - 1 and one_event(b, a),
         given="SELECT id, pg_sleep(0.02) FROM apikey_generate('old', expires_at => clock_timestamp() + interval '15 ms')",
         needs=("id", "none")),
    case("record_usage", "SELECT apikey_record_usage('{id}', 10, 0.5, request_id => 'r', model => 'm', budget_id => '{budget}')", USAGE,
         becomes=lambda b, a: float(a[0][1]) == float(b[0][1]) + 0.5 and a[0][0] == b[0][0] + 1 and a[0][2] == 1),
    case("settle", "SELECT apikey_record_usage('{id}', 5, 0.5, reservation => '{other}')", USAGE, RESERVED,
         becomes=lambda b, a: float(a[0][1]) == float(b[0][1]) + 0.5),
    case("settle: what is held", "SELECT apikey_record_usage('{id}', 10, 1, reservation => '{other}')", HELD, RESERVED,
         becomes=lambda b, a: [row[2] for row in a] == [0, None, 0, 0] or all(not row[2] for row in a), may_stay=False),
    case("void_usage", "SELECT apikey_void_usage('{id}', 'r')", USAGE,
         given=KEY.replace("gen_random_uuid()", "apikey_record_usage(k.id, 10, 0.5, request_id => 'r')"),
         becomes=lambda b, a: a[0][0] == b[0][0] - 1 and float(a[0][1]) == float(b[0][1]) - 0.5),
    case("usage", "SELECT total_requests FROM apikey_usage('{id}')", NOTHING, answer=lambda rows: rows[0][0] == 0),
    case("usage_history", "SELECT count(*) FROM apikey_usage_history('{id}')", NOTHING, answer=lambda rows: rows[0][0] == 0),
    case("limits", "SELECT count(*) FROM apikey_limits('{id}')", NOTHING, answer=lambda rows: rows[0][0] == 4),
    case("get", "SELECT name FROM apikey_get('{id}')", NOTHING, answer=lambda rows: rows[0][0] == "key"),
    case("list", "SELECT name FROM apikey_list('active', name_like => 'k%%', metadata => '{{}}', row_limit => 5)".replace("%%", "%"), NOTHING,
         answer=lambda rows: rows == [("key",)]),
    case("count", "SELECT apikey_count('active', unused_since => now())", NOTHING, answer=lambda rows: rows[0][0] == 1),
    case("events", "SELECT count(*) FROM apikey_events('{id}')", NOTHING, answer=lambda rows: rows[0][0] == 1),
    case("identify", "SELECT name FROM apikey_identify('{raw}')", NOTHING, answer=lambda rows: rows[0][0] == "key"),
    case("scan", "SELECT count(*) FROM apikey_scan('a {raw} b')", NOTHING, answer=lambda rows: rows[0][0] == 1),
    case("budget_create", "SELECT apikey_budget_create('new', 10, '1 month', '{budget}', '{{\"requests_per_day\": 5}}', '{{0.5}}')",
         EVENTS, becomes=lambda b, a: a[0][0] == b[0][0] + 1),
    case("budget_update", "SELECT id FROM apikey_budget_update('{budget}', '{{\"max_cost\": 5, \"warn_at\": [0.5]}}')", EVENTS,
         becomes=lambda b, a: a[0][0] == b[0][0] + 1),
    case("budget_add", "SELECT id FROM apikey_budget_add('{budget}', 5, 'note')", EVENTS, becomes=lambda b, a: a[0][0] == b[0][0] + 1),
    case("budget_delete", "SELECT apikey_budget_delete('{budget}')", EVENTS, given="SELECT apikey_budget_create('b', 1)", needs=("budget",),
         becomes=lambda b, a: a[0][0] == b[0][0] + 1),
    case("plan_set", "SELECT apikey_plan_set('p' || gen_random_uuid(), '{{\"max_tokens_per_request\": 5}}')", EVENTS,
         becomes=lambda b, a: a[0][0] == b[0][0] + 1),
    case("plan_delete", "SELECT apikey_plan_delete('gone')", EVENTS, given="SELECT apikey_plan_set('gone')", needs=("none",),
         becomes=lambda b, a: a[0][0] == b[0][0] + 1),
    case("grant", "SELECT apikey_grant('some_role', 'manage')", EVENTS, given="SELECT apikey_revoke_grant('some_role', 'manage')", needs=("none",),
         becomes=lambda b, a: a[0][0] == b[0][0] + 1),
    case("revoke_grant", "SELECT apikey_revoke_grant('some_role', 'manage')", EVENTS, given="SELECT apikey_grant('some_role', 'manage')", needs=("none",),
         becomes=lambda b, a: a[0][0] == b[0][0] + 1),
    case("cleanup_events", "SELECT apikey_cleanup_events('1 day') >= 0", NOTHING, answer=lambda rows: rows[0][0]),
    case("cleanup_usage", "SELECT apikey_cleanup_usage('40 days') >= 0", NOTHING, answer=lambda rows: rows[0][0]),
    case("flush", "SELECT apikey_flush() > 0", "SELECT count(*) FROM apikeys_data.usage_entry",
         given=KEY.replace("gen_random_uuid()", "apikey_record_usage(k.id, 10, 0.5)"),
         answer=lambda rows: rows[0][0], becomes=lambda b, a: a[0][0] == 0),
    case("stats", "SELECT valid >= 0 FROM apikeys.stats", NOTHING, answer=lambda rows: rows[0][0]),
    case("secrets", "SELECT count(*) >= 0 FROM apikeys.secret_usage", NOTHING, answer=lambda rows: rows[0][0]),
    case("info", "SELECT count(*) FROM apikeys.info", NOTHING, answer=lambda rows: rows[0][0] == 1),
    case("logout", "SELECT apikey_logout()", NOTHING, given=KEY.replace("gen_random_uuid()", "(SELECT code FROM apikey_login(k.raw_key))")),
    case("model_allowed", "SELECT apikey_model_allowed('{{\"allowed_models\": [\"a*\"]}}', 'abc') AND apikey_endpoint_allowed('{{}}', '/v1')", NOTHING,
         answer=lambda rows: rows[0][0]),
    case("presets", "SELECT apikey_permissions_preset('admin') IS NOT NULL AND apikey_rate_limits_preset('standard') IS NOT NULL", NOTHING,
         answer=lambda rows: rows[0][0]),
    # A standby tells of a window and of a last use.
    case("feed_exchange", f"SELECT length(apikeys.feed_exchange('\\x{FEED}'))", NOTHING,
         KEY.replace("gen_random_uuid()", "replace(k.id::text, '-', '')"), answer=lambda rows: rows[0][0] > 0),
    case("servers", "SELECT count(*) FROM apikeys.servers", NOTHING, answer=lambda rows: rows[0][0] >= 0),
    case("pre_request", "SELECT apikey_pre_request()", NOTHING,
         given=KEY.replace("gen_random_uuid()", "set_config('request.headers', format('{{\"x-api-key\": \"%s\"}}', k.raw_key), false)".replace("{{", "{").replace("}}", "}"))),
]
