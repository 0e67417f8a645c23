-- Budgets: pools of a unit that keys share.

-- A key NAME is opened by NAME-key; its budget may be null.
CREATE FUNCTION test.make_key(name text, budget_id uuid) RETURNS uuid LANGUAGE sql AS $$
  SELECT public.apikey_import(sha256(convert_to(name || '-key', 'UTF8')), name, '...', budget_id => budget_id)
$$;
CREATE FUNCTION test.verify(name text, OUT code text, OUT reason text, OUT retry_after integer) LANGUAGE sql AS $$
  SELECT v.code, v.reason, v.retry_after FROM public.apikey_verify(name || '-key') v
$$;
CREATE FUNCTION test.spend(name text, cost numeric) RETURNS boolean LANGUAGE sql AS $$
  SELECT public.apikey_record_usage(test.id(name), cost => cost)
$$;

-- Made.
SELECT apikey_budget_create('pool', 10) AS pool \gset
SELECT id = :'pool' AS id, name, max_cost, spent, remaining, reset_every,
       period_started_at <= clock_timestamp() AS started, period_ends_at
FROM apikeys.budget_info;
SELECT action, key_id, details->>'budget_id' = :'pool' AS budget_id,
       details - 'budget_id' AS details
FROM apikeys_data.event WHERE action <> 'rehash' ORDER BY id DESC LIMIT 1;

-- Shared by its keys, and spent by what is recorded of any of them.
SELECT test.make_key('budget 1', :'pool') IS NOT NULL, test.make_key('budget 2', :'pool') IS NOT NULL,
       test.make_key('budget none', NULL) IS NOT NULL;
SELECT * FROM test.verify('budget 1');
SELECT test.spend('budget 1', 4);
SELECT test.spend('budget 2', 5.999999999999999999);
SELECT test.spend('budget none', 1000);
SELECT * FROM test.verify('budget 1');
SELECT spent, remaining FROM apikeys.budget_info;
SELECT test.spend('budget 2', 0.000000000000000001);
SELECT * FROM test.verify('budget 1');
SELECT * FROM test.verify('budget 2');
SELECT * FROM test.verify('budget none');
SELECT valid, id = test.id('budget 2') AS id, budget_id = :'pool' AS budget_id, slot FROM apikey_verify('budget 2-key');
SELECT spent, remaining FROM apikeys.budget_info;

-- What went beyond it is counted as well; nothing is left of it.
SELECT test.spend('budget 2', 2);
SELECT spent, remaining FROM apikeys.budget_info;

-- Rolled up or not, it is the same.
SELECT apikey_flush() >= 0 AS flushed;
SELECT count(*) FROM apikeys_data.usage_entry WHERE budget_id = :'pool';
SELECT spent FROM apikeys_data.budget_period WHERE budget_id = :'pool';
SELECT spent, remaining FROM apikeys.budget_info;
SELECT code FROM test.verify('budget 1');
SELECT test.spend('budget 2', 1);
SELECT apikey_flush() >= 0 AS flushed;
SELECT spent FROM apikeys_data.budget_period WHERE budget_id = :'pool';
SELECT spent, remaining FROM apikeys.budget_info;

-- Only the costs count, and a cost of 0 is charged to nobody.
SELECT apikey_flush() >= 0 AS flushed;
BEGIN;
SELECT apikey_record_usage(test.id('budget 1'), tokens => 1000);
SELECT cost, budget_id, budget_period FROM apikeys_data.usage_entry WHERE key_id = test.id('budget 1');
COMMIT;
SELECT spent FROM apikeys.budget_info WHERE id = :'pool';

-- Judged after everything about the key itself.
SELECT code FROM apikey_verify('budget 1-key', required_permissions => '{nothing}');
SELECT status FROM apikey_update(test.id('budget 1'), '{"enabled": false}');
SELECT code FROM test.verify('budget 1');
SELECT status FROM apikey_update(test.id('budget 1'), '{"enabled": true}');

-- A rejected request is no use.
SELECT test.make_key('budget 3', :'pool') IS NOT NULL;
SELECT code FROM test.verify('budget 3');
SELECT last_used_at IS NULL AS unused FROM apikey_get(test.id('budget 3'));

