-- Budgets in a tree: what is spent of one is spent of all above it.

CREATE FUNCTION test.make_key(name text, budget_id uuid) RETURNS uuid LANGUAGE sql AS $$
  SELECT public.apikey_import(sha256(convert_to(name || '-key', 'UTF8')), name, '...', budget_id => budget_id)
$$;
CREATE FUNCTION test.spend(name text, cost numeric, budget_id uuid = NULL, request_id text = NULL) RETURNS boolean LANGUAGE sql AS $$
  SELECT public.apikey_record_usage(test.id(name), cost => cost, request_id => request_id, budget_id => budget_id)
$$;
CREATE FUNCTION test.spent(OUT name text, OUT spent numeric, OUT remaining numeric) RETURNS SETOF record LANGUAGE sql AS $$
  SELECT b.name, b.spent, b.remaining FROM apikeys.budget_info b WHERE b.name LIKE 'tree %' ORDER BY b.name COLLATE "C"
$$;
CREATE FUNCTION test.verify(name text, OUT code text, OUT reason text, OUT limit_name text, OUT limit_remaining numeric,
  OUT budget_remaining numeric) LANGUAGE sql AS $$
  SELECT v.code, v.reason, v.limit_name, v.limit_remaining, v.budget_remaining FROM public.apikey_verify(name || '-key') v
$$;

-- Where costs are larger than integers of billionths, the least remains as well.
SELECT apikey_budget_create('large less', 2e16, parent_id => apikey_budget_create('large 1', 1e17)) AS large_less,
       apikey_budget_create('large more', 6e16, parent_id => apikey_budget_create('large 2', 5e16)) AS large_more \gset
SELECT test.make_key('large less', :'large_less') IS NOT NULL, test.make_key('large more', :'large_more') IS NOT NULL;
SELECT name, v.code, v.budget_remaining FROM unnest('{large less,large more}'::text[]) name, test.verify(name) v;
DELETE FROM apikeys_data.key WHERE name LIKE 'large %';
DELETE FROM apikeys_data.budget WHERE name LIKE 'large %';

-- Made.
SELECT apikey_budget_create('tree 1 company', 100) AS company \gset
SELECT apikey_budget_create('tree 2 department', 50, '1 month', :'company') AS department \gset
SELECT apikey_budget_create('tree 3 team', NULL, NULL, :'department', '{"requests_per_minute": 600, "max_concurrent_requests": 3}') AS team \gset
SELECT apikey_budget_create('tree 4 person', 10, parent_id => :'team', starts_at => '2020-01-01Z') AS person \gset
SELECT apikey_budget_create('tree 2 customer', 20, parent_id => :'company') AS customer \gset
SELECT b.name, p.name AS parent, b.rate_limits FROM apikeys.budget_info b LEFT JOIN apikeys.budget_info p ON p.id = b.parent_id
WHERE b.name LIKE 'tree %' ORDER BY b.name COLLATE "C";
SELECT details - 'parent_id' - 'budget_id' AS details, details->>'parent_id' = :'team' AS parent_id
FROM apikeys_data.event WHERE action = 'budget_create' AND details->>'budget_id' = :'person';
-- Without limits, so that the rest needs no shared memory.
SELECT rate_limits FROM apikey_budget_update(:'team', '{"rate_limits": null}');

-- Spent on every level, each in its own period, in one step.
SELECT test.make_key('tree person', :'person') IS NOT NULL, test.make_key('tree team', :'team') IS NOT NULL,
       test.make_key('tree none', NULL) IS NOT NULL, test.make_key('tree customer', :'customer') IS NOT NULL;
