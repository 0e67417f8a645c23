-- Every change writes an event, in the same transaction, and only the owner may take one away.
SET application_name = 'audit test';
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_apikeys_auditor, regress_apikeys_manager;
RESET client_min_messages;
CREATE ROLE regress_apikeys_auditor;
CREATE ROLE regress_apikeys_manager;
SELECT apikey_grant('regress_apikeys_auditor', 'read');
SELECT apikey_grant('regress_apikeys_manager', 'manage');
GRANT USAGE ON SCHEMA test TO PUBLIC;
SELECT max(id) AS last FROM apikeys_data.event \gset event_

-- Ids, which differ from run to run, by the name of the key.
CREATE FUNCTION test.masked(details jsonb) RETURNS text LANGUAGE sql AS $$
  SELECT regexp_replace(regexp_replace(details::text, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID', 'g'),
    '\d{4}-\d\d-\d\dT[0-9:.]+\+00:00|gw-[0-9A-Za-z]\.\.\.[0-9A-Za-z]{4}', '...', 'g')
$$;
SET timezone = 'UTC';

-- Each action once.
SET ROLE regress_apikeys_manager;
SELECT id, raw_key FROM apikey_generate('audit', expires_at => '2100-01-01 00:00+00', metadata => '{"a": 1, "b": [1, 2]}') \gset
SELECT apikey_import('\x0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdff', 'audit imported', 'x') AS imported \gset
SELECT name FROM apikey_update(:'id', '{"name": "audit 2", "metadata": {"a": 1.0, "b": [2]}, "enabled": false, "allowed_ips": ["::1"],
  "rate_limits": {"requests_per_day": 0}, "expires_at": null, "description": "d", "external_id": "e", "permissions": {},
  "user_id": "00000000-0000-0000-0000-000000000001"}');
SELECT name FROM apikey_update(:'id', '{"enabled": true, "description": null, "external_id": "e"}');
SELECT name FROM apikey_update(:'id', '{}');
SELECT id AS successor, raw_key AS successor_raw_key FROM apikey_rotate(:'id', '1 hour') \gset
SELECT apikey_revoke(:'id');
SELECT apikey_budget_create('audit', 10) AS budget \gset
SELECT name FROM apikey_budget_update(:'budget', '{"max_cost": 10.00, "reset_every": "1 mon"}');
SELECT name FROM apikey_budget_update(:'budget', '{"max_cost": 11, "name": "audit 2", "reset_every": null}');
SELECT apikey_budget_delete(:'budget');
SELECT apikey_plan_set('audit', '{"is_admin": true}');
SELECT apikey_plan_set('audit', '{"is_admin": false}', description => 'd');
SELECT apikey_plan_set('audit', '{"is_admin": false}', description => 'd');
SELECT apikey_plan_delete('audit');
SELECT apikey_delete(:'id');
RESET ROLE;
UPDATE apikeys_data.key SET created_at = '2000-01-01', expires_at = '2000-01-02' WHERE id = :'imported';
SET ROLE regress_apikeys_manager;
SELECT apikey_cleanup_expired('20 years');
RESET ROLE;
SELECT apikey_grant('regress_apikeys_auditor', 'verify');
SELECT apikey_revoke_grant('regress_apikeys_auditor', 'manage');
SELECT action, CASE key_id WHEN :'id' THEN 'id' WHEN :'imported' THEN 'imported' ELSE key_id::text END AS key, acting_role = 'regress_apikeys_manager' AS manager,
  test.masked(details) AS details
FROM apikeys_data.event WHERE id > :event_last AND action <> 'rehash' ORDER BY id;
SELECT bool_and(session_role = session_user) AS session_role, bool_and(client_addr IS NOT DISTINCT FROM inet_client_addr()) AS client_addr,
  bool_and(application_name = 'audit test') AS application_name,
  bool_and(at BETWEEN clock_timestamp() - interval '10 min' AND clock_timestamp()) AS at
FROM apikeys_data.event WHERE id > :event_last AND action <> 'rehash';

-- No key and no hash in any.
SELECT count(*) FILTER (WHERE strpos(e::text, substr(:'raw_key', 4)) > 0 OR strpos(e::text, substr(:'successor_raw_key', 4)) > 0) AS raw_keys,
  count(*) FILTER (WHERE e::text ~ '\\x|[0-9a-f]{64}') AS hashes, count(*) > 10 AS events
FROM apikeys_data.event e;

-- The same text, whatever the settings of the session that writes.
SELECT max(id) AS last FROM apikeys_data.event \gset event_
SET timezone = 'Asia/Kolkata';
SET datestyle = 'German';
SET intervalstyle = 'sql_standard';
BEGIN;
SELECT id FROM apikey_generate('settings', expires_at => '2100-01-01 00:00+00') \gset odd_
SELECT expires_at FROM apikey_update(:'odd_id', '{"expires_at": "2100-07-01T12:00:00Z"}');
SELECT apikey_budget_create('settings', 1, '1 mon 2 days 03:00:00', starts_at => '2100-01-01 00:00+00') AS budget \gset odd_
SELECT reset_every FROM apikey_budget_update(:'odd_budget', '{"reset_every": "1 year 1 day"}');
SELECT id AS successor FROM apikey_rotate(:'odd_id', '200 years') \gset odd_
SHOW timezone;
SHOW intervalstyle;
SET timezone = 'UTC';
RESET datestyle;
RESET intervalstyle;
SELECT action, details - 'budget_id' - 'successor' - 'key_prefix' AS details FROM apikeys_data.event
WHERE id > :event_last AND action <> 'rehash' ORDER BY id;
ROLLBACK;
-- Nor does an error leave ours behind.
CREATE FUNCTION test.raise_timezone() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'in %', current_setting('timezone'); END$$;
CREATE TRIGGER raise BEFORE INSERT ON apikeys_data.event FOR EACH ROW EXECUTE FUNCTION test.raise_timezone();
SET timezone = 'Asia/Kolkata';
SELECT * FROM test.errors('SELECT apikey_generate(''x'')');
SHOW timezone;
SET timezone = 'UTC';
DROP TRIGGER raise ON apikeys_data.event;
DROP FUNCTION test.raise_timezone;

-- What did not happen has no event.
SELECT max(id) AS last FROM apikeys_data.event \gset event_
SET test.id = :'id';
SET test.successor = :'successor';
SELECT * FROM test.errors(
  $$SELECT apikey_update(current_setting('test.successor')::uuid, '{"name": ""}')$$,
  $$SELECT apikey_rotate(current_setting('test.id')::uuid)$$,
  'SELECT apikey_budget_create(''x'', -1)',
  'SELECT apikey_plan_set(''x'', ''{"x": 1}'')',
  'SELECT apikey_plan_delete(''x'')',
  'SELECT apikey_generate(''x'', expires_at => ''2000-01-01'')');
BEGIN;
SELECT name FROM apikey_update(:'successor', '{"name": "audit 3"}');
ROLLBACK;
SELECT count(*) FROM apikeys_data.event WHERE id > :event_last AND action <> 'rehash';

-- In a transaction that has an old snapshot, from what was there.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT name FROM apikey_update(:'successor', '{"name": "audit 3"}');
SELECT name FROM apikey_update(:'successor', '{"name": "audit 4"}');
COMMIT;
SELECT action, details FROM apikey_events(:'successor');

-- apikey_events: newest first, of all keys or of one, since when, so many.
SET ROLE regress_apikeys_auditor;
SELECT action, acting_role, client_addr IS NOT DISTINCT FROM inet_client_addr() AS client_addr, application_name FROM apikey_events(:'id');
SELECT action FROM apikey_events(:'id', row_limit => 2);
SELECT count(*) FROM apikey_events(:'id', row_limit => 0);
SELECT at AS revoked_at FROM apikey_events(:'id') WHERE action = 'revoke' \gset
SELECT action FROM apikey_events(:'id', :'revoked_at');
SELECT action FROM apikey_events(since => :'revoked_at', row_limit => 3);
SELECT count(*) FROM apikey_events(since => 'infinity');
SELECT count(*) > 0 FROM apikey_events(since => '-infinity');
SELECT count(*) FROM apikey_events('00000000-0000-0000-0000-00000000dead');
SELECT bool_and(at <= before) AS newest_first FROM (SELECT at, lag(at) OVER () AS before FROM apikey_events(row_limit => NULL)) e;
SELECT * FROM test.errors('SELECT apikey_events(row_limit => -1)');
RESET ROLE;
SELECT count(*) = (SELECT count(*) FROM apikeys_data.event) AS "all" FROM apikey_events(row_limit => NULL);
SELECT event_id = max(e.id) AS newest FROM apikey_events(row_limit => 1), apikeys_data.event e GROUP BY event_id;

-- A large log is not read through for a few events.
INSERT INTO apikeys_data.event (at, action, key_id) SELECT '2000-01-01'::timestamptz + n * interval '1 s', 'filler', gen_random_uuid() FROM generate_series(1, 20000) n;
ANALYZE apikeys_data.event;
BEGIN;
SELECT seq_scan AS scans, seq_tup_read AS rows FROM pg_stat_xact_all_tables WHERE relid = 'apikeys_data.event'::regclass \gset before_
SELECT count(*) FROM apikey_events(:'id');
SELECT count(*) FROM apikey_events(row_limit => 5);
SELECT count(*) FROM apikey_events(since => '2000-01-01 05:33:00', row_limit => 5);
SELECT count(*) FROM apikey_events(since => '2020-01-01', row_limit => 5);
SELECT seq_scan - :before_scans AS scans, seq_tup_read - :before_rows AS rows FROM pg_stat_xact_all_tables WHERE relid = 'apikeys_data.event'::regclass;
COMMIT;
DELETE FROM apikeys_data.event WHERE action = 'filler';

-- Nobody but the owner takes an event away, changes one or invents one.
SET ROLE regress_apikeys_manager;
SELECT * FROM test.errors(
  'DELETE FROM apikeys_data.event',
  'UPDATE apikeys_data.event SET details = ''{}''',
  'TRUNCATE apikeys_data.event',
  'INSERT INTO apikeys_data.event (at, action) VALUES (clock_timestamp(), ''invented'')',
  'SELECT nextval(''apikeys_data.event_id_seq'')',
  'SELECT setval(''apikeys_data.event_id_seq'', 1)',
  'DROP TABLE apikeys_data.event',
  'ALTER TABLE apikeys_data.event DISABLE TRIGGER ALL',
  'ALTER TABLE apikeys_data.event ALTER COLUMN acting_role SET DEFAULT ''somebody''',
  'CREATE RULE nothing AS ON INSERT TO apikeys_data.event DO INSTEAD NOTHING',
  'SET session_replication_role = replica');
RESET ROLE;
SELECT apikey_delete(:'successor');

-- What a trigger keeps out of the log is not done without it.
CREATE FUNCTION test.prevent_event() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
SELECT id AS prevented, raw_key FROM apikey_generate('audit prevented', expires_at => '2100-01-01') \gset
SET test.id = :'prevented';
SET test.raw_key = :'raw_key';
SELECT apikey_budget_create('audit prevented', 1) AS budget \gset
SET test.budget = :'budget';
CREATE TRIGGER prevent BEFORE INSERT ON apikeys_data.event FOR EACH ROW EXECUTE FUNCTION test.prevent_event();
SELECT * FROM test.errors(
  $$SELECT apikey_generate('prevented')$$,
  $$SELECT apikey_import('\x0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdff', 'prevented', 'x')$$,
  $$SELECT apikey_update(current_setting('test.id')::uuid, '{"description": "prevented"}')$$,
  $$SELECT apikey_rotate(current_setting('test.id')::uuid)$$,
  $$SELECT apikey_revoke(current_setting('test.id')::uuid)$$,
  $$SELECT apikey_derive(current_setting('test.raw_key'), '1 hour')$$,
  $$SELECT apikey_delete(current_setting('test.id')::uuid)$$,
  $$SELECT apikey_budget_create('prevented', 1)$$,
  $$SELECT apikey_plan_set('prevented')$$,
  $$SELECT apikey_plan_set('unlimited')$$,
  $$SELECT apikey_plan_delete('unlimited')$$,
  $$SELECT apikey_budget_update(current_setting('test.budget')::uuid, '{"max_cost": 2}')$$,
  $$SELECT apikey_budget_delete(current_setting('test.budget')::uuid)$$,
  $$SELECT apikey_grant('regress_apikeys_auditor', 'manage')$$);
UPDATE apikeys_data.key SET created_at = '2000-01-01', expires_at = '2000-01-02' WHERE id = :'prevented';
SELECT * FROM test.errors($$SELECT apikey_cleanup_expired('20 years')$$);
SELECT count(*) FROM apikeys_data.key WHERE id = :'prevented' AND revoked_at IS NULL;
DROP TRIGGER prevent ON apikeys_data.event;
RESET test.raw_key;
SELECT apikey_delete(:'prevented');
SELECT apikey_budget_delete(:'budget');

DROP FUNCTION test.masked, test.prevent_event;
REVOKE ALL ON SCHEMA test FROM PUBLIC;
RESET timezone;
RESET application_name;
SELECT apikey_revoke_grant('regress_apikeys_auditor', 'verify');
SELECT apikey_revoke_grant('regress_apikeys_manager', 'verify');
DROP ROLE regress_apikeys_auditor, regress_apikeys_manager;
