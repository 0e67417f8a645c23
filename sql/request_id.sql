-- A request_id: recorded once, taken back once.
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- What follows looks at one day.
DO $$ BEGIN IF localtime > '23:58' THEN PERFORM pg_sleep(121); END IF; END $$;

CREATE FUNCTION test.total(key_name text) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s %s %s, today %s %s %s', total_requests, total_tokens, total_cost, requests_today, tokens_today, cost_today)
  FROM public.apikey_usage(test.id(key_name))
$$;

SELECT id FROM apikey_generate('once') \gset
SELECT id AS other_id FROM apikey_generate('once other') \gset

-- Once for a key, whatever else it says
SELECT apikey_record_usage(:'id', 10, 0.1, NULL, 'a');
SELECT apikey_record_usage(:'id', 10, 0.1, NULL, 'a'), apikey_record_usage(:'id', 77, 7, request_id => 'a');
SELECT apikey_record_usage(:'id', 20, 0.2, NULL, 'b'), apikey_record_usage(:'id', 20, 0.2, NULL, 'b');
SELECT apikey_record_usage(:'other_id', 10, 0.1, NULL, 'a');
SELECT apikey_record_usage(:'id', 1), apikey_record_usage(:'id', 1, request_id => NULL);
SELECT test.total('once'), test.total('once other');
CALL test.roll_up();
SELECT apikey_record_usage(:'id', 10, 0.1, NULL, 'a'), apikey_record_usage(:'other_id', 10, 0.1, NULL, 'a');
SELECT test.total('once'), test.total('once other');

-- In one statement, for many
SELECT count(*) FILTER (WHERE apikey_record_usage(:'id', 1, request_id => 'many ' || n % 10)) FROM generate_series(1, 100) n;
SELECT test.total('once');

-- What is rolled back was not recorded.
BEGIN;
SELECT apikey_record_usage(:'id', request_id => 'undone');
SELECT apikey_record_usage(:'id', request_id => 'undone');
SAVEPOINT s;
SELECT apikey_record_usage(:'id', request_id => 'undone too');
ROLLBACK TO s;
SELECT apikey_record_usage(:'id', request_id => 'undone too');
ROLLBACK;
SELECT apikey_record_usage(:'id', request_id => 'undone');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT apikey_record_usage(:'id', request_id => 'undone'), apikey_record_usage(:'id', request_id => 'serializable');
SELECT apikey_record_usage(:'id', request_id => 'serializable'), apikey_record_usage(:'id', request_id => 'a');
SELECT apikey_void_usage(:'id', 'serializable'), apikey_void_usage(:'id', 'serializable');
COMMIT;
SELECT test.total('once');

-- Taken back, once: before the roll-up and after
SELECT id FROM apikey_generate('void') \gset
SELECT apikey_record_usage(:'id', 10, 0.1, NULL, 'a'), apikey_record_usage(:'id', 20, 0.2, NULL, 'b'), apikey_record_usage(:'id', 30, 0.3);
SELECT apikey_void_usage(:'id', 'a');
SELECT apikey_void_usage(:'id', 'a');
SELECT test.total('void');
CALL test.roll_up();
SELECT test.total('void');
SELECT apikey_void_usage(:'id', 'b'), apikey_void_usage(id => :'id', request_id => 'b');
SELECT test.total('void');
CALL test.roll_up();
SELECT test.total('void');
SELECT requests, tokens, cost FROM apikey_usage_history(:'id');

-- Its id is used up.
SELECT apikey_record_usage(:'id', 10, 0.1, NULL, 'a');
-- What was never recorded, not for this key, or is rolled back
SELECT apikey_void_usage(:'id', 'never'), apikey_void_usage(:'other_id', 'b');
BEGIN;
SELECT apikey_record_usage(:'id', 5, request_id => 'gone');
ROLLBACK;
SELECT apikey_void_usage(:'id', 'gone');
-- A void that is rolled back
SELECT apikey_record_usage(:'id', 40, request_id => 'stays');
BEGIN;
SELECT apikey_void_usage(:'id', 'stays');
SELECT test.total('void');
ROLLBACK;
SELECT test.total('void');
SELECT apikey_void_usage(:'id', 'stays');
SELECT test.total('void');

-- On the day of the record, and not after the retention: two days, each with
-- two requests
SELECT apikey_record_usage(:'id', 3, 3, NULL, 'yesterday'), apikey_record_usage(:'id', 4, 4, NULL, 'long ago');
UPDATE apikeys_data.usage_entry SET recorded_at = recorded_at - interval '23 hours 59 minutes' WHERE key_id = :'id' AND tokens = 3;
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) VALUES (:'id', now() - interval '23 hours 59 minutes', 5, 5);
UPDATE apikeys_data.usage_request SET recorded_at = recorded_at - interval '23 hours 59 minutes' WHERE request_id = 'yesterday';
UPDATE apikeys_data.usage_request SET recorded_at = recorded_at - interval '24 hours 1 minute' WHERE request_id = 'long ago';
SELECT apikey_void_usage(:'id', 'long ago');
SELECT apikey_void_usage(:'id', 'yesterday');
SELECT (now() AT TIME ZONE 'UTC')::date - day AS days_ago, requests, tokens, cost FROM apikey_usage_history(:'id') ORDER BY 1;
CALL test.roll_up();
SELECT (now() AT TIME ZONE 'UTC')::date - day AS days_ago, requests, tokens, cost FROM apikey_usage_history(:'id') ORDER BY 1;
SELECT test.total('void');
-- Then a flush lets go of the id.
SELECT request_id FROM apikeys_data.usage_request WHERE key_id = :'id' ORDER BY 1;
SELECT apikey_record_usage(:'id', 4, 4, NULL, 'long ago'), apikey_record_usage(:'id', 3, 3, NULL, 'yesterday');

