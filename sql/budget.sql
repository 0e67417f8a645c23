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
       details - 'budget_id' - 'starts_at' AS details
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
SELECT valid, id = test.id('budget 2') AS id, budget_id = :'pool' AS budget_id, reservation FROM apikey_verify('budget 2-key');
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
SELECT cost FROM apikeys_data.usage_entry WHERE key_id = test.id('budget 1');
SELECT count(*) FROM apikeys_data.usage_entry WHERE budget_id = :'pool';
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
-- Without max_cost a budget only counts.
SELECT max_cost, spent, remaining FROM apikey_budget_update(:'pool', '{"max_cost": null}');
SELECT code FROM test.verify('budget 1');
SELECT test.spend('budget 2', 0.25);
SELECT code FROM test.verify('budget 1');
SELECT spent, remaining FROM apikeys.budget_info WHERE id = :'pool';
SELECT * FROM apikey_limits(test.id('budget 1'));
SELECT max_cost, spent, remaining FROM apikey_budget_update(:'pool', '{"max_cost": 0}');
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
SET apikeys.cache = off;
SELECT code, min(n), max(n), count(*) FROM pool, test.verify('pool ' || n) v GROUP BY code ORDER BY code;
RESET apikeys.cache;

-- Periods, in UTC whatever the session's time zone: the n-th start is counted from the
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

-- ... and by the calendar of any other: from midnight to midnight, when a day
-- has 23 or 25 hours, none (Samoa, December 30, 2011) or half an hour more.
CREATE FUNCTION test.local_period(zone text, origin text, every text, at text) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' .. ', p.started_at AT TIME ZONE zone, p.ends_at AT TIME ZONE zone) || ', ' || (p.ends_at - p.started_at)
  FROM apikeys.period_at(origin::timestamp AT TIME ZONE zone, every::interval, at::timestamp AT TIME ZONE zone, zone) p
$$;
SELECT zone, origin, every, at, test.local_period(zone, origin, every, at) AS period FROM (VALUES
  ('Europe/Berlin', '2024-01-01', '1 month', '2024-03-31 23:59:59'),
  ('Europe/Berlin', '2024-01-01', '1 month', '2024-04-01'),
  ('Europe/Berlin', '2024-01-01', '1 day', '2024-03-31 12:00'),
  ('Europe/Berlin', '2024-01-01', '1 day', '2024-10-27 12:00'),
  ('Europe/Berlin', '2024-01-01', '24 hours', '2024-07-01 12:00'),
  ('Europe/Berlin', '2024-01-01 02:30', '1 day', '2024-03-31 12:00'),
  ('Europe/Berlin', '2024-01-01 02:30', '1 day', '2024-10-27 12:00'),
  ('Europe/Berlin', '2024-10-25', '1 month', '2024-11-24 23:59'),
  ('America/New_York', '2024-01-31', '1 month', '2024-03-15'),
  ('America/New_York', '2024-05-31', '1 month', '2024-02-29 12:00'),
  ('America/New_York', '2024-05-31', '1 month', '2023-03-01'),
  ('America/New_York', '2024-05-31', '1 year', '1970-01-01'),
  ('America/New_York', '2024-02-29', '7 days', '2024-02-28 23:59:59.999999'),
  ('Pacific/Apia', '2011-12-01', '1 day', '2011-12-29 12:00'),
  ('Pacific/Apia', '2011-12-01', '1 day', '2011-12-31 00:00'),
  ('Australia/Lord_Howe', '2024-01-01', '1 day', '2024-04-07 12:00'),
  ('Asia/Kathmandu', '1900-01-01', '1 month', '2024-04-07 12:00')
) AS v(zone, origin, every, at);
-- A zone that the server has no more counts as UTC, and keeps nobody from a restore or a change.
SELECT test.local_period('UTC', '2024-01-31', '1 month', '2024-03-05') =
  (SELECT concat_ws(' .. ', p.started_at AT TIME ZONE 'UTC', p.ends_at AT TIME ZONE 'UTC') || ', ' || (p.ends_at - p.started_at)
   FROM apikeys.period_at('2024-01-31Z', '1 month', '2024-03-05Z', 'Moon') p) AS utc;
BEGIN;
INSERT INTO apikeys_data.budget (id, name, max_cost, reset_every, starts_at, time_zone)
  VALUES ('00000000-0000-0000-0000-0000000000aa', 'moved', 1, '1 day', '2024-01-31Z', 'Moon');
