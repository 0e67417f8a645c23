-- apikey_record_usage, apikey_usage, apikey_usage_history, apikey_flush
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- What follows looks at one day.
DO $$ BEGIN IF localtime > '23:59:30' THEN PERFORM pg_sleep(31); END IF; END $$;

-- The flush worker may roll up between any two of these statements, or not run at
-- all: the answers are the same.  Here it is done by hand, by test.roll_up().

-- The usage of a key by each road there is, and whether all agree.
CREATE FUNCTION test.usage(key_name text) RETURNS TABLE (requests bigint, tokens bigint, cost numeric,
  today text, last_used boolean, agree boolean) LANGUAGE sql AS $$
  SELECT u.total_requests, u.total_tokens, u.total_cost,
         format('%s %s %s', u.requests_today, u.tokens_today, u.cost_today), u.last_used_at IS NOT NULL,
         (i.total_requests, i.total_tokens, i.total_cost, i.requests_today, i.tokens_today, i.cost_today)
           = (u.total_requests, u.total_tokens, u.total_cost, u.requests_today, u.tokens_today, u.cost_today)
         AND i.last_used_at IS NOT DISTINCT FROM u.last_used_at
         AND (SELECT g = i FROM apikey_get(i.id) g)
         AND (SELECT (coalesce(sum(h.requests), 0), coalesce(sum(h.cost), 0)) = (u.total_requests, u.total_cost)
              FROM apikey_usage_history(i.id) h)
         AND (SELECT (coalesce(sum(h.requests), 0), coalesce(sum(h.tokens), 0), coalesce(sum(h.cost), 0))
                       = (u.requests_today, u.tokens_today, u.cost_today)
              FROM apikey_usage_history(i.id, (now() AT TIME ZONE 'UTC')::date) h)
  FROM apikeys.info i, public.apikey_usage(i.id) u WHERE i.name = key_name
$$;

-- A key that was never used
SELECT id FROM apikey_generate('usage') \gset
SELECT * FROM apikey_usage(:'id') \gx
SELECT * FROM apikey_usage_history(:'id');
SELECT * FROM test.usage('usage');

-- One request, with and without figures; before and after the roll-up
SELECT apikey_record_usage(:'id');
SELECT * FROM test.usage('usage');
SELECT apikey_record_usage(:'id', 100);
SELECT apikey_record_usage(:'id', 23, 0.1), apikey_record_usage(:'id', 0, 0.2);
SELECT apikey_record_usage(id => :'id', cost => 1.000000000000000001);
SELECT apikey_record_usage(cost => 0, tokens => 0, id => :'id');
SELECT * FROM test.usage('usage');
CALL test.roll_up();
SELECT * FROM test.usage('usage');
SELECT requests, tokens, cost FROM apikey_usage_history(:'id');

-- Some rolled up, some not, others' in between
SELECT id AS other_id FROM apikey_generate('usage other') \gset
SELECT count(apikey_record_usage(id, n, n * 0.01)::text)
FROM generate_series(1, 100) n, (VALUES (:'id'::uuid), (:'other_id')) v(id);
SELECT * FROM test.usage('usage');
SELECT * FROM test.usage('usage other');
CALL test.roll_up();
SELECT * FROM test.usage('usage');
SELECT * FROM test.usage('usage other');
SELECT apikey_flush() AS nothing_left;

-- Costs are exact: no binary fractions.
SELECT id FROM apikey_generate('cents') \gset
SELECT count(apikey_record_usage(:'id', cost => 0.1)::text) FROM generate_series(1, 10);
SELECT total_cost FROM apikey_usage(:'id');
CALL test.roll_up();
SELECT total_cost = 1 AS exact, cost_today = 1 AS today FROM apikey_usage(:'id');