-- A change holds from the next verify on.
SELECT name, max_cost, spent, remaining FROM apikey_budget_update(:'pool', '{"max_cost": 13.5, "name": "The \"pool\""}');
SELECT * FROM test.verify('budget 1');
SELECT test.spend('budget 1', 0.5);
SELECT * FROM test.verify('budget 1');
SELECT action, details - 'budget_id' AS details, details->>'budget_id' = :'pool' AS budget_id FROM apikeys_data.event WHERE action <> 'rehash' ORDER BY id DESC LIMIT 1;
SELECT name, max_cost FROM apikey_budget_update(:'pool', '{}');
UPDATE apikeys_data.budget SET max_cost = 14;
SELECT code FROM test.verify('budget 1');
SELECT max_cost FROM apikey_budget_update(:'pool', '{"max_cost": 0}');
SELECT code FROM test.verify('budget 1');

-- As does the pointing of a key elsewhere.
SELECT apikey_budget_create('other', 1e17) AS other \gset
SELECT name FROM apikey_update(test.id('budget 1'), jsonb_build_object('budget_id', :'other'));
SELECT code FROM test.verify('budget 1');
SELECT test.spend('budget 1', 1e16 + 0.1);
SELECT name FROM apikey_update(test.id('budget 1'), jsonb_build_object('budget_id', :'pool'));
SELECT code FROM test.verify('budget 1');
SELECT name, spent, remaining FROM apikeys.budget_info ORDER BY name COLLATE "C";
SELECT * FROM apikey_limits(test.id('budget 1'));

-- A successor goes on spending its predecessor's budget.
SELECT raw_key AS successor FROM apikey_rotate(test.id('budget 2'), '1 hour') \gset
SELECT code FROM apikey_verify(:'successor');

-- Deleting a key gives nothing back.
SELECT max_cost FROM apikey_budget_update(:'pool', '{"max_cost": 20}');
SELECT test.make_key('budget 4', :'pool') IS NOT NULL;
SELECT test.spend('budget 4', 1);
SELECT apikey_delete(test.id('budget 4'));
SELECT spent FROM apikeys.budget_info WHERE id = :'pool';
SELECT apikey_flush() >= 0 AS flushed;
SELECT spent FROM apikeys.budget_info WHERE id = :'pool';

-- A budget of 0 is spent from the start.
SELECT apikey_budget_create('nothing', 0) AS nothing \gset
SELECT test.make_key('budget 0', :'nothing') IS NOT NULL;
SELECT * FROM test.verify('budget 0');

-- An id that names no budget is refused; in the table it limits nothing.
SELECT * FROM test.errors($$SELECT test.make_key('budget x', 'dddddddd-dddd-4ddd-8ddd-dddddddddddd')$$);
SELECT test.make_key('budget x', NULL) IS NOT NULL;
UPDATE apikeys_data.key SET budget_id = 'dddddddd-dddd-4ddd-8ddd-dddddddddddd' WHERE name = 'budget x';
SELECT test.spend('budget x', 1e9);
SELECT code, budget_id FROM apikey_verify('budget x-key');
SELECT total_cost FROM apikey_usage(test.id('budget x'));
SELECT * FROM apikey_limits(test.id('budget x'));
-- ... until it does.
BEGIN;
INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES ('dddddddd-dddd-4ddd-8ddd-dddddddddddd', 'late', 3);
SELECT code FROM test.verify('budget x');
SELECT test.spend('budget x', 3);
SELECT code FROM test.verify('budget x');
ROLLBACK;
SELECT code FROM test.verify('budget x');
INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES ('dddddddd-dddd-4ddd-8ddd-dddddddddddd', 'late', 3);
SELECT code FROM test.verify('budget x');
SELECT test.spend('budget x', 3);
SELECT code FROM test.verify('budget x');