-- A void may be rolled up first.
SELECT id FROM apikey_generate('void first') \gset
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, requests, tokens, cost) VALUES (:'id', now(), -1, -7, -0.7);
CALL test.roll_up();
SELECT test.total('void first');
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, requests, tokens, cost) VALUES (:'id', now(), 1, 7, 0.7);
SELECT test.total('void first');
CALL test.roll_up();
SELECT test.total('void first');

-- Sums that have ended at the largest bigint stay there.
SELECT apikey_record_usage(:'id', 9223372036854775807, request_id => 'a'), apikey_record_usage(:'id', 9223372036854775807, request_id => 'b');
CALL test.roll_up();
SELECT apikey_record_usage(:'id', 9223372036854775807, request_id => 'c');
SELECT apikey_void_usage(:'id', 'a'), apikey_void_usage(:'id', 'b'), apikey_void_usage(:'id', 'c');
SELECT requests FROM apikey_usage_history(:'id');
CALL test.roll_up();
SELECT test.total('void first');

-- Budgets
SELECT apikey_budget_create('void', 10) AS budget \gset
SELECT id, raw_key FROM apikey_generate('void budget', budget_id => :'budget') \gset
SELECT apikey_record_usage(:'id', cost => 4, request_id => 'a'), apikey_record_usage(:'id', cost => 6, request_id => 'b');
SELECT code FROM apikey_verify(:'raw_key');
SELECT apikey_void_usage(:'id', 'a');
SELECT code FROM apikey_verify(:'raw_key');
SELECT spent, remaining FROM apikeys.budget_info WHERE id = :'budget';
CALL test.roll_up();
SELECT spent, remaining FROM apikeys.budget_info WHERE id = :'budget';
-- ... the one from which it was spent
SELECT apikey_budget_create('void other', 10) AS other_budget \gset
SELECT name FROM apikey_update(:'id', jsonb_build_object('budget_id', :'other_budget'));
SELECT apikey_void_usage(:'id', 'b');
SELECT name, spent FROM apikeys.budget_info WHERE name LIKE 'void%' ORDER BY 1;
CALL test.roll_up();
SELECT name, spent FROM apikeys.budget_info WHERE name LIKE 'void%' ORDER BY 1;
-- ... even if it is gone
SELECT apikey_record_usage(:'id', cost => 1, request_id => 'c');
SELECT name FROM apikey_update(:'id', '{"budget_id": null}');
SELECT apikey_budget_delete(:'other_budget');
SELECT apikey_void_usage(:'id', 'c');
CALL test.roll_up();
SELECT test.total('void budget');

-- A key of any status, but it has to be there.
SELECT apikey_record_usage(:'id', 1, request_id => 'd');
SELECT apikey_revoke(:'id');
SELECT apikey_record_usage(:'id', 1, request_id => 'd'), apikey_void_usage(:'id', 'd');
SELECT apikey_delete(:'id');
SELECT apikey_budget_delete(:'budget');

SELECT * FROM test.errors(
  $$SELECT apikey_record_usage('00000000-0000-0000-0000-00000000dead', request_id => 'a')$$,
  $$SELECT apikey_record_usage(test.id('once'), request_id => '')$$,
  $$SELECT apikey_record_usage(test.id('once'), request_id => repeat('x', 256))$$,
  format($$SELECT apikey_record_usage(test.id('once'), request_id => 'key %s')$$, :'raw_key'),
  $$SELECT apikey_void_usage('00000000-0000-0000-0000-00000000dead', 'a')$$,
  $$SELECT apikey_void_usage(NULL, 'a')$$,
  $$SELECT apikey_void_usage(test.id('once'), NULL)$$,
  $$SELECT apikey_void_usage(test.id('once'), '')$$,
  $$SELECT apikey_void_usage(test.id('once'), repeat('x', 256))$$,
  format($$SELECT apikey_void_usage(test.id('once'), '%s')$$, :'raw_key')
) e WHERE e !~ :'raw_key';
SELECT apikey_record_usage(test.id('once'), request_id => repeat('ä', 255)), apikey_void_usage(test.id('once'), repeat('ä', 255));
\set VERBOSITY sqlstate
BEGIN READ ONLY;
SELECT apikey_void_usage(test.id('once'), 'b');
ROLLBACK;
BEGIN READ ONLY;
SELECT apikey_record_usage(test.id('once'), request_id => 'b');
ROLLBACK;
\set VERBOSITY default
DROP FUNCTION test.total;