-- Usage is recorded for a key of any status: the request has been made.
SELECT id FROM apikey_generate('revoked usage') \gset
SELECT apikey_revoke(:'id');
SELECT apikey_record_usage(:'id', 5, 0.5);
SELECT * FROM test.usage('revoked usage');
CALL test.roll_up();
SELECT * FROM test.usage('revoked usage');

-- It is part of the transaction.
SELECT id FROM apikey_generate('undone usage') \gset
BEGIN;
SELECT apikey_record_usage(:'id', 1, 1);
SELECT requests FROM test.usage('undone usage');
SAVEPOINT s;
SELECT apikey_record_usage(:'id', 1, 1);
SELECT requests FROM test.usage('undone usage');
ROLLBACK TO s;
SELECT requests FROM test.usage('undone usage');
SELECT apikey_flush() >= 0 AS flushed;
SELECT requests FROM test.usage('undone usage');
ROLLBACK;
SELECT requests FROM test.usage('undone usage');
BEGIN;
SELECT apikey_record_usage(:'id', 2, 2);
COMMIT;
SELECT * FROM test.usage('undone usage');
CALL test.roll_up();
SELECT * FROM test.usage('undone usage');

-- A key and its usage in one transaction
BEGIN;
SELECT id AS new_id FROM apikey_generate('at once') \gset
SELECT apikey_record_usage(:'new_id', 7, 0.7);
SELECT * FROM test.usage('at once');
COMMIT;
CALL test.roll_up();
SELECT * FROM test.usage('at once');

-- One snapshot sees rolled-up and other entries together: an old one sees
-- what there was.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT requests FROM test.usage('at once');
SELECT requests FROM test.usage('at once');
COMMIT;

-- Days are UTC, and a late entry counts for the day of its record, whatever
-- the session's time zone.
SELECT id FROM apikey_generate('days') \gset
SET timezone = 'Pacific/Kiritimati';
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) VALUES
  (:'id', '2020-02-28 23:59:59.999999+00', 1, 0.1),
  (:'id', '2020-02-29 00:00:00+00', 10, 0.2),
  (:'id', '2020-02-29 23:59:59.999999+00', 100, 0.4),
  (:'id', '2020-03-01 00:00:00+00', 1000, 0.8),
  (:'id', '2020-02-29 12:00:00+14', 10000, 1.6);
SELECT apikey_record_usage(:'id', 100000, 3.2);
SELECT requests, tokens, cost, today, agree FROM test.usage('days');
SELECT * FROM apikey_usage_history(:'id') WHERE day < '2021-01-01' ORDER BY day;
CALL test.roll_up();
SELECT requests, tokens, cost, today, agree FROM test.usage('days');
SELECT * FROM apikey_usage_history(:'id') WHERE day < '2021-01-01' ORDER BY day;
SET timezone = 'Pacific/Pago_Pago';
SELECT requests, tokens, cost, today, agree FROM test.usage('days');
SELECT * FROM apikey_usage_history(:'id') WHERE day < '2021-01-01' ORDER BY day;
SET timezone = 'UTC';

-- More for a day that is rolled up already
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) VALUES (:'id', '2020-02-29 08:00:00+00', 5, 0.05);
SELECT * FROM apikey_usage_history(:'id', '2020-02-29', '2020-02-29');
CALL test.roll_up();
SELECT * FROM apikey_usage_history(:'id', '2020-02-29', '2020-02-29');

