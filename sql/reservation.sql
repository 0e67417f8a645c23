-- Reservations: what is estimated is taken in one step, and settled with what
-- was used.  Nothing of it without shared memory: reservation_1.out.
SELECT shared_memory FROM apikeys.stats \gset
\if :shared_memory
\else
SELECT apikey_import(digest('res-none', 'sha256'), 'reservation none', 'x', budget_id => apikey_budget_create('reservation none', 1)) IS NOT NULL AS made;
SELECT * FROM test.errors($$SELECT * FROM apikey_verify('res-none', reserve => true)$$);
SELECT code, reservation FROM apikey_verify('res-none');
\quit
\endif

CREATE FUNCTION test.make(name text, limits jsonb = '{}', budget uuid = NULL) RETURNS uuid LANGUAGE sql AS $$
  SELECT apikey_import(digest('res-' || name, 'sha256'), 'reservation ' || name, 'x', rate_limits => limits, budget_id => budget)
$$;
-- Verifies with a reservation, which is kept under a name.
CREATE TEMPORARY TABLE held (name text PRIMARY KEY, id uuid);
CREATE FUNCTION test.reserve(key text, name text, tokens bigint = NULL, cost numeric = NULL, budget uuid = NULL, model text = NULL, endpoint text = NULL)
RETURNS TABLE (code text, reason text, reserved boolean, limit_name text, remaining numeric, budget_remaining numeric) LANGUAGE plpgsql AS $$
DECLARE
  r record;
BEGIN
  SELECT * INTO r FROM apikey_verify('res-' || key, model, endpoint, tokens => tokens, reserve => true, cost => cost, budget_id => budget);
  IF r.reservation IS NOT NULL THEN
    INSERT INTO held VALUES (name, r.reservation);
  END IF;
  RETURN QUERY SELECT r.code, r.reason, r.reservation IS NOT NULL, r.limit_name, r.limit_remaining, r.budget_remaining;
END $$;
CREATE FUNCTION test.settle(key text, name text, tokens bigint = 0, cost numeric = 0, request text = NULL, model text = NULL, budget uuid = NULL) RETURNS boolean LANGUAGE sql AS $$
  SELECT public.apikey_record_usage(test.id('reservation ' || key), tokens, cost, (SELECT h.id FROM held h WHERE h.name = $2), request, model, budget)
$$;
CREATE FUNCTION test.release(name text) RETURNS boolean LANGUAGE sql AS $$
  SELECT public.apikey_release(h.id) FROM held h WHERE h.name = $1
$$;
CREATE FUNCTION test.standing(key text) RETURNS TABLE (name text, max numeric, used numeric, remaining numeric, reserved numeric) LANGUAGE sql AS $$
  SELECT l.name, l.max, trim_scale(l.used), trim_scale(l.remaining), l.reserved FROM public.apikey_limits(test.id('reservation ' || $1)) l
$$;
CREATE FUNCTION test.budgets() RETURNS TABLE (name text, spent numeric, reserved numeric, remaining numeric) LANGUAGE sql AS $$
  SELECT b.name, trim_scale(b.spent), b.reserved, trim_scale(b.remaining) FROM apikeys.budget_info b WHERE b.name LIKE 'reservation %' ORDER BY b.name COLLATE "C"
$$;

SELECT apikey_budget_create('reservation 1 company', 100) AS company \gset
SELECT apikey_budget_create('reservation 2 team', 20, parent_id => :'company', rate_limits => '{"max_concurrent_requests": 3, "windows": [{"per": "1 hour", "tokens": 1000}]}') AS team \gset
SELECT apikey_budget_create('reservation 2 customer', 5, parent_id => :'company') AS customer \gset
SELECT test.make('a', '{"tokens_per_day": 600, "max_concurrent_requests": 2, "windows": [{"per": "1 day", "cost": 12.5}]}', :'team') IS NOT NULL AS a,
       test.make('b', '{}', :'team') IS NOT NULL AS b, test.make('unlimited') IS NOT NULL AS unlimited;

