-- Functions that decide by their arguments alone, at their edges.

-- Entries of the ledger: of a request, of a void, and of a budget alone.
SELECT e.*, apikeys.check_usage_entry(CASE WHEN of_key THEN gen_random_uuid() END, requests, tokens, cost,
                                      CASE WHEN budget THEN gen_random_uuid() END, CASE WHEN period THEN now() END) AS valid
FROM (VALUES
  (true, 1, 0::bigint, 0::numeric, false, false),
  (true, 1, 9223372036854775807, 0.000000000000000001, true, true),
  (true, 1, -1, 0, false, false),
  (true, 1, 0, -1, false, false),
  (true, -1, 0, 0, false, false),
  (true, -1, -5, -0.5, true, true),
  (true, -1, 1, 0, false, false),
  (true, -1, 0, 0.5, false, false),
  (true, 0, 0, 0, false, false),
  (true, 2, 0, 0, false, false),
  (true, -2, 0, 0, false, false),
  (true, 1, 0, 0.0000000000000000001, false, false),
  (true, 1, 0, 'NaN', false, false),
  (true, 1, 0, 'Infinity', false, false),
  (true, 1, 0, 0, true, false),
  (true, 1, 0, 0, false, true),
  (true, NULL, 0, 0, false, false),
  (true, 1, NULL, 0, false, false),
  (true, 1, 0, NULL, false, false),
  (false, 0, 0, 1, true, true),
  (false, 0, 0, -1, true, true),
  (false, 0, 0, 1, false, false),
  (false, 0, 1, 1, true, true),
  (false, 1, 0, 1, true, true),
  (false, -1, 0, 1, true, true),
  (false, 0, 0, 'NaN', true, true)) AS e (of_key, requests, tokens, cost, budget, period);

-- What a request may be that was recorded with an id.
SELECT left(request_id, 5) AS request_id, length(request_id) AS length, tokens, cost, length(model) AS model, budgets, periods,
       apikeys.check_usage_request(request_id, tokens, cost, model, replace(budgets, 'B', '00000000-0000-0000-0000-00000000000b')::uuid[], periods::timestamptz[]) AS valid
FROM (VALUES
  ('r', 1::bigint, 1::numeric, 'm', NULL, NULL),
  (repeat('ä', 255), 1, 1, repeat('ä', 255), NULL, NULL),
  (repeat('r', 256), 1, 1, 'm', NULL, NULL),
  ('', 1, 1, 'm', NULL, NULL),
  (NULL, 1, 1, 'm', NULL, NULL),
  ('r', NULL, 1, 'm', NULL, NULL),
  ('r', 1, NULL, 'm', NULL, NULL),
  ('r', -1, 1, 'm', NULL, NULL),
  ('r', 1, -1, 'm', NULL, NULL),
  ('r', 1, 1, NULL, NULL, NULL),
  ('r', 1, 1, '', NULL, NULL),
  ('r', 1, 1, repeat('m', 256), NULL, NULL),
  ('r', 1, 1, 'm', '{B}', '{2026-01-01}'),
  ('r', 1, 1, 'm', '{B}', NULL),
  ('r', 1, 1, 'm', NULL, '{2026-01-01}'),
  ('r', 1, 1, 'm', '{B}', '{2026-01-01,2026-01-02}'),
  ('r', 1, 1, 'm', '{B,B}', '{2026-01-01,NULL}'),
  ('r', 1, 1, 'm', '{B,NULL}', '{2026-01-01,2026-01-01}'),
  ('r', 1, 1, 'm', '{{B}}', '{{2026-01-01}}'),
  ('r', 1, 1, 'm', '[0:0]={B}', '[0:0]={2026-01-01}'),
  ('r', 1, 1, 'm', '{}', '{}')) AS r (request_id, tokens, cost, model, budgets, periods);
SELECT n, apikeys.check_usage_request('r', 0, 0, NULL, array_fill(gen_random_uuid(), ARRAY[n]), array_fill(now(), ARRAY[n])) AS valid
FROM unnest('{8,9,10}'::integer[]) n;