SELECT * FROM test.verify('tree person');
SELECT apikey_flush() >= 0 AS flushed;
BEGIN;
SELECT test.spend('tree person', 1.5);
SELECT b.name, e.cost, e.budget_period = b.period_started_at AS period, e.key_id IS NOT NULL AS with_key, e.requests
FROM apikeys_data.usage_entry e JOIN apikeys.budget_info b ON b.id = e.budget_id ORDER BY b.name COLLATE "C";
SELECT * FROM test.spent();
COMMIT;
SELECT test.spend('tree team', 2);
SELECT test.spend('tree none', 1000);
SELECT * FROM test.spent();
SELECT apikey_flush() >= 0 AS flushed;
SELECT * FROM test.spent();
SELECT b.name, p.spent FROM apikeys_data.budget_period p JOIN apikeys_data.budget b ON b.id = p.budget_id
WHERE b.name LIKE 'tree %' ORDER BY b.name COLLATE "C";
SELECT count(*) FROM apikeys_data.usage_entry;

-- A cost of 0 is charged to nobody.
BEGIN;
SELECT test.spend('tree person', 0), test.spend('tree person', 0, :'customer');
SELECT count(*) FROM apikeys_data.usage_entry WHERE budget_id IS NOT NULL;
COMMIT;

-- One more budget of a request; a common one counts once.
SELECT test.spend('tree person', 1, :'customer');
SELECT * FROM test.spent();
SELECT test.spend('tree person', 1, :'person'), test.spend('tree person', 1, :'department');
SELECT * FROM test.spent();
SELECT test.spend('tree none', 3, :'customer');
SELECT * FROM test.spent();
SELECT total_cost FROM apikey_usage(test.id('tree none'));

-- A limit for each, from the key's own budget up.
SELECT name, max, used, remaining, resets_in IS NOT NULL AS resets FROM apikey_limits(test.id('tree person'));
SELECT name, max, used, remaining FROM apikey_limits(test.id('tree none'));

-- Refused if any is spent: the nearest limit is told.
SELECT * FROM test.verify('tree person');
SELECT test.spend('tree team', 43.5);
SELECT * FROM test.verify('tree person');
SELECT code, reason FROM test.verify('tree team');
SELECT code, reason FROM test.verify('tree customer');
SELECT retry_after > 0 AS retry_after FROM apikey_verify('tree person-key');
SELECT test.spend('tree customer', 47);
-- The company's comes later than any reset.
SELECT reason, limit_name, retry_after FROM apikey_verify('tree person-key');
SELECT * FROM test.spent();
SELECT max_cost, remaining FROM apikey_budget_update(:'company', '{"max_cost": 1000}');
SELECT code, reason FROM test.verify('tree person');
SELECT max_cost FROM apikey_budget_update(:'department', '{"max_cost": 1000}');
SELECT * FROM test.verify('tree person');

-- Nobody has memory but the caches: without them it is the same.
SET apikeys.cache = off;
SELECT * FROM test.verify('tree person');
RESET apikeys.cache;

-- In one transaction, and undone with it.
BEGIN;
SELECT test.spend('tree person', 5);
SELECT code, budget_remaining FROM test.verify('tree person');
SAVEPOINT s;
SELECT test.spend('tree person', 5);
SELECT code FROM test.verify('tree person');
ROLLBACK TO s;
SELECT code, budget_remaining FROM test.verify('tree person');
ROLLBACK;
SELECT code, budget_remaining FROM test.verify('tree person');