-- A transaction counts what it has recorded itself, until it is undone.
SELECT apikey_budget_create('own', 3) AS own \gset
SELECT test.make_key('budget own', :'own') IS NOT NULL;
SELECT code FROM test.verify('budget own');
BEGIN;
SELECT test.spend('budget own', 2);
SELECT code FROM test.verify('budget own');
SAVEPOINT s;
SELECT test.spend('budget own', 1);
SELECT code FROM test.verify('budget own');
ROLLBACK TO s;
SELECT code FROM test.verify('budget own');
COMMIT;
SELECT code FROM test.verify('budget own');
SELECT spent FROM apikeys.budget_info WHERE id = :'own';
BEGIN;
SELECT test.spend('budget own', 1);
SELECT code FROM test.verify('budget own');
ROLLBACK;
SELECT code FROM test.verify('budget own');
BEGIN;
SELECT max_cost FROM apikey_budget_update(:'own', '{"max_cost": 2}');
SELECT code FROM test.verify('budget own');
ROLLBACK;
SELECT code FROM test.verify('budget own');
BEGIN;
SELECT code FROM test.verify('budget own');
SELECT test.spend('budget own', 0.5);
SELECT test.spend('budget own', 0.5);
COMMIT;
SELECT code FROM test.verify('budget own');

-- In every isolation level, and where nothing may be written.
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT code FROM test.verify('budget own');
SELECT code FROM test.verify('budget none');
COMMIT;

-- Many budgets, costs and digits in one transaction.
CREATE TEMPORARY TABLE pool AS
SELECT n, apikey_budget_create('pool ' || n, 1) AS id FROM generate_series(1, 200) n;
SELECT count(test.make_key('pool ' || n, id)) FROM pool;
SELECT count(*) FROM pool, test.verify('pool ' || n) v WHERE v.code = 'VALID';
SELECT count(test.spend('pool ' || n, 1)) FROM pool WHERE n <= 150;
SELECT code, min(n), max(n), count(*) FROM pool, test.verify('pool ' || n) v GROUP BY code ORDER BY code;
SELECT test.spend('pool 160', ('1.' || repeat('9', 2000))::numeric);
SELECT code FROM test.verify('pool 160');
SELECT spent = ('1.' || repeat('9', 2000))::numeric AS spent, remaining FROM apikeys.budget_info WHERE name = 'pool 160';
BEGIN;
SELECT count(test.spend('pool 200', ('0.0001' || repeat('0', place) || '1')::numeric)) FROM generate_series(1, 1000) place;
COMMIT;
SELECT code FROM test.verify('pool 200');
SELECT trunc(spent, 4) AS spent FROM apikeys.budget_info WHERE name = 'pool 200';
SELECT test.spend('pool 200', remaining) FROM apikeys.budget_info WHERE name = 'pool 200';
SELECT code FROM test.verify('pool 200');
-- The ledger says the same.
SET apikeys.cache_size = 0;
SELECT code, min(n), max(n), count(*) FROM pool, test.verify('pool ' || n) v GROUP BY code ORDER BY code;
RESET apikeys.cache_size;

-- Periods, in UTC whatever the time zone: the n-th start is counted from the
-- first, months are the calendar's and are clipped.
SET timezone = 'America/New_York';
CREATE FUNCTION test.period(origin text, every text, at text) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' .. ', p.started_at AT TIME ZONE 'UTC', p.ends_at AT TIME ZONE 'UTC')
  FROM apikeys.period_at((origin || 'Z')::timestamptz, every::interval, (at || 'Z')::timestamptz) p