-- All is taken in one step, or nothing.
SELECT * FROM test.reserve('a', 'a1', 400, 10, :'customer');
SELECT * FROM test.reserve('a', 'a1', 400, 4, :'customer');
SELECT * FROM test.standing('a');
SELECT * FROM test.budgets();
SELECT * FROM test.reserve('a', 'a2', 201, 1);
SELECT * FROM test.reserve('a', 'a2', 200, 8.6);
SELECT * FROM test.reserve('a', 'a2', 200, 8.5);
SELECT * FROM test.reserve('a', 'a3', 1);
SELECT * FROM test.reserve('b', 'b1', 401, 1);
SELECT * FROM test.reserve('b', 'b1', 1, 7.500000001);
SELECT * FROM test.reserve('b', 'b1', 1, 7.5);
SELECT * FROM test.reserve('b', 'b2');
SELECT * FROM test.budgets();
SELECT * FROM test.standing('b');
-- Who reserves nothing needs room, too.
SELECT code, reason FROM apikey_verify('res-b');

-- More than estimated, less than estimated, nothing.
SELECT test.settle('a', 'a1', 500, 6);
SELECT test.settle('a', 'a2', 50, 0.25);
SELECT test.release('b1'), test.release('b1') AS again, test.release('a1') AS settled;
SELECT * FROM test.standing('a');
SELECT * FROM test.budgets();

-- A rollback leaves the reservation, and so does a savepoint.
SELECT * FROM test.reserve('b', 'b3', 100, 10);
BEGIN;
SELECT test.settle('b', 'b3', 10, 1);
SELECT test.release('b3') AS in_use;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT test.settle('b', 'b3', 10, 1);
ROLLBACK TO s;
COMMIT;
SELECT * FROM test.standing('b');
-- A transaction that has settled counts both until it commits.
BEGIN;
SELECT test.settle('b', 'b3', 10, 1);
SELECT * FROM test.budgets();
COMMIT;
SELECT * FROM test.budgets();
SELECT * FROM test.standing('b');

-- What is settled twice, released or unknown counts in full.
SELECT test.settle('b', 'b3', 7, 0.5), test.settle('b', 'no such', 7, 0.25);
SELECT public.apikey_record_usage(test.id('reservation b'), 7, 0.25, gen_random_uuid());
SELECT * FROM test.standing('b');
SELECT * FROM test.budgets();

-- Settled where it was reserved, wherever the key is by then.
SELECT * FROM test.reserve('b', 'b4', 1, 1);
SELECT name FROM apikey_update(test.id('reservation b'), jsonb_build_object('budget_id', :'customer'));
SELECT test.settle('b', 'b4', 1, 2, 'moved', NULL, :'customer');
SELECT test.settle('b', 'b4', 1, 2, 'moved');
SELECT test.settle('b', 'b4', 1, 2, 'moved') AS repeated;
SELECT * FROM test.budgets();
SELECT apikey_void_usage(test.id('reservation b'), 'moved'), apikey_void_usage(test.id('reservation b'), 'moved') AS again;
SELECT * FROM test.budgets();

-- A repeated request leaves its new reservation alone.
SELECT * FROM test.reserve('b', 'b5', 1, 0.5);
SELECT test.settle('b', 'b5', 1, 0.5, 'once');
SELECT * FROM test.reserve('b', 'b6', 1, 0.5);
SELECT test.settle('b', 'b6', 1, 0.5, 'once');
SELECT * FROM test.budgets();
SELECT test.release('b6');

-- Any budget may be named, and counts the request; only a record spends a cost.
SELECT apikey_budget_create('reservation 3 foreign', 10, rate_limits => '{"requests_per_day": 2}') AS foreign \gset
SELECT * FROM test.reserve('unlimited', 'f1', NULL, 10, :'foreign');
SELECT * FROM test.reserve('unlimited', 'f2', NULL, 1, :'foreign');
SELECT test.release('f1');
SELECT code, limit_name, limit_remaining FROM apikey_verify('res-unlimited', budget_id => :'foreign');
SELECT code, limit_name, budget_remaining FROM apikey_verify('res-unlimited', budget_id => :'foreign');
SELECT apikey_budget_delete(:'foreign');