-- Taken back from where it was spent, wherever the key is by then.
SELECT apikey_budget_create('tree 1 elsewhere', 7) AS elsewhere \gset
CREATE TEMPORARY TABLE before AS SELECT * FROM test.spent();
SELECT test.spend('tree person', 2, :'customer', 'a'), test.spend('tree person', 3, NULL, 'b'), test.spend('tree person', 0, :'customer', 'c');
SELECT request_id, cardinality(budget_ids) AS budgets, cardinality(budget_periods) AS periods
FROM apikeys_data.usage_request WHERE key_id = test.id('tree person') ORDER BY request_id;
SELECT test.spend('tree person', 2, :'customer', 'a');
SELECT name, s.spent - b.spent AS spent FROM test.spent() s JOIN before b USING (name);
SELECT apikey_flush() >= 0 AS flushed;
SELECT name FROM apikey_update(test.id('tree person'), jsonb_build_object('budget_id', :'elsewhere'));
SELECT parent_id FROM apikey_budget_update(:'team', '{"parent_id": null}');
SELECT apikey_void_usage(test.id('tree person'), 'a'), apikey_void_usage(test.id('tree person'), 'a');
SELECT name, s.spent - b.spent AS spent FROM test.spent() s JOIN before b USING (name);
SELECT apikey_void_usage(test.id('tree person'), 'b'), apikey_void_usage(test.id('tree person'), 'c');
SELECT name, s.spent - b.spent AS spent FROM test.spent() s JOIN before b USING (name) WHERE s.spent <> b.spent;
SELECT apikey_flush() >= 0 AS flushed;
SELECT name, s.spent - b.spent AS spent FROM test.spent() s JOIN before b USING (name) WHERE s.spent <> b.spent;
SELECT * FROM test.verify('tree person');
SELECT name FROM apikey_update(test.id('tree person'), jsonb_build_object('budget_id', :'person'));
SELECT parent_id = :'department' AS parent_id FROM apikey_budget_update(:'team', jsonb_build_object('parent_id', :'department'));
SELECT details - 'budget_id' = jsonb_build_object('parent_id', jsonb_build_object('from', NULL, 'to', :'department')) AS event
FROM apikeys_data.event WHERE action = 'budget_update' ORDER BY id DESC LIMIT 1;

-- Each level warns of its own.
SELECT u.name FROM apikeys.budget_info b,
  apikey_budget_update(b.id, jsonb_build_object('warn_at', '[1]'::jsonb, 'max_cost', b.spent + 1)) u
WHERE b.name IN ('tree 1 company', 'tree 2 department', 'tree 4 person') ORDER BY u.name COLLATE "C";
SELECT test.spend('tree person', 1);
SELECT details->>'name' AS name, details->>'fraction' AS fraction FROM apikeys_data.event
WHERE action = 'budget_warning' AND details->>'name' LIKE 'tree %' ORDER BY 1;
SELECT code, reason FROM test.verify('tree person');

-- Four levels, no circles, no strangers.
SELECT set_config('test.company', :'company', false), set_config('test.department', :'department', false),
       set_config('test.team', :'team', false), set_config('test.person', :'person', false),
       set_config('test.customer', :'customer', false), set_config('test.elsewhere', :'elsewhere', false) \g (format=unaligned tuples_only=on) /dev/null
CREATE FUNCTION test.move(budget text, below text) RETURNS text LANGUAGE sql AS $$
  SELECT name FROM public.apikey_budget_update(current_setting('test.' || budget)::uuid, jsonb_build_object('parent_id', current_setting('test.' || below)))