$$;
SELECT origin, every, at, test.period(origin, every, at) AS period FROM (VALUES
  ('2025-01-31 10:00', '1 month', '2025-01-31 10:00'),
  ('2025-01-31 10:00', '1 month', '2025-02-28 09:59:59.999999'),
  ('2025-01-31 10:00', '1 month', '2025-02-28 10:00'),
  ('2025-01-31 10:00', '1 month', '2025-03-31 09:59:59.999999'),
  ('2025-01-31 10:00', '1 month', '2025-03-31 10:00'),
  ('2025-01-31 10:00', '1 month', '2025-04-30 10:00'),
  ('2024-01-31 10:00', '1 month', '2024-02-29 10:00'),
  ('2024-01-30 10:00', '1 month', '2024-03-01 00:00'),
  ('2024-02-29 00:00', '1 year', '2027-03-01 00:00'),
  ('2024-02-29 00:00', '1 year', '2028-02-28 23:59:59'),
  ('2024-02-29 00:00', '1 year', '2028-02-29 00:00'),
  ('2025-01-15 00:00', '1 month', '2925-01-14 23:59'),
  ('2025-03-08 12:00', '1 day', '2025-03-09 11:59'),
  ('2025-03-08 12:00', '1 day', '2025-03-09 12:00'),
  ('2025-11-01 12:00', '1 day', '2025-11-03 11:59'),
  ('2025-03-09 06:30', '1 hour', '2025-03-09 07:29'),
  ('2025-03-09 06:30', '1 hour', '2025-03-09 07:30'),
  ('2025-01-01 00:00', '1 second', '2025-12-31 23:59:59.5'),
  ('2025-01-01 00:00:00.5', '1.5 seconds', '2025-01-01 00:00:03.499999'),
  ('2025-01-01 00:00:00.5', '1.5 seconds', '2025-01-01 00:00:03.5'),
  ('2025-01-31 00:00', '1 month 1 day', '2025-03-01 00:00'),
  ('2025-01-31 00:00', '1 month 1 day 1 hour', '2025-03-01 00:59:59'),
  ('2025-01-01 00:00', '1000 years', '9999-01-01'),
  ('2025-01-01 00:00', NULL, '2030-01-01'),
  ('2025-01-01 00:00', '1 day', '2024-01-01')
) AS v(origin, every, at);

-- The periods of all lengths follow each other without a gap, and each time
-- lies in its own.
SELECT length, count(*) AS periods, bool_and(p.started_at <= moment AND moment < p.ends_at) AS inside,
       bool_and(again.started_at = p.started_at AND again.ends_at = p.ends_at) AS starts,
       bool_and(next.started_at = p.ends_at) AS ends
FROM unnest(ARRAY['1 month', '3 months', '1 year', '1 day', '7 days', '1 hour', '1 month 3 days 01:00', '31 days', '00:00:01']::interval[]) length,
     unnest(ARRAY['2024-01-31 23:59:59.999999Z', '2023-12-30 00:00Z', '2000-02-29 12:00Z']::timestamptz[]) birth,
     generate_series(0, 1000) n,
     LATERAL (SELECT birth + n * interval '13 days 17:41:23.456789') m(moment),
     LATERAL apikeys.period_at(birth, length, moment) p,
     LATERAL apikeys.period_at(birth, length, p.started_at) again,
     LATERAL apikeys.period_at(birth, length, p.ends_at) next
GROUP BY length ORDER BY length;
RESET timezone;

-- What was spent counts in the period in which it was recorded; a new period
-- has all of the budget again.
SELECT apikey_budget_create('daily', 10, '1 day') AS daily \gset
SELECT test.make_key('budget daily', :'daily') IS NOT NULL;
SELECT test.spend('budget daily', 10);
SELECT code, reason, retry_after BETWEEN 86340 AND 86400 AS retry_after FROM test.verify('budget daily');
SELECT clock_timestamp() + retry_after * interval '1 second' - period_ends_at BETWEEN '0' AND '1 minute' AS retry_after
FROM apikeys.budget_info, test.verify('budget daily') WHERE id = :'daily';
-- As if it had been made, and spent of, so long ago.
CREATE FUNCTION test.age(budget_id uuid, age interval) RETURNS void LANGUAGE sql AS $$
  SELECT public.apikey_flush();
  UPDATE apikeys_data.budget_period p SET started_at = p.started_at - age WHERE p.budget_id = $1;
  UPDATE apikeys_data.budget b SET created_at = b.created_at - age WHERE b.id = $1;
$$;
SELECT test.age(:'daily', '23 hours 30 minutes');
SELECT code, retry_after BETWEEN 1740 AND 1800 AS retry_after FROM test.verify('budget daily');
SELECT test.age(:'daily', '30 minutes');
SELECT code FROM test.verify('budget daily');
SELECT spent, remaining, period_ends_at - period_started_at = '24:00' AS length,
       clock_timestamp() BETWEEN period_started_at AND period_ends_at AS now
