-- Rate limits and reservations of concurrent requests.  Where there is no shared memory, limits_1.out shows
-- that a key with limits is an error, and never a key without limits.
CREATE FUNCTION test.limited(name text, limits jsonb) RETURNS uuid LANGUAGE sql AS $$
  SELECT apikey_import(digest('limits-' || name, 'sha256'), 'limits ' || name, name, rate_limits => limits)
$$;
-- What verify says to some requests in a row.
CREATE FUNCTION test.verify(name text, times integer = 1, tokens bigint = NULL, reserve boolean = false)
RETURNS TABLE (n bigint, code text, reason text, retry_after text, reserved boolean) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. times LOOP
    RETURN QUERY
      SELECT i::bigint, v.code, v.reason,
             CASE WHEN v.retry_after > 36000 THEN 'hours' WHEN v.retry_after > 60 THEN 'minutes'
                  WHEN v.retry_after > 0 THEN 'seconds' WHEN v.retry_after IS NOT NULL THEN 'wrong' END,
             v.reservation IS NOT NULL
      FROM apikey_verify('limits-' || name, tokens => tokens, reserve => reserve) v;
  END LOOP;
END $$;
-- A minute's limits, which do not roll on while this runs.
CREATE FUNCTION test.standing(name text) RETURNS TABLE (limit_name text, max numeric, used numeric, remaining numeric, resets boolean)
LANGUAGE sql AS $$
  SELECT l.name, l.max, l.used, l.remaining, l.resets_in > '0' FROM apikey_limits(test.id('limits ' || $1)) l
$$;

