-- apikey_cleanup_events, apikey_cleanup_usage
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- What follows looks at one day.
DO $$ BEGIN IF localtime > '23:59' THEN PERFORM pg_sleep(61); END IF; END $$;

-- Events, of all ages
SELECT id FROM apikey_generate('retention') \gset
SELECT max(id) AS last FROM apikeys_data.event \gset event_
INSERT INTO apikeys_data.event (at, action, key_id, details) SELECT now() - age, 'test', :'id', '{}'
FROM unnest('{10 years,3 years,25 months,23 months,1 hour,0}'::interval[]) age;
SELECT count(*) FROM apikeys_data.event WHERE action = 'test';
SELECT apikey_cleanup_events('20 years');
SELECT apikey_cleanup_events(older_than => '5 years');
SELECT apikey_cleanup_events('2 years');
SELECT count(*) FROM apikeys_data.event WHERE action = 'test';
-- Each is an event itself, unless there was nothing to delete.
SELECT action, key_id, acting_role = current_user AS acting_role, (details->>'before')::timestamptz < now() - interval '1 year' AS before, details->>'deleted' AS deleted
FROM apikeys_data.event WHERE id > :event_last AND action LIKE 'cleanup%' ORDER BY id;
BEGIN;
SELECT apikey_cleanup_events('1 year');
ROLLBACK;
SELECT count(*) FROM apikeys_data.event WHERE action = 'test';
-- All: but not the event of that
SELECT apikey_cleanup_events('0') >= 5 AS deleted;
SELECT action, details->>'deleted' <> '0' AS deleted FROM apikeys_data.event WHERE action <> 'rehash';

-- In batches, the oldest first
INSERT INTO apikeys_data.event (at, action, details) SELECT now() - interval '2 years' + n * interval '1 second', 'test', to_jsonb(n) FROM generate_series(1, 25000) n;
SELECT apikey_cleanup_events('1 year');
SELECT count(*), min(details::integer) AS oldest FROM apikeys_data.event WHERE action = 'test';
SELECT apikey_cleanup_events('1 year'), apikey_cleanup_events('1 year'), apikey_cleanup_events('1 year');

-- Days: the totals stay.  Nothing of the other files' is in the way.
DELETE FROM apikeys_data.usage_day;
SELECT apikey_record_usage(:'id', 5, 0.5, model => 'm'), apikey_record_usage(:'id', 6, 0.6);
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost, model)
SELECT :'id', now() - age, 10, 1, 'm' FROM unnest('{10 years,3 years,25 months,23 months,3 days,2 days,1 day}'::interval[]) age;
CALL test.roll_up();
CREATE FUNCTION test.days() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(coalesce(model, '-') || ' ' || requests, ', ' ORDER BY day, model)
         || ' of ' || (SELECT format('%s %s %s', total_requests, total_tokens, total_cost) FROM public.apikey_usage(test.id('retention')))
  FROM apikeys.usage_report WHERE key_id = test.id('retention')
$$;
SELECT test.days();
SELECT apikey_cleanup_usage('20 years');
SELECT apikey_cleanup_usage(older_than => '2 years');
SELECT test.days();
SELECT apikey_cleanup_usage('1 year');
SELECT count(*) AS days, count(*) = (SELECT count(DISTINCT day) FROM apikeys.usage_report WHERE key_id = :'id') AS agree FROM apikey_usage_history(:'id');
-- Today stays, and a day for which something may be taken back
SELECT apikey_cleanup_usage('0');
SELECT test.days();
SELECT requests FROM apikey_usage_history(:'id') ORDER BY day;
SELECT action, key_id, details->>'deleted' AS deleted FROM apikeys_data.event WHERE action = 'cleanup_usage' ORDER BY id LIMIT 1;

-- Entries that are rolled up later make such a day anew.
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) VALUES (:'id', '2020-02-29 12:00+00', 1, 1);
SELECT apikey_cleanup_usage('1 year');
CALL test.roll_up();
SELECT apikey_cleanup_usage('1 year');
SELECT test.days();

SELECT * FROM test.errors(
  $$SELECT apikey_cleanup_events(NULL)$$,
  $$SELECT apikey_cleanup_events('-1 second')$$,
  $$SELECT apikey_cleanup_events('1001 years')$$,
  $$SELECT apikey_cleanup_usage(NULL)$$,
  $$SELECT apikey_cleanup_usage('-1 day')$$,
  $$SELECT apikey_cleanup_usage('1001 years')$$
);

-- What keeps its event from being written keeps it from being done.
CREATE FUNCTION test.prevent_event() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
INSERT INTO apikeys_data.event (at, action) VALUES ('2000-01-01', 'test');
CREATE TRIGGER prevent BEFORE INSERT ON apikeys_data.event FOR EACH ROW EXECUTE FUNCTION test.prevent_event();
SELECT * FROM test.errors($$SELECT apikey_cleanup_events('20 years')$$);
DROP TRIGGER prevent ON apikeys_data.event;
SELECT apikey_cleanup_events('20 years');
\set VERBOSITY sqlstate
BEGIN READ ONLY;
SELECT apikey_cleanup_events('1 day');
ROLLBACK;
\set VERBOSITY default

-- For the owner alone
CREATE ROLE regress_apikeys_retention;
SELECT apikey_grant('regress_apikeys_retention', 'manage');
SET ROLE regress_apikeys_retention;
\set VERBOSITY sqlstate
SELECT apikey_cleanup_events('1 day');
SELECT apikey_cleanup_usage('1 day');
\set VERBOSITY default
RESET ROLE;
DROP OWNED BY regress_apikeys_retention;
DROP ROLE regress_apikeys_retention;
SELECT apikey_delete(:'id');
DROP FUNCTION test.days, test.prevent_event;