FROM apikeys.budget_info WHERE id = :'daily';
SELECT test.spend('budget daily', 1);
SELECT apikey_flush() >= 0 AS flushed;
SELECT spent FROM apikeys_data.budget_period WHERE budget_id = :'daily' ORDER BY started_at;
SELECT test.spend('budget daily', 2);
SELECT spent FROM apikeys.budget_info WHERE id = :'daily';

-- After a change of reset_every a period counts where it started.
SELECT spent, reset_every FROM apikey_budget_update(:'daily', '{"reset_every": "1 month"}');
SELECT code FROM test.verify('budget daily');
SELECT spent, reset_every FROM apikey_budget_update(:'daily', '{"reset_every": "1 day"}');
SELECT code FROM test.verify('budget daily');
SELECT spent, reset_every, period_ends_at FROM apikey_budget_update(:'daily', '{"reset_every": null}');
SELECT * FROM test.verify('budget daily');

-- A period that ends while we look.
SELECT apikey_budget_create('short', 1, '1 second') AS short \gset
SELECT test.make_key('budget short', :'short') IS NOT NULL;
DO $$
DECLARE
  asked_at timestamptz;
  wait integer;
  answer text;
BEGIN
  -- A recording and the verify may lie on two sides of the end.
  LOOP
    PERFORM test.spend('budget short', 1);
    COMMIT;
    SELECT code, retry_after INTO answer, wait FROM test.verify('budget short');
    asked_at := clock_timestamp();
    EXIT WHEN answer = 'BUDGET_EXCEEDED';
  END LOOP;
  ASSERT wait = 1, wait;
  WHILE clock_timestamp() <= asked_at + wait * interval '1 second' LOOP
    PERFORM pg_sleep(0.005);
  END LOOP;
  SELECT code INTO answer FROM test.verify('budget short');
  ASSERT answer = 'VALID', answer;
END $$;

-- Deleted, but not while keys point to it, even if they are switched off.
SELECT * FROM test.errors($$SELECT apikey_budget_delete(id) FROM apikeys_data.budget WHERE name = 'The "pool"'$$);
SELECT name FROM apikey_update(test.id('budget daily'), '{"budget_id": null}');
SELECT apikey_budget_delete(:'daily');
SELECT count(*) FROM apikeys.budget_info WHERE id = :'daily';
SELECT action, details - 'budget_id' AS details, details->>'budget_id' = :'daily' AS budget_id FROM apikeys_data.event WHERE action <> 'rehash' ORDER BY id DESC LIMIT 1;

-- Keys that are revoked or expired keep no budget: they are detached.
SELECT apikey_budget_create('left', 5) AS left \gset
SELECT test.make_key('budget left ' || i, :'left') IS NOT NULL AS made FROM generate_series(1, 3) i;
SELECT apikey_revoke(test.id('budget left 1'));
UPDATE apikeys_data.key SET expires_at = now() - interval '1 hour' WHERE name = 'budget left 2';
SELECT status FROM apikey_update(test.id('budget left 3'), '{"enabled": false}');
SELECT * FROM test.errors($$SELECT apikey_budget_delete(id) FROM apikeys_data.budget WHERE name = 'left'$$);
SELECT code, budget_id = :'left' AS budget_id FROM generate_series(1, 3) i, apikey_verify('budget left ' || i || '-key');
SELECT apikey_revoke(test.id('budget left 3'));
SELECT apikey_budget_delete(:'left');
SELECT code, budget_id FROM generate_series(1, 3) i, apikey_verify('budget left ' || i || '-key');
SELECT action, details - 'budget_id' AS details FROM apikeys_data.event WHERE action <> 'rehash' ORDER BY id DESC LIMIT 1;
SELECT status, budget_id FROM apikey_update(test.id('budget left 2'), '{"expires_at": null}');

-- What the ledger still has of the budget goes, and with a clean-up the rest.
SELECT apikey_flush() >= 0 AS flushed;
SELECT count(*) FROM apikeys_data.usage_entry WHERE budget_id = :'daily';
SELECT apikey_cleanup_expired(older_than => '100 years');
SELECT count(*) FROM apikeys_data.budget_period WHERE budget_id = :'daily';