-- The bounds are part of the range; each may be absent.
SELECT 'from', count(*), min(day) FROM apikey_usage_history(:'id', '2020-02-29')
UNION ALL SELECT 'to', count(*), max(day) FROM apikey_usage_history(:'id', to_day => '2020-02-29')
UNION ALL SELECT 'both', count(*), min(day) FROM apikey_usage_history(:'id', '2020-02-29', '2020-03-01')
UNION ALL SELECT 'neither', count(*), min(day) FROM apikey_usage_history(:'id', NULL, NULL)
UNION ALL SELECT 'infinite', count(*), min(day) FROM apikey_usage_history(:'id', '-infinity', 'infinity')
UNION ALL SELECT 'before', count(*), min(day) FROM apikey_usage_history(:'id', to_day => '2020-02-27')
UNION ALL SELECT 'between', count(*), min(day) FROM apikey_usage_history(:'id', '2020-03-02', '2020-03-03')
UNION ALL SELECT 'backwards', count(*), min(day) FROM apikey_usage_history(:'id', '2020-03-01', '2020-02-28')
UNION ALL SELECT 'named', count(*), min(day) FROM apikey_usage_history(id => :'id', to_day => '2020-02-29', from_day => '2020-02-28');
SELECT array_agg(day) = array_agg(day ORDER BY day) AS in_order FROM apikey_usage_history(:'id');

-- Sums end at the largest bigint, and nothing fails for it: neither a call,
-- nor a view, nor the roll-up of others.
SELECT id FROM apikey_generate('large') \gset
SELECT apikey_record_usage(:'id', 9223372036854775807);
SELECT requests, tokens, today, agree FROM test.usage('large');
SELECT apikey_record_usage(:'id', 1), apikey_record_usage(:'other_id', 1);
SELECT requests, tokens, today, agree FROM test.usage('large');
CALL test.roll_up();
SELECT requests, tokens, today, agree FROM test.usage('large');
SELECT apikey_record_usage(:'id', 9223372036854775807), apikey_record_usage(:'id', 9223372036854775807);
SELECT requests, tokens, today, agree FROM test.usage('large');
SELECT requests, tokens FROM apikey_usage_history(:'id');
CALL test.roll_up();
SELECT requests, tokens, today, agree FROM test.usage('large');
SELECT requests, tokens FROM apikey_usage_history(:'id');
SELECT requests, agree FROM test.usage('usage other');

-- What goes with a key.  Entries of a key that is deleted are dropped.
SELECT id FROM apikey_generate('gone') \gset
SELECT apikey_record_usage(:'id', 1, 1);
CALL test.roll_up();
SELECT apikey_record_usage(:'id', 1, 1);
SELECT apikey_delete(:'id');
CALL test.roll_up();
SELECT (SELECT count(*) FROM apikeys_data.usage WHERE key_id = :'id') AS usage,
       (SELECT count(*) FROM apikeys_data.usage_day WHERE key_id = :'id') AS usage_day,
       (SELECT count(*) FROM apikeys_data.usage_entry WHERE key_id = :'id') AS usage_entry;

-- A rotated key starts afresh, and the old one keeps its usage.
SELECT id FROM apikey_generate('turned') \gset
SELECT apikey_record_usage(:'id', 8, 0.8);
SELECT id AS new_id FROM apikey_rotate(:'id') \gset
SELECT total_requests, total_tokens, total_cost FROM apikey_usage(:'id');
SELECT total_requests, total_tokens, total_cost FROM apikey_usage(:'new_id');

-- Recorded usage is no verify, and no change of the key.
SELECT last_used_at, total_requests, created_at = updated_at AS unchanged FROM apikey_get(:'new_id');
SELECT apikey_record_usage(:'new_id');
SELECT last_used_at, total_requests, created_at = updated_at AS unchanged FROM apikey_get(:'new_id');

-- apikey_usage gives the live last use.
SELECT id, raw_key FROM apikey_generate('live') \gset
SELECT last_used_at FROM apikey_usage(:'id');
SELECT code FROM apikey_verify(:'raw_key');
SELECT requests, tokens, cost, today, last_used = test.keeps_last_use() AS last_used, agree FROM test.usage('live');
SELECT apikey_flush() >= 0 AS flushed;
SELECT requests, tokens, cost, today, last_used = test.keeps_last_use() AS last_used, agree FROM test.usage('live');
SELECT u.last_used_at IS NOT DISTINCT FROM s.last_used_at AS stored
FROM apikey_usage(:'id') u LEFT JOIN apikeys_data.usage s ON s.key_id = :'id';