$$;
SELECT regexp_replace(e, '[0-9a-f]{8}-[0-9a-f-]{27}', 'ID', 'g') FROM test.errors(
  $$SELECT apikey_budget_create('fifth', parent_id => current_setting('test.person')::uuid)$$,
  $$SELECT apikey_budget_create('lost', parent_id => '00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT test.move('company', 'person')$$,
  $$SELECT test.move('company', 'company')$$,
  $$SELECT test.move('company', 'elsewhere')$$,
  $$SELECT test.move('department', 'customer')$$,
  $$SELECT apikey_budget_update(current_setting('test.customer')::uuid, '{"parent_id": "00000000-0000-0000-0000-00000000dead"}')$$,
  $$SELECT apikey_budget_update(current_setting('test.customer')::uuid, '{"parent_id": "x"}')$$,
  $$SELECT apikey_budget_update(current_setting('test.customer')::uuid, '{"parent_id": 1}')$$,
  $$SELECT apikey_budget_delete(current_setting('test.team')::uuid)$$,
  $$SELECT apikey_record_usage(test.id('tree none'), cost => 1, budget_id => '00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_record_usage(test.id('tree none'), budget_id => '00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_record_usage('00000000-0000-0000-0000-00000000dead', budget_id => '00000000-0000-0000-0000-00000000dead')$$) e;
SELECT test.move('team', 'company'), test.move('department', 'person');
SELECT test.move('department', 'company'), test.move('team', 'department');
SELECT b.name, p.name AS parent FROM apikeys.budget_info b LEFT JOIN apikeys.budget_info p ON p.id = b.parent_id
WHERE b.name LIKE 'tree %' ORDER BY b.name COLLATE "C";
-- An update that does not touch parent_id leaves it.
SELECT parent_id IS NOT NULL AS parent_id FROM apikey_budget_update(:'customer', '{"max_cost": 21}');

-- A circle that somebody has made by hand ends all the same.
UPDATE apikeys_data.budget SET parent_id = :'person' WHERE id = :'company';
BEGIN; -- before a flush worker sees the entries
SELECT test.spend('tree person', 0.25);
SELECT count(*) FROM apikeys_data.usage_entry WHERE cost = 0.25;
COMMIT;
SELECT code FROM test.verify('tree person');
SELECT count(*) FROM apikey_limits(test.id('tree person'));
SELECT * FROM test.errors($$SELECT test.move('elsewhere', 'person')$$);
UPDATE apikeys_data.budget SET parent_id = NULL WHERE id = :'company';
-- A parent that is gone is none.
UPDATE apikeys_data.budget SET parent_id = '00000000-0000-0000-0000-00000000dead' WHERE id = :'elsewhere';
SELECT test.spend('tree none', 0.25, :'elsewhere');
-- A key whose budget is gone has none either, and nothing that could be reserved.
BEGIN;
SELECT test.make_key('tree gone', :'elsewhere') IS NOT NULL;
DELETE FROM apikeys_data.budget WHERE id = :'elsewhere';
SELECT code, reservation, budget_remaining FROM apikey_verify('tree gone-key', reserve => true);
ROLLBACK;
UPDATE apikeys_data.budget SET parent_id = NULL WHERE id = :'elsewhere';

-- Limits of a budget are checked as a key's.
SELECT rate_limits FROM apikey_budget_update(:'team', '{"rate_limits": {"tokens_per_day": 1000}}');
SELECT details - 'budget_id' AS details FROM apikeys_data.event WHERE action = 'budget_update' ORDER BY id DESC LIMIT 1;
SELECT rate_limits FROM apikey_budget_update(:'team', '{"rate_limits": null}');
SELECT * FROM test.errors(
  $$SELECT apikey_budget_create('x', rate_limits => '{"requests": 1}')$$,
  $$SELECT apikey_budget_create('x', rate_limits => '{"requests_per_minute": -1}')$$,
  $$SELECT apikey_budget_create('x', rate_limits => '[]')$$,
  $$SELECT apikey_budget_update(current_setting('test.team')::uuid, '{"rate_limits": {"requests_per_minute": 1.5}}')$$,
  $$SELECT apikey_budget_update(current_setting('test.team')::uuid, '{"rate_limits": 1}')$$,
  $$INSERT INTO apikeys_data.budget (id, name, rate_limits) VALUES (gen_random_uuid(), 'x', '{"requests": 1}')$$);
SELECT apikey_budget_create('tree null', rate_limits => NULL) AS null_limits \gset
SELECT rate_limits FROM apikeys.budget_info WHERE id = :'null_limits';

-- What the ledgers refuse, whoever writes to them.
SELECT e FROM test.errors(
  $$INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period) VALUES (now(), 0, 0, 1e18, gen_random_uuid(), now())$$,
  $$INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period) VALUES (now(), 0, 0, -1e18, gen_random_uuid(), now())$$,
  $$INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period) VALUES (now(), 0, 0, 'NaN', gen_random_uuid(), now())$$,
  $$INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period) VALUES (now(), 0, 0, 1e-19, gen_random_uuid(), now())$$,
  $$INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period) VALUES (now(), 1, 0, 1, gen_random_uuid(), now())$$,
  $$INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period) VALUES (now(), 0, 1, 1, gen_random_uuid(), now())$$,
  $$INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost) VALUES (now(), 0, 0, 1)$$,
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, requests, tokens, cost, budget_id, budget_period) VALUES (gen_random_uuid(), now(), 0, 0, 1, gen_random_uuid(), now())$$,
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost, budget_id) VALUES (gen_random_uuid(), now(), 0, 1, gen_random_uuid())$$,
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost, budget_period) VALUES (gen_random_uuid(), now(), 0, 1, now())$$,
  $$INSERT INTO apikeys_data.budget_period (budget_id, started_at, spent) VALUES (gen_random_uuid(), now(), 'NaN')$$,
  $$INSERT INTO apikeys_data.budget_period (budget_id, started_at, spent) VALUES (gen_random_uuid(), now(), '-Infinity')$$,
  $$UPDATE apikeys_data.usage_request SET cost = 1e18$$,
  $$UPDATE apikeys_data.usage_request SET cost = 'NaN'$$,
  $$UPDATE apikeys_data.usage_request SET cost = -1$$,
  $$UPDATE apikeys_data.usage_request SET tokens = -1$$,
  $$UPDATE apikeys_data.usage_request SET request_id = ''$$,
  $$UPDATE apikeys_data.usage_request SET model = repeat('x', 256)$$,
  $$UPDATE apikeys_data.usage_request SET budget_ids = NULL WHERE budget_ids IS NOT NULL$$,
  $$UPDATE apikeys_data.usage_request SET budget_ids = '{}', budget_periods = '{}'$$,
  $$UPDATE apikeys_data.usage_request SET budget_ids = '{NULL}', budget_periods = '{2020-01-01}'$$,
  $$UPDATE apikeys_data.usage_request SET budget_ids = ('[0:0]={' || gen_random_uuid() || '}')::uuid[], budget_periods = '{2020-01-01}'$$) e