-- Windows of a row, six numbers each.
SELECT windows, apikeys.check_windows(windows) AS valid
FROM (VALUES
  ('{}'::bigint[]),
  ('{-1,60,0,0,0,0}'),
  ('{1,2678400,2,-211813488000000000,9223372036854775807,9223372036854775807}'),
  ('{1,0,0,0,0,0}'), ('{1,2678401,0,0,0,0}'), ('{1,-1,0,0,0,0}'), ('{1,4294967297,0,0,0,0}'),
  ('{1,60,-1,0,0,0}'), ('{1,60,3,0,0,0}'), ('{1,60,4294967296,0,0,0}'),
  ('{1,60,0,9223372036854775807,0,0}'), ('{1,60,0,-9223372036854775808,0,0}'),
  ('{1,60,0,0,-1,0}'), ('{1,60,0,0,0,-1}'),
  ('{1,60,0,0,0}'), ('{1,60,0,0,0,0,0}'), ('{1,60,0,0,0,NULL}'), ('{{1,60,0,0,0,0}}'),
  ('{1,60,0,0,0,0,1,60,0,0,0,-1}')) AS w (windows);
SELECT n, apikeys.check_windows(array_agg(m ORDER BY i, o)) AS valid
FROM unnest('{16,17}'::integer[]) n, generate_series(1, n) i, unnest('{1,60,0,0,0,0}'::bigint[]) WITH ORDINALITY AS m (m, o)
GROUP BY n ORDER BY n;

-- Periods of a budget.
SELECT every, at, p.*
FROM (VALUES
  ('2026-01-31'::timestamptz, '1 month'::interval, '2026-02-28'::timestamptz, 'UTC'),
  ('2026-01-31', NULL, '2026-02-28', 'UTC'),
  (NULL, '1 month', '2026-02-28', 'UTC'),
  ('2026-01-31', '1 month', NULL, 'UTC'),
  ('2026-01-31', '1 month', '2026-02-28', NULL)) AS v (origin, every, at, zone),
  LATERAL apikeys.period_at(origin, every, at, zone) p;
SELECT * FROM test.errors(
  $$SELECT apikeys.period_at('infinity', '1 day', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '1 day', '-infinity', 'UTC')$$,
  $$SELECT apikeys.period_at('4714-11-24 BC UTC', '1 day', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '1 day', '294276-12-31 UTC', 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '0', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '1 month -1 day', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '-1 month 60 days', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '1 day -1 second', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '00:00:00.999999', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '1000 years 1 day', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '365250 days', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '365251 days', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '8766000:00:00', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '8766000:00:01', now(), 'UTC')$$,
  $$SELECT apikeys.period_at(now(), '12001 months', now(), 'UTC')$$);

-- When a key ends that is not used any more.
SELECT expires_at, idle_timeout, idle_since, apikeys.ends_at(expires_at, idle_timeout, idle_since)
FROM (VALUES
  ('2026-01-03'::timestamptz, '1 day'::interval, '2026-01-01'::timestamptz), ('2026-01-01', '1 day', '2026-01-01'),
  (NULL, '1 day', '2026-01-01'), ('2026-01-03', NULL, '2026-01-01'), ('2026-01-03', '1 day', NULL), (NULL, NULL, '2026-01-01')
) AS e (expires_at, idle_timeout, idle_since);