-- Keys without a limit need nothing.
SELECT test.limited('none', '{}') IS NOT NULL AS made;
SELECT test.limited('zero', '{"requests_per_minute": 0, "tokens_per_day": null, "max_concurrent_requests": 0}') IS NOT NULL AS made;
SELECT * FROM test.verify('none', 2, 9223372036854775807, true);
SELECT * FROM test.verify('zero', 2, 9223372036854775807, true);
SELECT * FROM test.standing('none');
SELECT * FROM test.standing('zero');
SELECT apikey_record_usage(test.id('limits zero'), 9223372036854775807);
SELECT apikey_release(r) FROM unnest(ARRAY[NULL, '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '7fffffff-0000-4000-8000-000000000000', gen_random_uuid()]) r;

-- Whichever way a key gets a limit: a warning where limits cannot be counted.
SELECT count(*) FROM apikey_generate('limits generate', rate_limits => '{"tokens_per_minute": 1}');
SELECT test.limited('import', '{"requests_per_day": 5}') IS NOT NULL AS made;
SELECT rate_limits FROM apikey_update(test.id('limits zero'), '{"rate_limits": {"max_concurrent_requests": 1}}');
SELECT rate_limits FROM apikey_update(test.id('limits zero'), '{"rate_limits": {}}');
SELECT shared_memory FROM apikeys.stats \gset
\if :shared_memory
\else
SELECT * FROM test.errors(
  $$SELECT * FROM apikey_verify('limits-import')$$,
  $$SELECT * FROM apikey_limits(test.id('limits import'))$$
);
-- The ledger is kept, and a key without limits passes as ever.
SELECT apikey_record_usage(test.id('limits import'), 7);
SELECT total_tokens FROM apikey_usage(test.id('limits import'));
SELECT code FROM apikey_verify('limits-zero', reserve => true);
-- A budget needs no shared memory.
SELECT name FROM apikey_update(test.id('limits zero'), jsonb_build_object('budget_id', apikey_budget_create('limits zero', 3)));
SELECT apikey_record_usage(test.id('limits zero'), cost => 1.5);
SELECT code, limit_name, limit_max, limit_remaining, limit_resets_in, budget_remaining FROM apikey_verify('limits-zero');
SELECT apikey_record_usage(test.id('limits zero'), cost => 3);
SELECT code, limit_name, limit_max, limit_remaining, limit_resets_in, budget_remaining FROM apikey_verify('limits-zero');
SELECT apikey_revoke(test.id('limits import'));
SELECT code FROM apikey_verify('limits-import');
DROP FUNCTION test.limited, test.verify, test.standing;
\quit
\endif

-- Requests
SELECT test.limited('requests', '{"requests_per_minute": 3}') IS NOT NULL AS made;
SELECT * FROM test.standing('requests');
SELECT * FROM test.verify('requests', 4);
SELECT * FROM test.standing('requests');
-- A refused request spends nothing, and ROLLBACK gives nothing back.
SELECT * FROM test.verify('requests', 2);
SELECT * FROM test.standing('requests');
SELECT test.limited('rollback', '{"requests_per_day": 1}') IS NOT NULL AS made;
BEGIN;
SELECT * FROM test.verify('rollback');
ROLLBACK;
SELECT * FROM test.verify('rollback');

-- Changed limits hold at once.
SELECT rate_limits FROM apikey_update(test.id('limits requests'), '{"rate_limits": {"requests_per_minute": 4, "requests_per_day": 2147483647}}');
SELECT * FROM test.verify('requests', 2);
SELECT * FROM test.standing('requests');
SELECT rate_limits FROM apikey_update(test.id('limits requests'), '{"rate_limits": {"requests_per_minute": 1}}');
SELECT * FROM test.standing('requests');
SELECT rate_limits FROM apikey_update(test.id('limits requests'), '{"rate_limits": null}');
SELECT * FROM test.verify('requests', 2);
SELECT * FROM test.standing('requests');

-- Tokens are checked and not spent; what is recorded is spent.
SELECT test.limited('tokens', '{"tokens_per_day": 100, "requests_per_day": 50}') IS NOT NULL AS made;
SELECT * FROM test.verify('tokens', 3, 100);
SELECT * FROM test.verify('tokens', 1, 101);
SELECT * FROM test.verify('tokens', 1, 9223372036854775807);
SELECT * FROM test.standing('tokens');
SELECT apikey_record_usage(test.id('limits tokens'), 60);
SELECT * FROM test.verify('tokens', 1, 40);
SELECT * FROM test.verify('tokens', 1, 41);
BEGIN;
SELECT apikey_record_usage(test.id('limits tokens'), 39);
ROLLBACK;
SELECT * FROM test.verify('tokens', 1, 0);
SELECT * FROM test.verify('tokens', 1);
SELECT * FROM test.verify('tokens', 1, 2);
-- It may be more than was left; then even a request of no tokens has to wait.
SELECT apikey_record_usage(test.id('limits tokens'), 9223372036854775807);
SELECT apikey_record_usage(test.id('limits tokens'), 1);
SELECT * FROM test.verify('tokens', 1, 0);
SELECT * FROM test.verify('tokens', 1);
SELECT * FROM test.standing('tokens');

-- A limit that a key gets after it has been used counts from then on.
SELECT test.limited('later', '{}') IS NOT NULL AS made;
SELECT * FROM test.verify('later');
SELECT rate_limits FROM apikey_update(test.id('limits later'), '{"rate_limits": {"tokens_per_day": 10}}');
SELECT apikey_record_usage(test.id('limits later'), 10);
SELECT * FROM test.standing('later');
SELECT * FROM test.verify('later');

-- All or nothing: what one window refuses is not spent in another.
SELECT test.limited('both', '{"requests_per_minute": 5, "requests_per_day": 2, "max_concurrent_requests": 9}') IS NOT NULL AS made;
SELECT * FROM test.verify('both', 4, NULL, true);
SELECT * FROM test.standing('both');

-- A refusal for another reason spends nothing.
SELECT rate_limits FROM apikey_update(test.id('limits rollback'), '{"rate_limits": {"requests_per_day": 2}, "permissions": {"allowed_models": ["o1"]}}');
SELECT code FROM apikey_verify('limits-rollback', 'o2');
SELECT code FROM apikey_verify('limits-rollback', 'o1');
SELECT code FROM apikey_verify('limits-rollback', 'o2');
SELECT code FROM apikey_verify('limits-rollback', 'o1');

-- A limit comes before the budget, and what the budget refuses spends nothing.
SELECT apikey_budget_create('limits', 10, '1 month') AS budget \gset
SELECT test.limited('budget', '{"requests_per_day": 1, "max_concurrent_requests": 2}') IS NOT NULL AS made;
SELECT name FROM apikey_update(test.id('limits budget'), jsonb_build_object('budget_id', :'budget'));
SELECT * FROM test.standing('budget');
SELECT apikey_record_usage(test.id('limits budget'), cost => 10.5);
SELECT * FROM test.verify('budget', 2, NULL, true);
SELECT * FROM test.standing('budget');
SELECT max_cost FROM apikey_budget_update(:'budget', '{"max_cost": 11, "reset_every": null}');
SELECT * FROM test.verify('budget', 1, NULL, true);
SELECT max_cost FROM apikey_budget_update(:'budget', '{"max_cost": 10}');
SELECT * FROM test.verify('budget', 1, NULL, true);
SELECT * FROM test.standing('budget');

-- When several refuse, it is worth another try when the last of them does not.
SELECT max_cost FROM apikey_budget_update(:'budget', '{"reset_every": "1 month"}');
SELECT rate_limits FROM apikey_update(test.id('limits budget'), '{"rate_limits": {"requests_per_minute": 1}}');
SELECT * FROM test.verify('budget', 1);
SELECT max_cost FROM apikey_budget_update(:'budget', '{"max_cost": 11}');
SELECT * FROM test.verify('budget', 2);
SELECT max_cost FROM apikey_budget_update(:'budget', '{"max_cost": 10}');
SELECT * FROM test.verify('budget', 1);
SELECT test.limited('several', '{"requests_per_minute": 1, "max_concurrent_requests": 1}') IS NOT NULL AS made;
SELECT * FROM test.verify('several', 2, NULL, true);
SELECT * FROM test.verify('several', 1);

-- The limit that is nearest to its end, after the request's own spending.
CREATE FUNCTION test.nearest(name text, tokens bigint = NULL, reserve boolean = false)
RETURNS TABLE (code text, limit_name text, max numeric, remaining numeric, resets boolean, as_in_limits boolean, budget numeric) LANGUAGE sql AS $$
  SELECT v.code, v.limit_name, v.limit_max, v.limit_remaining, v.limit_resets_in > 0,
         v.limit_name IS NULL OR EXISTS (
           SELECT FROM apikey_limits(v.id) l
           WHERE (l.name, l.max, l.remaining) = (v.limit_name, v.limit_max, v.limit_remaining)
                 AND (v.limit_resets_in - extract(epoch FROM l.resets_in) BETWEEN 0 AND 2
                      OR v.limit_resets_in IS NULL AND l.resets_in IS NULL)),
         v.budget_remaining
  FROM apikey_verify('limits-' || name, tokens => tokens, reserve => reserve) v
$$;
SELECT test.limited('nearest', '{"requests_per_day": 4, "tokens_per_day": 100, "max_concurrent_requests": 2}') IS NOT NULL AS made;
SELECT * FROM test.nearest('nearest');
SELECT * FROM test.nearest('nearest', NULL, true);
SELECT apikey_record_usage(test.id('limits nearest'), 80);
SELECT * FROM test.nearest('nearest');
SELECT * FROM test.nearest('nearest', 21);
SELECT * FROM test.nearest('nearest', 101);
SELECT name FROM apikey_update(test.id('limits nearest'), jsonb_build_object('budget_id', apikey_budget_create('limits nearest', 8.5)));
SELECT apikey_record_usage(test.id('limits nearest'), cost => 8);
SELECT * FROM test.nearest('nearest');
SELECT apikey_record_usage(test.id('limits nearest'), cost => 8);
SELECT * FROM test.nearest('nearest');
SELECT * FROM test.nearest('none');
DROP FUNCTION test.nearest;

-- Rotated keys share what their root has.
SELECT test.limited('rotated', '{"requests_per_day": 3}') IS NOT NULL AS made;
SELECT id AS new_id, raw_key FROM apikey_rotate(test.id('limits rotated'), '1 hour') \gset
SELECT * FROM test.verify('rotated');
SELECT code FROM apikey_verify(:'raw_key');
SELECT * FROM test.verify('rotated');
SELECT code, reason FROM apikey_verify(:'raw_key');
SELECT used, remaining FROM apikey_limits(:'new_id');
-- ... also when the root is gone.
SELECT apikey_delete(test.id('limits rotated'));
SELECT apikey_flush() >= 0 AS flushed;
SELECT code, reason FROM apikey_verify(:'raw_key');

-- Concurrent requests
SELECT test.limited('slots', '{"max_concurrent_requests": 2}') IS NOT NULL AS made;
SELECT valid, reservation IS NULL AS none FROM apikey_verify('limits-slots');
SELECT reservation AS first FROM apikey_verify('limits-slots', reserve => true) \gset
SELECT reservation AS second FROM apikey_verify('limits-slots', reserve => true) \gset
SELECT :'first' <> :'second' AS two;
SELECT code, reason, reservation,
       retry_after BETWEEN extract(epoch FROM t.timeout) - 60 AND extract(epoch FROM t.timeout) AS in_timeout
FROM (SELECT current_setting('apikeys.reservation_timeout')::interval) t(timeout), apikey_verify('limits-slots', reserve => true);
SELECT * FROM test.standing('slots');
SELECT valid, reservation FROM apikey_verify('limits-slots');
SELECT apikey_release(:'first'), apikey_release(:'first') AS again, apikey_release(overlay(:'second' placing translate(right(:'second', 1), '0123456789abcdef', '123456789abcdef0') from 36)::uuid) AS guessed;
SELECT * FROM test.standing('slots');
SELECT * FROM test.verify('slots', 2, NULL, true);
BEGIN;
SELECT apikey_release(:'second');
ROLLBACK;
SELECT apikey_release(:'second');

-- When the limit is lowered, there is room when enough reservations have ended.
SELECT test.limited('lowered', '{"max_concurrent_requests": 3}') IS NOT NULL AS made;
DO $$
BEGIN
  FOR i IN 1 .. 3 LOOP
    PERFORM apikey_verify('limits-lowered', reserve => true);
    PERFORM pg_sleep(1.1) WHERE i = 1;
  END LOOP;
END $$;
SELECT rate_limits FROM apikey_update(test.id('limits lowered'), '{"rate_limits": {"max_concurrent_requests": 1}}');
SELECT v.code, v.retry_after >= extract(epoch FROM l.resets_in) AS as_late_as_the_last
FROM apikey_verify('limits-lowered', reserve => true) v, apikey_limits(test.id('limits lowered')) l;

-- A DROP EXTENSION that is undone has forgotten nothing, be it by ROLLBACK or
-- with a savepoint.
SET client_min_messages = error;
BEGIN;
DROP EXTENSION apikeys CASCADE;
ROLLBACK;
BEGIN;
SAVEPOINT here;
SAVEPOINT there;
DROP EXTENSION apikeys CASCADE;
RELEASE there;
ROLLBACK TO here;
COMMIT;
RESET client_min_messages;
SELECT * FROM test.standing('both');

-- apikey_check counts, spends and reserves as verify does.
SELECT test.limited('check', '{"requests_per_minute": 3, "max_concurrent_requests": 1}') IS NOT NULL AS made;
SELECT valid AS valid_before FROM apikeys.stats \gset
SELECT apikey_check('limits-check', reserve => true) AS first, apikey_check('limits-check', reserve => true) AS second,
       apikey_check('limits-check') AS third, apikey_check('limits-check') AS fourth, apikey_check('limits-check') AS fifth;
SELECT valid - :valid_before AS valid FROM apikeys.stats;
SELECT * FROM test.standing('check');

-- Outcomes are counted.
SELECT rate_limited > 5 AS counted FROM apikeys.stats;

SELECT * FROM test.errors(
  $$SELECT * FROM apikey_limits(NULL)$$,
  $$SELECT * FROM apikey_limits('00000000-0000-0000-0000-000000000000')$$,
  $$SET apikeys.reservation_timeout = 5$$);

-- A limit may have a name so long that its length takes four bytes of the row.
SELECT test.limited('long', jsonb_build_object('windows', jsonb_build_array(
  jsonb_build_object('requests', 3, 'per', '1 day', 'name', repeat('long', 50))))) IS NOT NULL AS made;
SELECT code, name, limit_name = repeat('long', 50) AS named, limit_max, limit_remaining, limit_resets_in > 80000 AS resets,
       reservation IS NOT NULL AS reserved, budget_remaining
FROM generate_series(1, 4) i, apikey_verify('limits-long', reserve => i > 0);

-- A void gives back to the windows that count the model; one that counts endpoints keeps it.
SELECT test.limited('void', '{"windows": [{"per": "1 day", "tokens": 100, "name": "gpt", "models": ["gpt-*"]},
  {"per": "1 day", "tokens": 100, "name": "chat", "endpoints": ["/chat"]}, {"per": "1 day", "tokens": 100, "name": "all"}]}') IS NOT NULL AS made;
SELECT reservation FROM apikey_verify('limits-void', 'gpt-1', '/chat', tokens => 10, reserve => true) \gset void_
SELECT apikey_record_usage(test.id('limits void'), 10, 0, :'void_reservation', 'gpt', 'gpt-1'),
       apikey_record_usage(test.id('limits void'), 7, request_id => 'other', model => 'other');
SELECT limit_name, used FROM test.standing('void');
SELECT apikey_void_usage(test.id('limits void'), 'other');
SELECT limit_name, used FROM test.standing('void');
SELECT apikey_void_usage(test.id('limits void'), 'gpt');
SELECT limit_name, used FROM test.standing('void');
DROP FUNCTION test.limited, test.verify, test.standing;

-- What is derived from a key counts in its limits, whoever uses them up.
SELECT id, raw_key FROM apikey_generate('parent', rate_limits => '{"requests_per_day": 3, "tokens_per_day": 10}') \gset parent_
SELECT id, raw_key FROM apikey_derive(:'parent_raw_key', '1 hour') \gset child_
SELECT code, rate_limits FROM apikey_verify(:'child_raw_key');
SELECT code FROM apikey_verify(:'parent_raw_key');
SELECT apikey_record_usage(:'child_id', 4);
SELECT l.name, l.used, p.used AS of_parent FROM apikey_limits(:'child_id') l JOIN apikey_limits(:'parent_id') p ON l.name = 'parent ' || p.name;
SELECT code FROM apikey_verify(:'child_raw_key');
SELECT code FROM apikey_verify(:'child_raw_key');
SELECT code FROM apikey_verify(:'parent_raw_key');

-- It may have limits of its own as well: a request counts in both.
SELECT apikey_budget_create('of the parent', 10, rate_limits => '{"requests_per_day": 100}') AS budget \gset
SELECT id, raw_key FROM apikey_generate('parent', budget_id => :'budget', rate_limits => '{"requests_per_day": 5, "tokens_per_day": 100, "max_concurrent_requests": 3}') \gset parent_
SELECT id, raw_key FROM apikey_derive(:'parent_raw_key', '1 hour', rate_limits => '{"requests_per_day": 3, "max_concurrent_requests": 1, "windows": [{"per": "1 hour", "tokens": 20}]}') \gset child_
CREATE FUNCTION test.uses(child uuid, parent uuid) RETURNS TABLE (name text, max numeric, used numeric, reserved numeric, of_parent numeric) LANGUAGE sql AS $$
  SELECT c.name, trim_scale(c.max), trim_scale(c.used), trim_scale(c.reserved), trim_scale(p.used)
  FROM apikey_limits(child) c LEFT JOIN apikey_limits(parent) p ON 'parent ' || p.name = c.name OR (p.name LIKE 'budget:%' AND p.name = c.name) ORDER BY c.name COLLATE "C"
$$;
SELECT code, limit_name, limit_max, limit_remaining, rate_limits FROM apikey_verify(:'child_raw_key');
SELECT * FROM test.uses(:'child_id', :'parent_id');
SELECT code, reservation IS NOT NULL AS reserved, reservation FROM apikey_verify(:'child_raw_key', tokens => 15, cost => 3, reserve => true) \gset child_
SELECT * FROM test.uses(:'child_id', :'parent_id');
-- What one rejects, neither counts.
SELECT code, reason, limit_name FROM apikey_verify(:'child_raw_key', reserve => true);
SELECT code, reason FROM apikey_verify(:'child_raw_key', tokens => 6);
SELECT code FROM apikey_verify(:'parent_raw_key');
SELECT * FROM test.uses(:'child_id', :'parent_id');
-- A reservation is settled in both, and charged to the budget.
SELECT apikey_record_usage(:'child_id', 12, 2, :'child_reservation', request_id => 'a');
SELECT * FROM test.uses(:'child_id', :'parent_id');
SELECT apikey_void_usage(:'child_id', 'a');
SELECT * FROM test.uses(:'child_id', :'parent_id');
SELECT apikey_record_usage(:'child_id', 30, 1);
SELECT * FROM test.uses(:'child_id', :'parent_id');
SELECT code, reason FROM apikey_verify(:'child_raw_key', tokens => 1);
-- The parent's are met first here; its plan's, too.
SELECT id, raw_key FROM apikey_derive(:'parent_raw_key', '1 hour', rate_limits => '{"requests_per_day": 50, "requests_per_minute": 40}') \gset other_
SELECT code, limit_name, rate_limits FROM apikey_verify(:'other_raw_key');
SELECT code FROM apikey_verify(:'other_raw_key');
SELECT code, reason, limit_name FROM apikey_verify(:'other_raw_key');
SELECT FROM apikey_update(:'parent_id', '{"rate_limits": {"requests_per_minute": 2}}');
SELECT code, rate_limits FROM apikey_verify(:'other_raw_key');
SELECT apikey_plan_set('of the parent', rate_limits => '{"requests_per_day": 5}');
SELECT FROM apikey_update(:'parent_id', '{"rate_limits": {}, "plan": "of the parent"}');
SELECT code, reason, rate_limits FROM apikey_verify(:'other_raw_key');
SELECT FROM apikey_update(:'parent_id', '{"plan": null}');
SELECT apikey_plan_delete('of the parent');
-- Without any of the parent's.
SELECT code, limit_name, limit_remaining, rate_limits FROM apikey_verify(:'other_raw_key');
-- A reservation of the one can be settled by the other.
SELECT reservation FROM apikey_verify(:'other_raw_key', tokens => 1, cost => 1, reserve => true) \gset other_
SELECT apikey_record_usage(:'parent_id', 1, 1, :'other_reservation');
SELECT reservation FROM apikey_verify(:'other_raw_key', tokens => 1, cost => 1, reserve => true) \gset other_
SELECT apikey_release(:'other_reservation');
SELECT name, used, reserved FROM test.uses(:'other_id', :'parent_id') WHERE name NOT LIKE '%minute';
-- Its limits live as long as it, and no longer.
SELECT apikey_delete(:'other_id');
SELECT apikey_delete(:'parent_id');
SELECT apikey_budget_delete(:'budget');
SELECT a, b, apikeys_data.common_rate_limits(a, b), apikeys_data.common_rate_limits(a, b) = apikeys_data.common_rate_limits(b, a) AS same
FROM (VALUES ('{}'::jsonb, '{}'::jsonb), ('{"requests_per_day": 1, "tokens_per_day": 0}', '{"requests_per_day": 2, "tokens_per_day": 5}'),
             ('{"requests_per_day": 0}', '{"requests_per_day": null}'), ('{"windows": null}', '{"windows": [{"per": "1 s", "cost": 1}]}')) v(a, b);
DROP FUNCTION test.uses;

-- Many keys have the same few documents, and what they were parsed to is remembered for
-- a while: each key keeps its own limits.
SELECT count(apikey_import(digest('documents-' || n, 'sha256'), 'documents ' || n, 'x',
  rate_limits => jsonb_build_object('requests_per_minute', 1e3 + d % 11, 'max_concurrent_requests', 5.0, 'windows', jsonb_build_array(
    jsonb_build_object('per', '1 hour', 'requests', 10 + d % 11, 'name', 'w' || d % 5, 'models', ARRAY['m' || d % 3])))) ) AS keys
FROM generate_series(1, 60) n, LATERAL (VALUES (n / 3)) document (d);
SELECT count(*) AS asked, count(*) FILTER (WHERE v.valid) AS valid,
  count(*) FILTER (WHERE (v.limit_name, v.limit_max) IS DISTINCT FROM CASE WHEN m = d % 3
    THEN ('w' || d % 5, 10.0 + d % 11) ELSE ('requests_per_minute'::text, 1000.0 + d % 11) END) AS wrong
FROM generate_series(0, 2) m, generate_series(1, 60) n, LATERAL (VALUES (n / 3)) document (d), LATERAL apikey_verify('documents-' || n, 'm' || m) v;
-- Only whole numbers that each reader of JSON has exactly.
SELECT number, (SELECT bool_or(line ~ 'NO ERROR') FROM test.errors(format('SELECT apikey_update(test.id(''documents 1''), %L)',
  '{"rate_limits": {"requests_per_day": ' || number || '}}')) line) AS accepted
FROM unnest('{1,10000,12345678,1e3,7.00,100000000,9007199254740991,9007199254740992,99999999999999999999,1e400,-1,-0.1,0.1,0.00001,10000.0001,1e-400}'::text[]) number;
DELETE FROM apikeys_data.key WHERE name LIKE 'documents %';