SELECT name FROM apikey_budget_update('00000000-0000-0000-0000-0000000000aa', '{"name": "changed"}');
SELECT name, time_zone, spent, remaining FROM apikeys.budget_info WHERE name = 'changed';
ROLLBACK;

-- The same as what the server's own arithmetic says, time by time.
CREATE FUNCTION test.nth_start(zone text, origin timestamptz, every interval, n bigint) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('timezone', zone, true);
  RETURN origin + every * n;
END $$;
SELECT zone, length, count(*),
       count(*) FILTER (WHERE p.started_at = m.started_at AND p.ends_at = m.ends_at) AS same
FROM unnest(ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Pacific/Apia', 'Asia/Kathmandu', 'America/Sao_Paulo']) zone,
     unnest(ARRAY['1 month', '1 year', '1 day', '7 days', '01:00', '1 day 02:00', '1 month 00:30']::interval[]) length,
     unnest(ARRAY['2011-12-31 23:30Z', '2000-02-29 06:30Z', '2024-11-03 05:30Z']::timestamptz[]) origin,
     LATERAL (SELECT timestamptz '1995-01-01Z' + n * interval '97 days 05:41:23.456789'
              FROM generate_series(0, 120) n) a(at),
     LATERAL (SELECT max(s) FILTER (WHERE s <= at), min(s) FILTER (WHERE s > at)
              FROM generate_series(-8, 8) i,
                   test.nth_start(zone, origin, length, i + floor(extract(epoch FROM at - origin) / extract(epoch FROM length))::bigint) s
             ) m(started_at, ends_at),
     LATERAL apikeys.period_at(origin, length, at, zone) p
GROUP BY zone, length HAVING count(*) <> count(*) FILTER (WHERE p.started_at = m.started_at AND p.ends_at = m.ends_at);

-- A budget's periods are counted from starts_at in its time zone, backwards too.
SELECT apikey_budget_create('payday', 10, '1 month', starts_at => '2024-01-25 00:00 Europe/Berlin',
  time_zone => 'europe/berlin', metadata => '{"owner": "Ada"}') AS payday \gset
SELECT i.starts_at, i.time_zone, i.metadata,
       i.period_started_at = p.started_at AND i.period_ends_at = p.ends_at AS period,
       extract(day FROM p.started_at AT TIME ZONE i.time_zone) AS day, (p.started_at AT TIME ZONE i.time_zone)::time AS time
FROM apikeys.budget_info i, apikeys.period_at('2024-01-25 00:00 Europe/Berlin', '1 month', clock_timestamp(), 'Europe/Berlin') p
WHERE id = :'payday';
SELECT test.make_key('budget payday', :'payday') IS NOT NULL;
SELECT test.spend('budget payday', 10);
SELECT code FROM test.verify('budget payday');
SELECT spent, period_started_at <= clock_timestamp() AND period_ends_at > clock_timestamp() AS now
FROM apikey_budget_update(:'payday', jsonb_build_object('starts_at', clock_timestamp() + interval '25 years 1 minute'));
SELECT starts_at <= clock_timestamp() AS now, time_zone, metadata, spent
FROM apikey_budget_update(:'payday', '{"starts_at": null, "time_zone": null, "metadata": null}');
SELECT code FROM test.verify('budget payday');
-- Of names with digits those of the server's list are names; it is spelt as there.
SELECT time_zone FROM apikey_budget_update(:'payday', '{"time_zone": "etc/gmt+5"}');
SELECT time_zone FROM apikey_budget_update(:'payday', '{"time_zone": null}');
-- What never ends has no beginning either.
SELECT spent FROM apikey_budget_update(:'payday', '{"reset_every": null}');
SELECT code FROM test.verify('budget payday');

-- Topped up, for as long as its period lasts, and taken back, but not what is spent.
SELECT apikey_budget_create('prepaid', 0) AS prepaid \gset
SELECT test.make_key('budget prepaid', :'prepaid') IS NOT NULL;
SELECT code FROM test.verify('budget prepaid');
SELECT name, max_cost, added, spent, remaining FROM apikey_budget_add(:'prepaid', 5, 'order 4711');
SELECT action, details - 'budget_id' AS details, details->>'budget_id' = :'prepaid' AS budget_id FROM apikeys_data.event WHERE action <> 'rehash' ORDER BY id DESC LIMIT 1;
SELECT code FROM test.verify('budget prepaid');
SELECT test.spend('budget prepaid', 4.5);
SELECT code FROM test.verify('budget prepaid');
SELECT * FROM test.errors($$SELECT apikey_budget_add(id, -0.6) FROM apikeys_data.budget WHERE name = 'prepaid'$$);
SELECT added, spent, remaining FROM apikey_budget_add(:'prepaid', -0.5);
SELECT code FROM test.verify('budget prepaid');
SELECT added, spent, remaining FROM apikey_budget_add(id => :'prepaid', amount => 1.0000000000000000004, note => NULL);
SELECT * FROM apikey_limits(test.id('budget prepaid'));
SELECT test.spend('budget prepaid', 3);
SELECT * FROM test.errors($$SELECT apikey_budget_add(id, -1) FROM apikeys_data.budget WHERE name = 'prepaid'$$, $$SELECT apikey_budget_add(id, 1e18) FROM apikeys_data.budget WHERE name = 'prepaid'$$,
  $$SELECT apikey_budget_add(id, 999999999999999999) FROM apikeys_data.budget WHERE name = 'prepaid'$$);
SELECT added, spent, remaining FROM apikey_budget_add(:'prepaid', 1);
SELECT code FROM test.verify('budget prepaid');
SELECT details - 'budget_id' AS details FROM apikeys_data.event WHERE action = 'budget_add' AND details->>'budget_id' = :'prepaid' ORDER BY id;
-- What max_cost gives can be taken back as well.
SELECT max_cost, added, spent, remaining FROM apikey_budget_update(:'prepaid', '{"max_cost": 10}');
SELECT max_cost, added, spent, remaining FROM apikey_budget_add(:'prepaid', -9);
BEGIN;
SELECT added FROM apikey_budget_add(:'prepaid', 1);
SELECT code FROM test.verify('budget prepaid');
ROLLBACK;
SELECT code FROM test.verify('budget prepaid');
SELECT max_cost, added, spent, remaining FROM apikey_budget_update(:'prepaid', '{"max_cost": null}');
SELECT * FROM test.errors($$SELECT apikey_budget_add(id, 1) FROM apikeys_data.budget WHERE name = 'prepaid'$$);
SELECT name FROM apikey_update(test.id('budget prepaid'), '{"budget_id": null}');
SELECT apikey_budget_delete(:'prepaid');
SELECT count(*) FROM apikeys_data.budget_credit WHERE budget_id = :'prepaid';

-- More may be spent than what one number in memory can be.
SELECT apikey_budget_create('unlimited') AS unlimited \gset
SELECT test.make_key('budget unlimited', :'unlimited') IS NOT NULL;
SELECT code FROM test.verify('budget unlimited');
DO $$ BEGIN FOR i IN 1..10 LOOP PERFORM test.spend('budget unlimited', 999999999999999999); COMMIT; END LOOP; END $$;
SELECT code FROM test.verify('budget unlimited');
SELECT spent, remaining FROM apikeys.budget_info WHERE id = :'unlimited';
SELECT spent, remaining FROM apikey_budget_update(:'unlimited', '{"max_cost": 999999999999999999}');
SELECT code FROM test.verify('budget unlimited');

-- Warnings: an event for each fraction of the limit, once a period.  If a flush
-- is at work, it may be the one that warns, so those of this session wait for it.
CREATE FUNCTION test.warnings(budget_id uuid) RETURNS SETOF jsonb LANGUAGE sql AS $$
  SELECT e.details - 'budget_id' - 'period' - 'spent' FROM apikeys_data.event e
  WHERE e.action = 'budget_warning' AND e.details->>'budget_id' = $1::text ORDER BY e.id
$$;
SELECT apikey_budget_create('warned', 8, '1 day', warn_at => '{1, 0.5, 0.8}') AS warned \gset
SELECT added FROM apikey_budget_add(:'warned', 2);
SELECT test.make_key('budget warned', :'warned') IS NOT NULL;
SELECT test.spend('budget warned', 4.9);
SELECT count(*) FROM test.warnings(:'warned');
SELECT test.spend('budget warned', 0.1);
SELECT apikey_flush() >= 0 AS flushed;
SELECT test.spend('budget warned', 0.1);
SELECT * FROM test.warnings(:'warned');
SELECT (details->>'spent')::numeric AS spent FROM apikeys_data.event WHERE action = 'budget_warning' AND details->>'budget_id' = :'warned';
SELECT (e.details->>'period')::timestamptz = i.period_started_at AS period, e.acting_role = CURRENT_USER AS role, key_id
FROM apikeys_data.event e, apikeys.budget_info i WHERE e.action = 'budget_warning' AND i.id = :'warned';
-- What is rolled back has not warned; several at once; with the flush.
BEGIN;
SELECT test.spend('budget warned', 3);
SELECT count(*) IN (1, 2) AS warned FROM test.warnings(:'warned');
ROLLBACK;
SELECT count(*) FROM test.warnings(:'warned');
BEGIN;
SELECT test.spend('budget warned', 2.9);
SELECT test.spend('budget warned', 100);
COMMIT;
SELECT apikey_flush() >= 0 AS flushed;
SELECT * FROM test.warnings(:'warned');
-- After a savepoint that was rolled back, not by what a transaction has in memory.
SELECT apikey_budget_create('warned later', 10, warn_at => '{0.5}') AS later \gset
SELECT test.make_key('budget later', :'later') IS NOT NULL;
BEGIN;
SELECT test.spend('budget later', 3);
SAVEPOINT s;
SELECT test.spend('budget later', 3);
ROLLBACK TO s;
SELECT test.spend('budget later', 1);
COMMIT;
SELECT apikey_flush() >= 0 AS flushed;
SELECT count(*) FROM test.warnings(:'later');
BEGIN;
SELECT test.spend('budget later', 0.5);
SAVEPOINT s;
ROLLBACK TO s;
SELECT test.spend('budget later', 0.5);
COMMIT;
SELECT apikey_flush() >= 0 AS flushed;
SELECT * FROM test.warnings(:'later');
-- Not again in this period, whatever is changed, but for another fraction.
SELECT remaining FROM apikey_budget_update(:'warned', '{"max_cost": 1000}');
SELECT test.spend('budget warned', 600);
SELECT count(*) FROM test.warnings(:'warned');
SELECT warn_at, remaining FROM apikey_budget_update(:'warned', '{"warn_at": [0.70, 0.8]}');
SELECT test.spend('budget warned', 0.0000001);
SELECT apikey_flush() >= 0 AS flushed;
SELECT * FROM test.warnings(:'warned') OFFSET 3;
-- In the next period again.
UPDATE apikeys_data.budget SET starts_at = starts_at + interval '1 hour' WHERE id = :'warned';
UPDATE apikeys_data.budget_period SET started_at = started_at - interval '2 days' WHERE budget_id = :'warned';
UPDATE apikeys_data.budget_credit SET started_at = started_at - interval '2 days' WHERE budget_id = :'warned';
UPDATE apikeys_data.budget_warning SET started_at = started_at - interval '2 days' WHERE budget_id = :'warned';
SELECT test.spend('budget warned', 700);
SELECT apikey_flush() >= 0 AS flushed;
SELECT * FROM test.warnings(:'warned') OFFSET 4;
SELECT warn_at FROM apikey_budget_update(:'warned', '{"warn_at": null}');
SELECT test.spend('budget warned', 700);
SELECT apikey_flush() >= 0 AS flushed;
SELECT count(*) FROM test.warnings(:'warned');
-- What a transaction takes back is taken off before that.
SELECT apikey_budget_create('taken back', 100, warn_at => '{0.5}') AS back \gset
SELECT test.make_key('budget back', :'back') IS NOT NULL;
SELECT apikey_record_usage(test.id('budget back'), cost => 40, request_id => 'r');
BEGIN;
SELECT apikey_void_usage(test.id('budget back'), 'r');
SELECT test.spend('budget back', 30);
COMMIT;
SELECT apikey_flush() >= 0 AS flushed;
SELECT count(*) FROM test.warnings(:'back');
SELECT test.spend('budget back', 20);
SELECT apikey_flush() >= 0 AS flushed;
SELECT count(*) FROM test.warnings(:'back');

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
  UPDATE apikeys_data.budget_credit c SET started_at = c.started_at - age WHERE c.budget_id = $1;
  UPDATE apikeys_data.budget b SET starts_at = b.starts_at - age WHERE b.id = $1;
$$;
SELECT added, remaining FROM apikey_budget_add(:'daily', 2);
SELECT code FROM test.verify('budget daily');
SELECT test.spend('budget daily', 2);
SELECT test.age(:'daily', '23 hours 30 minutes');
SELECT code, retry_after BETWEEN 1740 AND 1800 AS retry_after FROM test.verify('budget daily');
SELECT test.age(:'daily', '30 minutes');
SELECT code FROM test.verify('budget daily');
SELECT max_cost, added, spent, remaining FROM apikeys.budget_info WHERE id = :'daily';
SELECT spent, remaining, period_ends_at - period_started_at = '24:00' AS length,
       clock_timestamp() BETWEEN period_started_at AND period_ends_at AS now
FROM apikeys.budget_info WHERE id = :'daily';
SELECT test.spend('budget daily', 1);
SELECT apikey_flush() >= 0 AS flushed;
SELECT spent FROM apikeys_data.budget_period WHERE budget_id = :'daily' ORDER BY started_at;
SELECT test.spend('budget daily', 2);
SELECT spent FROM apikeys.budget_info WHERE id = :'daily';

-- After a change of reset_every a period counts where it started.
SELECT added, spent, reset_every FROM apikey_budget_update(:'daily', '{"reset_every": "1 month"}');
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

-- A period that ends after more seconds than an integer has.
SELECT test.make_key('budget century', apikey_budget_create('century', 10, '100 years')) IS NOT NULL;
SELECT code, limit_name, limit_resets_in FROM apikey_verify('budget century-key');

-- More than integers hold is spent, by one transaction, and then by many costs.
SELECT test.make_key('budget vast', apikey_budget_create('vast')) IS NOT NULL;
SELECT code FROM test.verify('budget vast');
SELECT count(test.spend('budget vast', c))
FROM (SELECT 223372036854775816.5 UNION ALL SELECT 999999999999999999 FROM generate_series(1, 8) UNION ALL SELECT 999999999999999999.5) costs(c);
SELECT v.code, i.spent FROM test.verify('budget vast') v, apikeys.budget_info i WHERE i.name = 'vast';
SELECT count(test.spend('budget vast', 999999999999999999)) FROM generate_series(1, 200);
SELECT v.code, i.spent FROM test.verify('budget vast') v, apikeys.budget_info i WHERE i.name = 'vast';
SELECT max_cost, remaining FROM apikey_budget_update((SELECT id FROM apikeys_data.budget WHERE name = 'vast'), '{"max_cost": 999999999999999999}');
SELECT code FROM test.verify('budget vast');

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
FROM generate_series(1, 1200) i;
SELECT v.code, c.spent, count(*)
FROM generate_series(1, 4000) i
CROSS JOIN LATERAL (SELECT 1 + floor(random() * 1200 + 0 * i) AS pick) p
JOIN crowd c ON c.name = 'budget crowd ' || p.pick
CROSS JOIN LATERAL apikey_verify(c.name || '-key') v
GROUP BY 1, 2 HAVING (v.code = 'BUDGET_EXCEEDED') <> c.spent OR count(*) < 100;

-- Bad input
SELECT * FROM test.errors(
  $$SELECT apikey_budget_create(NULL, 1)$$,
  $$SELECT apikey_budget_create('', 1)$$,
  $$SELECT apikey_budget_create(repeat('x', 256), 1)$$,
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
  $$SELECT apikey_budget_add('00000000-0000-0000-0000-00000000dead', 1)$$,
  $$SELECT apikey_budget_add(NULL, 1)$$,
  $$SELECT apikey_budget_add('00000000-0000-0000-0000-00000000dead', NULL)$$,
  $$SELECT apikey_budget_add('00000000-0000-0000-0000-00000000dead', 'NaN')$$,
  $$SELECT apikey_budget_add('00000000-0000-0000-0000-00000000dead', '-Infinity')$$,
  $$SELECT apikey_budget_add('00000000-0000-0000-0000-00000000dead', -1e18)$$,
  $$SELECT apikey_budget_add('00000000-0000-0000-0000-00000000dead', 1, '')$$,
  $$SELECT apikey_budget_add('00000000-0000-0000-0000-00000000dead', 1, repeat('x', 1001))$$,
  $$SELECT apikey_budget_delete('00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_budget_delete(NULL)$$,
  $$INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES (gen_random_uuid(), '', 1)$$,
  $$INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES (gen_random_uuid(), 'bad', 'NaN')$$,
  $$INSERT INTO apikeys_data.budget (id, name, max_cost, reset_every) VALUES (gen_random_uuid(), 'bad', 1, '-1 day')$$,
  $$INSERT INTO apikeys_data.budget (id, name, max_cost, starts_at) VALUES (gen_random_uuid(), 'bad', 1, '-infinity')$$,
  $$INSERT INTO apikeys_data.budget (id, name, time_zone) VALUES (gen_random_uuid(), 'bad', repeat('A', 300))$$,
  $$INSERT INTO apikeys_data.budget (id, name, metadata) VALUES (gen_random_uuid(), 'bad', '[]')$$,
  $$SELECT apikey_budget_create('bad', warn_at => '{}')$$,
  $$SELECT apikey_budget_create('bad', warn_at => '{0}')$$,
  $$SELECT apikey_budget_create('bad', warn_at => '{-0.1}')$$,
  $$SELECT apikey_budget_create('bad', warn_at => '{1.000000000000000001}')$$,
  $$SELECT apikey_budget_create('bad', warn_at => '{NaN}')$$,
  $$SELECT apikey_budget_create('bad', warn_at => '{0.5, NULL}')$$,
  $$SELECT apikey_budget_create('bad', warn_at => '{{0.5}}')$$,
  $$SELECT apikey_budget_create('bad', warn_at => '{0.5, 0.1, 0.50}')$$,
  $$SELECT apikey_budget_create('bad', warn_at => '{.1, .2, .3, .4, .5, .6, .7, .8, .9}')$$,
  $$SELECT apikey_budget_create('bad', starts_at => 'infinity')$$,
  $$SELECT apikey_budget_create('bad', starts_at => '0001-12-31 BC')$$,
  $$SELECT apikey_budget_create('bad', starts_at => '10000-01-01Z')$$,
  $$SELECT apikey_budget_create('bad', time_zone => '')$$,
  $$SELECT apikey_budget_create('bad', time_zone => 'Mars/Olympus')$$,
  $$SELECT apikey_budget_create('bad', time_zone => 'CEST')$$,
  $$SELECT apikey_budget_create('bad', time_zone => 'CET-1CEST')$$,
  $$SELECT apikey_budget_create('bad', time_zone => '+02')$$,
  $$SELECT apikey_budget_create('bad', time_zone => '../UTC')$$,
  $$SELECT apikey_budget_create('bad', time_zone => repeat('x', 256))$$,
  $$SELECT apikey_budget_create('bad', time_zone => 'gw-abcdefghijklmnopqrstuvwxyz0123456789')$$,
  $$SELECT apikey_budget_create('bad', metadata => '1')$$
);
SELECT errors.* FROM unnest(ARRAY[NULL, '[]', '1', '{"nmae": "x"}', '{"name": null}', '{"name": ""}', '{"name": 1}',
  '{"max_cost": "1"}', '{"warn_at": 0.5}', '{"warn_at": ["0.5"]}', '{"warn_at": []}', '{"warn_at": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]}', '{"starts_at": 1}', '{"starts_at": "soon"}', '{"time_zone": 1}', '{"time_zone": "Moon"}', '{"metadata": []}', '{"max_cost": -1}', '{"reset_every": 1}', '{"reset_every": "1 blue moon"}',
  '{"reset_every": "-1 day"}', '{"reset_every": "999999999999 years"}', '{"created_at": "2025-01-01"}']) changes,
  LATERAL test.errors(format($$SELECT apikey_budget_update(id, %L) FROM apikeys_data.budget WHERE name = 'own'$$, changes)) errors;
SELECT name, max_cost, reset_every FROM apikeys_data.budget WHERE id = :'own';

DROP FUNCTION test.make_key(text, uuid), test.verify(text), test.spend(text, numeric), test.age(uuid, interval), test.period(text, text, text), test.local_period(text, text, text, text), test.warnings(uuid), test.nth_start(text, timestamptz, interval, bigint);
DELETE FROM apikeys_data.key WHERE name ~ '^(budget|pool) ';
DELETE FROM apikeys_data.budget;