-- An id of zeroes is none, though a hold that is free has it: the first, which one of
-- these is.
SELECT test.make('zeroes', '{"max_concurrent_requests": 100}') AS zeroes \gset
CREATE TEMPORARY TABLE many AS SELECT reservation FROM generate_series(1, 100) n, LATERAL apikey_verify('res-zeroes', n::text, reserve => true);
SELECT bool_and(apikey_release(reservation)) AS released FROM many;
SELECT apikey_release('00000000-0000-0000-0000-000000000000');
SELECT public.apikey_record_usage(:'zeroes', 0, 0, '00000000-0000-0000-0000-000000000000');
SELECT apikey_release('00000000-0000-0000-0000-000000000000');
TRUNCATE many;
INSERT INTO many SELECT reservation FROM generate_series(1, 101) n, LATERAL apikey_verify('res-zeroes', n::text, reserve => true);
SELECT * FROM test.standing('zeroes');
SELECT count(*) AS released FROM many WHERE apikey_release(reservation);
DROP TABLE many;

-- A successor settles what its predecessor has reserved; another key does not.
SELECT * FROM test.reserve('a', 'a4', 1, 0.5);
SELECT * FROM test.errors(
  $$SELECT test.settle('b', 'a4', 1, 1)$$,
  $$SELECT test.settle('unlimited', 'a4', 1, 1)$$);
SELECT id AS successor FROM apikey_rotate(test.id('reservation a'), '1 hour') \gset
SELECT public.apikey_record_usage(:'successor', 2, 0.25, (SELECT id FROM held WHERE name = 'a4'));
SELECT * FROM test.budgets();

-- Nothing is reserved where nothing is limited, and for a key that is refused.
SELECT * FROM test.reserve('unlimited', 'u', 1, 1);
SELECT apikey_revoke(test.id('reservation a'));
SELECT * FROM test.reserve('a', 'a5', 1, 1);
SELECT count(*) FROM held WHERE name IN ('u', 'a5');

-- Windows with patterns count what matches; one with endpoints what is reserved.
SELECT test.make('patterns', '{"windows": [{"per": "1 day", "tokens": 100, "models": ["gpt-*"]}, {"per": "1 day", "requests": 2, "endpoints": ["/v1/images*"], "name": "images"},
  {"per": "1 day", "tokens": 50, "endpoints": ["/v1/chat"], "models": ["o1", "o3"]}]}') IS NOT NULL AS made;
SELECT * FROM test.reserve('patterns', 'p1', 60, NULL, NULL, 'gpt-4o');
SELECT * FROM test.reserve('patterns', 'p2', 60, NULL, NULL, 'gpt-4o');
SELECT * FROM test.reserve('patterns', 'p2', 60, NULL, NULL, 'claude');
SELECT * FROM test.reserve('patterns', 'p3', 60);
SELECT * FROM test.reserve('patterns', 'p4', 40, NULL, NULL, 'o3', '/v1/chat');
SELECT * FROM test.reserve('patterns', 'p5', 40, NULL, NULL, 'o1', '/v1/chat');
SELECT n, code, reason FROM generate_series(1, 3) n, LATERAL apikey_verify('res-patterns', 'dall-e', '/v1/images/' || n);
SELECT test.settle('patterns', 'p1', 20, model => 'gpt-4o'), test.settle('patterns', 'p2', 30, model => 'gpt-4'), test.settle('patterns', 'p4', 10, model => 'o3');
SELECT * FROM test.standing('patterns');
-- Another window, another number or another order resets nothing.
SELECT rate_limits IS NOT NULL AS changed FROM apikey_update(test.id('reservation patterns'), '{"rate_limits": {"tokens_per_day": 1000, "windows": [{"per": "1 day", "requests": 5, "endpoints": ["/v1/*"], "name": "images"},
  {"per": "24:00", "tokens": 90, "models": ["gpt-*"]}, {"per": "90 seconds", "cost": 0.000000001}]}}');
