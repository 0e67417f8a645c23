-- apikeys.usage_report: usage by model
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- What follows looks at one day.
DO $$ BEGIN IF localtime > '23:59:30' THEN PERFORM pg_sleep(31); END IF; END $$;

SELECT attname AS usage_report, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'apikeys.usage_report'::regclass AND attnum > 0 ORDER BY attnum;

-- The report, and whether the key's sums agree with it.
CREATE FUNCTION test.report(key_name text) RETURNS TABLE (model text, requests bigint, tokens bigint, cost numeric, agree boolean) LANGUAGE sql AS $$
  SELECT r.model, r.requests, r.tokens, r.cost,
         (sum(r.requests) OVER (), sum(r.tokens) OVER (), sum(r.cost) OVER ()) = (u.requests_today, u.tokens_today, u.cost_today)
  FROM apikeys.usage_report r, public.apikey_usage(r.key_id) u
  WHERE r.key_id = test.id(key_name) AND r.day = (now() AT TIME ZONE 'UTC')::date ORDER BY r.model
$$;

SELECT apikey_budget_create('report', 100) AS budget \gset
SELECT id FROM apikey_generate('report', user_id => '00000000-0000-0000-0000-000000000001', team_id => '00000000-0000-0000-0000-000000000002',
  external_id => 'customer 1', budget_id => :'budget') \gset
SELECT * FROM test.report('report');
SELECT apikey_record_usage(:'id', 10, 0.1, model => 'gpt-4o'), apikey_record_usage(:'id', 20, 0.2, NULL, 'r1', 'gpt-4o'),
       apikey_record_usage(:'id', 30, 0.3, NULL, 'r2', 'claude'), apikey_record_usage(:'id', 40, 0.4);
SELECT * FROM test.report('report');
CALL test.roll_up();
SELECT * FROM test.report('report');
-- Some rolled up, some not; another key
SELECT apikey_record_usage(:'id', 1, 0.01, model => 'gpt-4o'), apikey_record_usage(:'id', 2, 0.02, model => 'new');
SELECT id AS other_id FROM apikey_generate('report other', external_id => 'customer 2') \gset
SELECT apikey_record_usage(:'other_id', 1, model => 'gpt-4o');
SELECT * FROM test.report('report');
SELECT * FROM test.report('report other');
SELECT day = (now() AT TIME ZONE 'UTC')::date AS today, key_id = :'id' AS key, root_id = :'id' AS root, user_id, team_id, external_id,
       budget_id = :'budget' AS budget, sum(requests) AS requests
FROM apikeys.usage_report WHERE external_id LIKE 'customer _' GROUP BY day, key_id, root_id, user_id, team_id, external_id, budget_id ORDER BY external_id;
-- Taken back, before the roll-up and after
SELECT apikey_void_usage(:'id', 'r1');
SELECT * FROM test.report('report');
CALL test.roll_up();
SELECT apikey_void_usage(:'id', 'r2');
SELECT * FROM test.report('report');
CALL test.roll_up();
SELECT * FROM test.report('report');

-- Days are UTC.
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost, model) VALUES
  (:'id', '2020-02-28 23:59:59.999999+00', 1, 0.1, 'm'),
  (:'id', '2020-02-29 00:00:00+00', 10, 0.2, 'm'),
  (:'id', '2020-02-29 12:00:00+14', 100, 0.4, 'm'),
  (:'id', '2020-02-29 12:00:00+00', 1000, 0.8, NULL);
SELECT day, model, requests, tokens, cost FROM apikeys.usage_report WHERE key_id = :'id' AND day < '2021-01-01' ORDER BY 1, 2;
CALL test.roll_up();
SELECT day, model, requests, tokens, cost FROM apikeys.usage_report WHERE key_id = :'id' AND day < '2021-01-01' ORDER BY 1, 2;
SELECT * FROM apikey_usage_history(:'id', to_day => '2021-01-01');

-- 1,000 models a key and day, and (other); the same before the roll-up and after
CREATE FUNCTION test.summary(key_name text) RETURNS TABLE (day text, models bigint, largest text, requests numeric, tokens numeric, other bigint, other_tokens bigint) LANGUAGE sql AS $$
  SELECT CASE WHEN r.day < '2021-01-01' THEN r.day::text ELSE 'today' END, count(*), max(nullif(r.model, '(other)')), sum(r.requests), sum(r.tokens),
         sum(r.requests) FILTER (WHERE r.model = '(other)'), sum(r.tokens) FILTER (WHERE r.model = '(other)')
  FROM apikeys.usage_report r WHERE r.key_id = test.id(key_name) GROUP BY r.day ORDER BY r.day
$$;
SELECT id FROM apikey_generate('models') \gset
SELECT count(*) FILTER (WHERE apikey_record_usage(:'id', 1, model => 'm' || to_char(n, '0000'))) FROM generate_series(1, 900) n;
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost, model) VALUES (:'id', '2020-02-29 00:00:00+00', 1, 0, 'm yesterday');
SELECT * FROM test.summary('models');
CALL test.roll_up();
SELECT * FROM test.summary('models');
-- Over the bound in one batch, each twice
SELECT count(*) FILTER (WHERE apikey_record_usage(:'id', 1, request_id => n::text, model => 'm' || to_char((n + 1) / 2, '0000'))) FROM generate_series(1, 2100) n;
SELECT * FROM test.summary('models');
CALL test.roll_up();
SELECT * FROM test.summary('models');
SELECT apikey_record_usage(:'id', 1000000), apikey_record_usage(:'id', 10000, model => '(other)'), apikey_record_usage(:'id', 10000, model => 'late'),
       apikey_record_usage(:'id', 100000, model => 'm 0001');
SELECT * FROM test.summary('models');
CALL test.roll_up();
SELECT * FROM test.summary('models');
-- A void finds the row of its record.
SELECT apikey_void_usage(:'id', '1'), apikey_void_usage(:'id', '2100');
SELECT * FROM test.summary('models');
CALL test.roll_up();
SELECT * FROM test.summary('models');

-- What goes with a key
SELECT apikey_delete(:'id'), apikey_delete(:'other_id');
CALL test.roll_up();
SELECT count(*) FROM apikeys_data.usage_day WHERE key_id IN (:'id', :'other_id');

SELECT raw_key FROM apikey_generate('report key') \gset
SELECT e FROM test.errors(
  $$SELECT apikey_record_usage(test.id('report'), model => '')$$,
  $$SELECT apikey_record_usage(test.id('report'), model => repeat('x', 256))$$,
  format($$SELECT apikey_record_usage(test.id('report'), model => 'gpt %s')$$, :'raw_key')
) e WHERE e !~ :'raw_key';
SELECT apikey_delete(test.id('report key')), apikey_delete(test.id('report'));
SELECT apikey_budget_delete(:'budget');
DROP FUNCTION test.report, test.summary;