WHERE e NOT LIKE '%DETAIL%';

-- A key and a budget with a value in the TOAST table
SELECT count(apikey_update(test.id('tree person'), jsonb_build_object('metadata', m))::text) AS keys,
       count(apikey_budget_update(:'person', jsonb_build_object('metadata', m))::text) AS budgets
FROM (SELECT jsonb_build_object('v', string_agg(sha256(i::text::bytea)::text, '')) FROM generate_series(1, 100) i) d(m);
SELECT pg_relation_size(c.reltoastrelid) > 0 AS toasted FROM pg_class c WHERE c.oid IN ('apikeys_data.key'::regclass, 'apikeys_data.budget'::regclass);
SELECT spent AS person_spent FROM apikeys.budget_info WHERE id = :'person' \gset
SELECT test.spend('tree person', 0.125);
SELECT spent - :person_spent AS spent FROM apikeys.budget_info WHERE id = :'person';

-- What was spent of a budget that is gone is dropped, but not above it.
SELECT spent AS company_spent FROM apikeys.budget_info WHERE id = :'company' \gset
SELECT test.spend('tree customer', 4);
SELECT apikey_revoke(test.id('tree customer'));
SELECT apikey_budget_delete(:'customer');
SELECT apikey_flush() >= 0 AS flushed;
SELECT count(*) FROM apikeys_data.usage_entry;
SELECT spent - :company_spent AS spent FROM apikeys.budget_info WHERE id = :'company';

SELECT count(apikey_delete(id)) FROM apikeys_data.key WHERE name LIKE 'tree %';
SELECT apikey_budget_delete(:'person'), apikey_budget_delete(:'team'), apikey_budget_delete(:'department'), apikey_budget_delete(:'company'),
       apikey_budget_delete(:'elsewhere'), apikey_budget_delete(:'null_limits');
DROP FUNCTION test.make_key, test.spend, test.spent, test.verify, test.move;