SELECT * FROM test.standing('patterns');

-- What cannot be
CREATE FUNCTION test.window(document text) RETURNS void LANGUAGE sql AS $$
  SELECT test.make('invalid', jsonb_build_object('windows', document::jsonb))
$$;
SELECT * FROM test.errors(
  $$SELECT test.window('{}')$$,
  $$SELECT test.window('[1]')$$,
  $$SELECT test.window('[{}]')$$,
  $$SELECT test.window('[{"per": "1 hour"}]')$$,
  $$SELECT test.window('[{"requests": 1}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "requests": 1, "tokens": 1}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "requests": 0}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "requests": 1.5}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "tokens": -1}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "cost": 0}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "cost": 0.0000000001}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "cost": 9000000001}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "cost": "NaN"}]')$$,
  $$SELECT test.window('[{"per": 60, "requests": 1}]')$$,
  $$SELECT test.window('[{"per": "soon", "requests": 1}]')$$,
  $$SELECT test.window('[{"per": "0.5 seconds", "requests": 1}]')$$,
  $$SELECT test.window('[{"per": "1.5 seconds", "requests": 1}]')$$,
  $$SELECT test.window('[{"per": "-1 hour", "requests": 1}]')$$,
  $$SELECT test.window('[{"per": "31 days 00:00:01", "requests": 1}]')$$,
  $$SELECT test.window('[{"per": "178000000 years", "requests": 1}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "requests": 1, "models": "gpt-4"}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "requests": 1, "models": [1]}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "requests": 1, "name": ""}]')$$,
  $$SELECT test.window(format('[{"per": "1 hour", "requests": 1, "name": "%s"}]', repeat('x', 256)))$$,
  $$SELECT test.window('[{"per": "1 hour", "requests": 1, "name": "tokens_per_day"}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "requests": 1}, {"per": "60 minutes", "requests": 2}]')$$,
  $$SELECT test.window('[{"per": "1 hour", "requests": 1, "model": ["x"]}]')$$,
  $$SELECT test.window((SELECT jsonb_agg(jsonb_build_object('per', '1 hour', 'requests', 1, 'name', 'w' || n)) FROM generate_series(1, 9) n)::text)$$,
  $$SELECT apikey_verify('res-b', cost => -1)$$,
  $$SELECT apikey_verify('res-b', cost => 'NaN')$$,
  $$SELECT apikey_verify('res-b', cost => 'infinity')$$,
  $$SELECT apikey_verify('res-b', cost => 1e18)$$,
  $$SELECT apikey_verify('res-b', tokens => -1)$$,
  $$SELECT apikey_verify('res-unlimited', cost => -1)$$,
  $$SELECT apikey_verify('res-b', budget_id => '00000000-0000-0000-0000-000000000000')$$,
  $$SELECT apikey_verify('res-b', any_permissions => array_fill('x'::text, ARRAY[101]))$$);
-- A cost beyond what is counted, and of a text that is no key
SELECT code, reason FROM apikey_verify('res-b', cost => 1e17, reserve => true);
SELECT code FROM apikey_verify('res-no such', cost => -1, tokens => -1, budget_id => '00000000-0000-0000-0000-000000000000');
-- The most that can be reserved of a budget without max_cost keeps nobody else
-- from it who reserves nothing of it.
SELECT test.make('huge', budget => apikey_budget_create('reservation huge')) IS NOT NULL AS made;
SELECT code, reserved FROM test.reserve('huge', 'huge', cost => 1e17);
SELECT code FROM apikey_verify('res-huge');
SELECT code FROM apikey_verify('res-huge', cost => 5);
SELECT code, reserved FROM test.reserve('huge', 'huge 2');
SELECT code, reason, reserved FROM test.reserve('huge', 'huge 3', cost => 5);
SELECT test.release('huge'), test.release('huge 2');
SELECT code, reserved FROM test.reserve('huge', 'huge 3', cost => 5);
-- A deleted key leaves what its requests have reserved of budgets to time out.
SELECT reserved FROM test.budgets() WHERE name = 'reservation huge';
SELECT apikey_delete(test.id('reservation huge'));
SELECT test.release('huge 3'), reserved FROM test.budgets() WHERE name = 'reservation huge';
-- The longest, the shortest and the most
SELECT test.make('most', jsonb_build_object('requests_per_minute', 9, 'tokens_per_minute', 9, 'requests_per_day', 9, 'tokens_per_day', 9, 'max_concurrent_requests', 9, 'windows',
  jsonb_agg(jsonb_build_object('per', CASE n WHEN 1 THEN '1 second' WHEN 2 THEN '31 days' WHEN 3 THEN '1 mon' ELSE n || ' minutes' END, 'requests', n + 10)))) IS NOT NULL AS made