-- Reading needs no right to write; recording and flushing do.
BEGIN READ ONLY;
SELECT total_requests FROM apikey_usage(:'id');
SELECT count(*) FROM apikey_usage_history(:'id');
COMMIT;

-- Errors
SELECT * FROM test.errors(
  $$SELECT apikey_record_usage('00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_record_usage(NULL)$$,
  $$SELECT apikey_usage('00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_usage(NULL)$$,
  $$SELECT apikey_record_usage(test.id('live'), -1)$$,
  $$SELECT apikey_record_usage(test.id('live'), -9223372036854775808)$$,
  $$SELECT apikey_record_usage(test.id('live'), NULL)$$,
  $$SELECT apikey_record_usage(test.id('live'), 1, -0.01)$$,
  $$SELECT apikey_record_usage(test.id('live'), 1, 'NaN')$$,
  $$SELECT apikey_record_usage(test.id('live'), 1, 'Infinity')$$,
  $$SELECT apikey_record_usage(test.id('live'), 1, '-Infinity')$$,
  $$SELECT apikey_record_usage(test.id('live'), 1, NULL)$$
);
\set VERBOSITY sqlstate
-- Two of these would be more than a numeric holds, and no sum would work.
SELECT apikey_record_usage(test.id('undone usage'), 1, repeat('9', 131072)::numeric);
BEGIN READ ONLY;
SELECT apikey_record_usage(:'id');
ROLLBACK;
BEGIN READ ONLY;
SELECT apikey_flush();
ROLLBACK;
\set VERBOSITY default
SELECT requests FROM test.usage('live');

-- A key that is gone has no history.
SELECT count(*) FROM apikey_usage_history('00000000-0000-0000-0000-00000000dead');

-- The tables refuse what would break the sums, whoever writes it.
SELECT * FROM test.errors(
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) VALUES (test.id('live'), now(), -1, 0)$$,
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) VALUES (test.id('live'), now(), 0, -1)$$,
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) VALUES (test.id('live'), now(), 0, 'NaN')$$,
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) VALUES (test.id('live'), now(), 0, 'Infinity')$$,
  $$INSERT INTO apikeys_data.usage (key_id, total_cost) VALUES (gen_random_uuid(), 'Infinity')$$,
  $$INSERT INTO apikeys_data.usage_day (key_id, day, cost) VALUES (test.id('live'), current_date, 'NaN')$$
);

-- EXECUTE is all that is needed, and nobody has it by default.
CREATE ROLE regress_apikeys_usage;
SET ROLE regress_apikeys_usage;
\set VERBOSITY sqlstate
SELECT apikey_record_usage(:'id');
SELECT apikey_usage(:'id');
SELECT apikey_usage_history(:'id');
SELECT apikey_flush();
SELECT count(*) FROM apikeys_data.usage_entry;
\set VERBOSITY default
RESET ROLE;
GRANT EXECUTE ON FUNCTION apikey_record_usage, apikey_usage, apikey_usage_history, apikey_flush, apikeys.reads_all_keys TO regress_apikeys_usage;
SET ROLE regress_apikeys_usage;
SELECT apikey_record_usage(:'id', 3, 0.3);
SELECT total_requests, total_tokens, total_cost FROM apikey_usage(:'id');
SELECT apikey_flush() >= 0 AS flushed;
SELECT requests, tokens, cost FROM apikey_usage_history(:'id');
RESET ROLE;
DROP OWNED BY regress_apikeys_usage;
DROP ROLE regress_apikeys_usage;

-- The view for operators has one row in either mode.
SELECT count(*) AS rows, bool_and(shared_memory IS NOT NULL AND shared_memory = (valid IS NOT NULL)) AS consistent
FROM apikeys.stats;
DROP FUNCTION test.usage;