-- A key's row: what may be null, and what is refused.
SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) AS valid;
SELECT * FROM test.errors(
  $$SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, NULL, '', NULL, NULL, NULL, NULL)$$,
  $$SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, NULL, repeat('s', 64), NULL, NULL, NULL, NULL)$$,
  $$SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, NULL, 's/', NULL, NULL, NULL, NULL)$$,
  $$SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL, 'infinity', NULL, NULL)$$,
  $$SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL, '-infinity', NULL, NULL)$$,
  $$SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, '\x00', NULL, NULL, NULL, NULL, NULL)$$,
  $$SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, NULL, NULL, '', NULL, NULL, NULL)$$,
  $$SELECT apikeys.check_key(E' \t\n', NULL, NULL, '{}', '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$,
  $$SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', ('{"a": ' || repeat('[', 200) || repeat(']', 200) || '}')::jsonb, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$,
  $$SELECT apikeys.check_key('n', NULL, NULL, '{}', '{}', '{}', array_fill('10.0.0.1'::inet, ARRAY[100000]), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$,
  $$SELECT apikeys.check_key('n', NULL, NULL, jsonb_build_object('allowed_models', array_fill('m'::text, ARRAY[2000])), '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$);

-- Of what the name of a secret may be made.
SELECT string_agg(chr(i), '' ORDER BY i) AS accepted
FROM generate_series(1, 127) i
WHERE 'NO ERROR' = ANY (SELECT btrim(e) FROM test.errors(format(
  'SELECT apikeys.check_key(''n'', NULL, NULL, ''{}'', ''{}'', ''{}'', NULL, NULL, NULL, NULL, %L, NULL, NULL, NULL, NULL)', 'a' || chr(i))) e);

-- Windows of rate limits: their lengths, names and patterns.
SELECT w, e.*
FROM unnest(ARRAY[
  '{"per": "1 second", "requests": 1}', '{"per": "31 days", "requests": 1}', '{"per": "1 month", "requests": 1}',
  '{"per": "1 month 1 day", "requests": 1}', '{"per": "1 month 1 day 00:00:01", "requests": 1}', '{"per": "12 months -330 days", "requests": 1}',
  '{"per": "13 months -360 days", "requests": 1}', '{"per": "-12 months 400 days -950:00", "requests": 1}', '{"per": "-12 months 401 days", "requests": 1}',
  '{"per": "-370 days 9600:00", "requests": 1}', '{"per": "-370 days 9601:00", "requests": 1}', '{"per": "400 days -9600:00", "requests": 1}', '{"per": "12 months -400 days 9600:00", "requests": 1}',
  '{"per": "401 days -9601:00", "requests": 1}', '{"per": "12 months 350 days -9600:00", "requests": 1}', '{"per": "12 months 400 days -17520:00", "requests": 1}', '{"per": "0", "requests": 1}', '{"per": "00:00:00.999999", "requests": 1}',
  '{"per": null, "requests": 1}', '{"per": "1 hour", "requests": 1, "tokens": null, "name": null, "models": null, "endpoints": []}',
  '{"per": "1 hour", "requests": 1, "name": 5}', '{"per": "1 hour", "requests": 1, "name": ["n"]}', '{"per": "1 hour", "cost": "1"}',
  '{"per": "1 hour", "cost": 9000000000}', '{"per": "1 hour", "cost": 0.000000001}', '{"per": "1 hour", "cost": 9000000000.000000001}',
  '[]', '[["per"]]', '"1 hour"', 'null']) w,
  LATERAL (SELECT string_agg(line, ' ') AS answer FROM test.errors(format(
    'SELECT apikeys.check_key(''n'', NULL, NULL, ''{}'', %L, ''{}'', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)',
    '{"windows": [' || w || ']}')) WITH ORDINALITY l (line, n) WHERE n > 1) e;

-- An address that is longer than any, or has a byte that is none of an address's.
SELECT apikey_import(digest('edge-home', 'sha256'), 'edge home', 'edge', allowed_ips => '{10.0.0.0/8}') IS NOT NULL AS made;
SELECT length(ip), v.code
FROM unnest(ARRAY['10.0.0.1', repeat(' ', 50) || '10.0.0.1', repeat('1', 300), '10.0.0.1' || chr(1)]) ip,
     apikey_verify('edge-home', client_ip => ip) v;

-- Where the end of a key is the beginning of another one, nothing of either is shown.
WITH one AS (SELECT s || test.checksum(s) AS key FROM (VALUES ('gw-edges000overlap0test0key001')) v (s)),
     two AS (SELECT s || test.checksum(s) AS key FROM one, LATERAL (SELECT right(one.key, 1) || 'edges000overlap0test0key002') v (s))
SELECT replace(apikeys.mask_raw_keys('(' || one.key || ')'), left(one.key, 4), 'START') AS one,
       apikeys.mask_raw_keys('(' || one.key || substr(two.key, 2) || ')') AS both
FROM one, two;

-- Lists of any length, in the cache or not, allow what is in them.
SELECT n, apikey_import(digest('edge-list-' || n, 'sha256'), 'edge list', 'edge', allowed_ips => ARRAY(SELECT inet '10.0.0.0' + i FROM generate_series(1, n) i)) IS NOT NULL AS made
FROM unnest('{100,300,1000}'::integer[]) n;
SELECT n, i - n AS beyond, min(v.code), max(v.code), count(*)
FROM unnest('{100,300,1000}'::integer[]) n, LATERAL unnest(ARRAY[0, 1, n, n + 1]) i, generate_series(1, 2),
     apikey_verify('edge-list-' || n, client_ip => host(inet '10.0.0.0' + i)) v
GROUP BY n, i ORDER BY n, i;
-- A key that may be idle for very long.
SELECT apikey_import(digest('edge-idle', 'sha256'), 'edge idle', 'edge', idle_timeout => '1000 years') IS NOT NULL AS made;
SELECT code FROM apikey_verify('edge-idle');