FROM generate_series(1, 8) n;
SELECT name, max, CASE WHEN name ~ 'second' THEN 1 ELSE used END AS used FROM apikey_limits((SELECT id FROM apikey_verify('res-most')));
-- Costs are reserved in billionths, rounded up; what remains is exact.
SELECT apikey_budget_create('reservation fine', 2.0000000000005) AS fine, apikey_budget_create('reservation large', 1e17) AS large \gset
SELECT test.make('fine', '{}', :'fine') IS NOT NULL AS fine, test.make('large', '{}', :'large') IS NOT NULL AS large;
SELECT code, budget_remaining FROM test.reserve('fine', 'fine 1', cost => 0.0000000001);
SELECT code, budget_remaining FROM test.reserve('fine', 'fine 2', cost => 1.0000000000000);
SELECT code, budget_remaining FROM test.reserve('fine', 'fine 3', cost => 0.9999999990001);
SELECT code, budget_remaining FROM test.reserve('fine', 'fine 3', cost => 0.9999999980001);
SELECT code, budget_remaining FROM test.reserve('fine', 'fine 4');
-- What is spent beside what is reserved leaves no less than nothing.
SELECT public.apikey_record_usage(test.id('reservation fine'), cost => 1);
SELECT code, budget_remaining FROM apikey_verify('res-fine');
SELECT code, budget_remaining FROM test.reserve('large', 'large 1', cost => 12345.678901234);
SELECT code, budget_remaining FROM test.reserve('large', 'large 2', cost => 9223372036.8547758069);
SELECT name, reserved FROM test.budgets() WHERE name ~ 'fine|large';
-- So it is with costs of all sizes and of any form, as many digits as they have.
CREATE FUNCTION test.reserved(cost numeric) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
  budget uuid = (SELECT b.id FROM apikeys.budget_info b WHERE b.name = 'reservation large');
  before numeric = apikeys.reserved_cost(budget);
  reserved uuid = (SELECT v.reservation FROM apikey_verify('res-large', reserve => true, cost => cost) v);
  total numeric = apikeys.reserved_cost(budget);
BEGIN
  RETURN CASE WHEN apikey_release(reserved) THEN total - before END;
END $$;
WITH costs AS (
  SELECT round(digits * 10::numeric ^ power, decimals) AS cost
  FROM unnest('{0,1,5,9,10,12,99999999,123456789,98765432109876543,10000000100000001}'::numeric[]) digits,
    generate_series(-20, 9) power, unnest('{0,4,9,10,18,19,100}'::integer[]) decimals)
SELECT count(*) AS costs, count(*) FILTER (WHERE test.reserved(cost) IS DISTINCT FROM ceil(round(cost, 18) * 1e9) / 1e9) AS wrong
FROM costs WHERE cost < 9e9;
-- What does not fit because of a reservation may when that has ended; what never does, not before the period has.
SELECT test.make('day', '{}', apikey_budget_create('reservation day', 10, '1 day')) IS NOT NULL AS made;
SELECT code FROM test.reserve('day', 'day', cost => 3);
SELECT cost, code, retry_after < 80000 AS soon, retry_after > 80000 AS at_the_end FROM unnest('{8,11}'::numeric[]) cost, LATERAL apikey_verify('res-day', cost => cost);
-- What is too large for billionths in an integer is the largest of them.
SELECT test.release('large 1');
SELECT cost, test.reserved(cost) FROM unnest('{9223372036.854775807,9223372036.854775808,9223372036.86,1e15}'::numeric[]) cost;
DROP FUNCTION test.reserved;