-- More budgets than are kept: each key is checked by its own.
CREATE TEMPORARY TABLE crowd AS
SELECT 'budget crowd ' || i AS name, i % 2 = 0 AS spent,
       test.make_key('budget crowd ' || i, apikey_budget_create('crowd ' || i, i % 2)) IS NOT NULL AS made
FROM generate_series(1, 8) i;
SET apikeys.cache_size = 5;
SELECT v.code, c.spent, count(*)
FROM generate_series(1, 4000) i
CROSS JOIN LATERAL (SELECT 1 + floor(random() * 8 + 0 * i) AS pick) p
JOIN crowd c ON c.name = 'budget crowd ' || p.pick
CROSS JOIN LATERAL apikey_verify(c.name || '-key') v
GROUP BY 1, 2 HAVING (v.code = 'BUDGET_EXCEEDED') <> c.spent OR count(*) < 100;
RESET apikeys.cache_size;

-- Bad input
SELECT * FROM test.errors(
  $$SELECT apikey_budget_create(NULL, 1)$$,
  $$SELECT apikey_budget_create('', 1)$$,
  $$SELECT apikey_budget_create(repeat('x', 256), 1)$$,
  $$SELECT apikey_budget_create('bad', NULL)$$,
  $$SELECT apikey_budget_create('bad', -0.01)$$,
  $$SELECT apikey_budget_create('bad', 'NaN')$$,
  $$SELECT apikey_budget_create('bad', 1e18)$$,
  $$SELECT apikey_budget_create('bad', 'Infinity')$$,
  $$SELECT apikey_budget_create('bad', '-Infinity')$$,
  $$SELECT apikey_budget_create('bad', 1, '0')$$,
  $$SELECT apikey_budget_create('bad', 1, '0.999999 seconds')$$,
  $$SELECT apikey_budget_create('bad', 1, '-1 day')$$,
  $$SELECT apikey_budget_create('bad', 1, '1 month -1 day')$$,
  $$SELECT apikey_budget_create('bad', 1, '1 day -1 hour')$$,
  $$SELECT apikey_budget_create('bad', 1, '1001 years')$$,
  $$SELECT apikey_budget_create('bad', 1, '178000000 years')$$,
  $$SELECT apikey_budget_create('bad', 1, make_interval(months => 2147483647, days => 2147483647, hours => 2147483647))$$,
  $$SELECT apikey_budget_update(NULL, '{}')$$,
  $$SELECT apikey_budget_update('00000000-0000-0000-0000-00000000dead', '{}')$$,
  $$SELECT apikey_budget_delete('00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_budget_delete(NULL)$$,
  $$INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES (gen_random_uuid(), '', 1)$$,
  $$INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES (gen_random_uuid(), 'bad', 'NaN')$$,
  $$INSERT INTO apikeys_data.budget (id, name, max_cost, reset_every) VALUES (gen_random_uuid(), 'bad', 1, '-1 day')$$,
  $$INSERT INTO apikeys_data.budget (id, name, max_cost, created_at) VALUES (gen_random_uuid(), 'bad', 1, '-infinity')$$
);
SELECT errors.* FROM unnest(ARRAY[NULL, '[]', '1', '{"nmae": "x"}', '{"name": null}', '{"name": ""}', '{"name": 1}',
  '{"max_cost": null}', '{"max_cost": "1"}', '{"max_cost": -1}', '{"reset_every": 1}', '{"reset_every": "1 blue moon"}',
  '{"reset_every": "-1 day"}', '{"reset_every": "999999999999 years"}', '{"created_at": "2025-01-01"}']) changes,
  LATERAL test.errors(format($$SELECT apikey_budget_update(id, %L) FROM apikeys_data.budget WHERE name = 'own'$$, changes)) errors;
SELECT name, max_cost, reset_every FROM apikeys_data.budget WHERE id = :'own';

DROP FUNCTION test.make_key(text, uuid), test.verify(text), test.spend(text, numeric), test.age(uuid, interval), test.period(text, text, text);
DELETE FROM apikeys_data.key WHERE name ~ '^(budget|pool) ';
DELETE FROM apikeys_data.budget;