-- What a row has of a window counts, however much it is: tokens of the day before by the part
-- of them that is left, and all of it, from now on, if the clock was set back since.
CREATE FUNCTION test.stored(key text, started interval, used bigint, used_before bigint) RETURNS boolean LANGUAGE sql AS $$
  WITH k AS (SELECT test.make(key, '{"tokens_per_day": 9000000000000000}') AS id)
  INSERT INTO apikeys_data.window_state
  SELECT k.id, ARRAY[4, 86400, 1, 1e6 * extract(epoch FROM now() - started - timestamptz '2000-01-01 00:00+00'), used, used_before]::bigint[], now() + '2 days'
  FROM k RETURNING true
$$;
SELECT key, test.stored(key, started, used, used_before)
FROM (VALUES ('half', '36 hours'::interval, 8000000000000000, 0), ('half before', '12 hours', 0, 8000000000000000), ('few now', '12 hours', 3, 8000000000000000),
             ('set back', '-1 hour', 5000000, 7000000), ('over', '3 days', 5, 7), ('small', '12 hours', 0, 1000)) AS v (key, started, used, used_before);
SELECT key, round(used / unit) AS used, resets_in BETWEEN '11:50' AND '12:00' AS in_12_hours
FROM (VALUES ('half', 1e14), ('half before', 1e14), ('set back', 1e5), ('over', 1)) AS v (key, unit), LATERAL apikey_limits(test.id('reservation ' || key)) l;
-- When as much as remains may pass; when all may pass, and all but what is counted now.
SELECT key, tokens, code, round(retry_after / 1000.0) AS thousand_seconds
FROM (VALUES ('half', 6000000000000000), ('half before', 9000000000000000), ('few now', 8999999999999997), ('few now', 8999999999999998),
             ('set back', 9000000000000000), ('over', 9000000000000000), ('small', 9000000000000000 - 490)) AS v (key, tokens),
     LATERAL apikey_verify('res-' || key, tokens => tokens);
-- What is settled counts where it was reserved, not in the day before.
SELECT code FROM test.reserve('half before', 'half before', 1000000);
SELECT test.settle('half before', 'half before', 500000000000000);
SELECT round(used / 1e13) AS used FROM apikey_limits(test.id('reservation half before'));
DROP FUNCTION test.stored;
-- Of two limits of concurrent requests that are reached, the one is named that will be so for longer.
SELECT apikey_budget_create('reservation 4 longer') AS longer \gset
SELECT test.make('shorter', '{"max_concurrent_requests": 1}', :'longer') IS NOT NULL AS shorter, test.make('longer', '{}', :'longer') IS NOT NULL AS longer;
SELECT code FROM test.reserve('shorter', 'shorter');
SELECT code FROM test.reserve('longer', 'longer');
SELECT code, reason FROM test.reserve('shorter', 'none');
SELECT rate_limits FROM apikey_budget_update(:'longer', '{"rate_limits": {"max_concurrent_requests": 1}}');
SELECT code, reason FROM test.reserve('shorter', 'none');
SELECT test.release('shorter'), test.release('longer');
-- Of a time that is over nothing counts, be it more or less than was reserved.
SELECT test.make('second', '{"windows": [{"per": "2 seconds", "tokens": 100}]}') IS NOT NULL AS made;
SELECT code FROM test.reserve('second', 'more', 30);
SELECT code FROM test.reserve('second', 'less', 30);
SELECT pg_sleep(4.1);
SELECT v.code, test.settle('second', 'more', 100), test.settle('second', 'less', 10), (SELECT s.used FROM test.standing('second') s WHERE v.valid) AS used
FROM apikey_verify('res-second', tokens => 50, reserve => true) v;

DROP FUNCTION test.make, test.reserve, test.settle, test.release, test.standing, test.budgets, test.window;
DROP TABLE held;
