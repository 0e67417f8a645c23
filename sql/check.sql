-- apikeys.check(): no row where all is sound, and one for each thing that is not.
-- The other files delete behind the extension's back, so it is made anew.
SET client_min_messages = warning;
DROP EXTENSION apikeys;
CREATE EXTENSION apikeys;
RESET client_min_messages;
SET datestyle = ISO;
SELECT * FROM apikeys.check();

-- Keys in each state, and usage of all kinds, a part of it rolled up.
SELECT apikey_budget_create('company', 100) AS company \gset
SELECT apikey_budget_create('team', 50, '1 day', parent_id => :'company', warn_at => '{0.01}') AS team \gset
SELECT apikey_budget_create('gone') AS gone \gset
SELECT added FROM apikey_budget_add(:'team', 5);
SELECT apikey_plan_set('check', '{"is_admin": true}');
SELECT id AS first FROM apikey_generate('first', budget_id => :'team', plan => 'check', expires_at => now() + interval '1 year') \gset
SELECT count(*) FROM apikey_rotate(:'first', '1 hour');
SELECT count(apikey_update(id, '{"name": "second"}')) FROM apikeys_data.key WHERE rotated_from = :'first';
SELECT count(*) FROM apikey_rotate(test.id('second'));
SELECT count(apikey_update(id, '{"name": "third"}')) FROM apikeys_data.key WHERE rotated_from = test.id('second');
SELECT apikey_import(sha256('check'), 'imported', 'x', idle_timeout => '1 day', created_at => '2001-02-03') IS NOT NULL AS imported;
SELECT count(*) FROM apikey_generate('revoked', expires_at => now() + interval '1 day');
SELECT apikey_revoke(test.id('revoked'), 'check');
SELECT id AS deleted FROM apikey_generate('deleted', budget_id => :'gone') \gset
SELECT apikey_record_usage(:'deleted', 1, 1, request_id => 'deleted');
CALL test.roll_up();
SELECT apikey_delete(:'deleted');
SELECT apikey_budget_delete(:'gone');
SELECT apikey_record_usage(test.id('third'), 10, 2, model => 'a'), apikey_record_usage(test.id('third'), 20, 4, request_id => 'one', model => 'b'),
  apikey_record_usage(test.id('third'), 5, 1, request_id => 'two');
CALL test.roll_up();
BEGIN;
SELECT apikey_void_usage(test.id('third'), 'two'), apikey_record_usage(test.id('third'), 1, 0.5, request_id => 'three');
SELECT * FROM apikeys.check();
COMMIT;
CALL test.roll_up();
SELECT * FROM apikeys.check();

-- Does something by hand, shows what the check says, and undoes it.
CREATE TEMPORARY TABLE name AS
  SELECT id::text, name FROM apikeys_data.key UNION ALL SELECT id::text, name FROM apikeys_data.budget;
INSERT INTO name VALUES (:'deleted', 'deleted'), (:'gone', 'gone');
CREATE FUNCTION test.with_names(problem text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  n name;
BEGIN
  FOR n IN SELECT * FROM name LOOP
    problem := replace(problem, n.id, n.name);
  END LOOP;
  problem := regexp_replace(problem, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID', 'g');
  problem := regexp_replace(problem, '[0-9a-f]{32}', 'MD5', 'g');
  problem := regexp_replace(problem, '(event|at|with) \d+', '\1 N', 'g');
  RETURN regexp_replace(problem, '\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d+)?[-+]\d\d)?', 'TIME', 'g');
END $$;
CREATE FUNCTION test.problems(VARIADIC damages text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  damage text;
  problem text;
  problems text[];
BEGIN
  FOREACH damage IN ARRAY damages LOOP
    RETURN NEXT damage;
    problems := '{}';
    BEGIN
      EXECUTE damage;
      problems := ARRAY(SELECT concat_ws(': ', '    ' || c.level, c.object, c.problem) FROM apikeys.check() c);
      RAISE SQLSTATE 'UNDO1';
    EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    END;
    FOR problem IN SELECT test.with_names(p) COLLATE "C" FROM unnest(problems) p ORDER BY 1 LOOP
      RETURN NEXT problem;
    END LOOP;
    IF problems = '{}' THEN
      RETURN NEXT '    NOTHING';
    END IF;
  END LOOP;
END $$;

-- Keys.
SELECT test.problems(
  $$UPDATE apikeys_data.key SET root_id = test.id('first') WHERE name = 'imported'$$,
  $$UPDATE apikeys_data.key SET root_id = id WHERE name = 'third'$$,
  $$UPDATE apikeys_data.key SET root_id = test.id('second') WHERE name = 'third'$$,
  $$UPDATE apikeys_data.key SET rotated_at = NULL WHERE name = 'second'$$,
  $$UPDATE apikeys_data.key SET rotated_from = test.id('first') WHERE name = 'third'$$,
  $$UPDATE apikeys_data.key SET rotated_from = test.id('third') WHERE name = 'second'$$,
  $$UPDATE apikeys_data.key SET rotated_from = id WHERE name = 'second'$$,
  $$UPDATE apikeys_data.key SET revoke_reason = 'mine' WHERE name = 'third'$$,
  $$UPDATE apikeys_data.key SET key_prefix = 'x...' WHERE name IN ('first', 'third')$$,
  $$ALTER TABLE apikeys_data.key DROP CONSTRAINT key_is_valid; UPDATE apikeys_data.key SET key_hash = 'short' WHERE name = 'first'$$,
  $$UPDATE apikeys_data.key SET budget_id = gen_random_uuid() WHERE name = 'third'$$,
  $$UPDATE apikeys_data.key SET plan = 'none' WHERE name = 'third'$$,
  $$DELETE FROM apikeys_data.plan WHERE name = 'check'$$,
  $$UPDATE apikeys_data.key SET hash_secret = 'lost' WHERE name = 'third'$$,
  $$DELETE FROM apikeys_data.key_notice$$,
  $$INSERT INTO apikeys_data.key_notice (key_id, by_idleness) VALUES (test.id('revoked'), false), (gen_random_uuid(), true)$$);

-- What is deleted by hand; of a first key, its successors stay.
SELECT test.problems(
  $$DELETE FROM apikeys_data.key WHERE name = 'imported'$$,
  $$DELETE FROM apikeys_data.key WHERE name = 'third'$$,
  $$SET LOCAL session_replication_role = replica; DELETE FROM apikeys_data.key WHERE name = 'first'$$,
  $$DELETE FROM apikeys_data.budget WHERE name = 'team'$$,
  $$DELETE FROM apikeys_data.budget WHERE name = 'company'$$,
  $$TRUNCATE apikeys_data.key$$);

-- The audit log.
SELECT test.problems(
  $$DELETE FROM apikeys_data.event WHERE action = 'generate' AND key_id = test.id('first')$$,
  $$DELETE FROM apikeys_data.event WHERE action = 'rotate' AND key_id = test.id('second')$$,
  $$INSERT INTO apikeys_data.event (at, action, key_id) SELECT now(), 'generate', test.id('third')$$,
  $$INSERT INTO apikeys_data.event (at, action, key_id) SELECT now(), 'import', test.id('imported')$$,
  $$UPDATE apikeys_data.key SET key_prefix = 'y' WHERE name = 'imported'$$,
  $$UPDATE apikeys_data.event SET key_id = test.id('imported') WHERE action = 'revoke'$$,
  $$UPDATE apikeys_data.key SET revoked_at = NULL, revoke_reason = NULL WHERE name = 'revoked'$$,
  $$UPDATE apikeys_data.key SET revoked_at = now() WHERE name = 'third'$$,
  $$UPDATE apikeys_data.key SET revoked_at = now() WHERE name = 'first'$$,
  $$INSERT INTO apikeys_data.event (at, action, key_id) SELECT now(), 'update', test.id('revoked')$$,
  $$INSERT INTO apikeys_data.event (at, action, key_id) SELECT now(), 'delete', test.id('third')$$,
  $$INSERT INTO apikeys_data.event (at, action, key_id) SELECT now(), 'update', key_id FROM apikeys_data.event WHERE action = 'delete'$$,
  $$INSERT INTO apikeys_data.event (at, action, key_id) SELECT now(), 'generate', gen_random_uuid()$$,
  $$INSERT INTO apikeys_data.event (at, action, key_id) SELECT now(), 'update', gen_random_uuid()$$,
  $$INSERT INTO apikeys_data.event (at, action, details) SELECT now(), 'plan_set', '{"plan": "lost"}'$$,
  $$ALTER SEQUENCE apikeys_data.event_id_seq RESTART$$,
  -- What is not as the extension writes it stops nothing.
  $$UPDATE apikeys_data.event SET details = '[1]'$$,
  $$INSERT INTO apikeys_data.event (at, action, details) SELECT now(), a, '{"before": "once", "budget_id": 1, "successor": [], "amount": "much", "plan": null}'
      FROM unnest('{cleanup_events,cleanup_usage,budget_create,budget_delete,budget_add,rotate}'::text[]) a$$);

-- What was used.
SELECT test.problems(
  $$UPDATE apikeys_data.usage SET total_requests = total_requests + 1$$,
  $$UPDATE apikeys_data.usage SET total_tokens = 1$$,
  $$UPDATE apikeys_data.usage_day SET cost = cost - 0.25 WHERE model = 'a'$$,
  $$DELETE FROM apikeys_data.usage$$,
  $$DELETE FROM apikeys_data.usage_day$$,
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, requests, tokens, cost) SELECT test.id('third'), now(), -1, -99, 0$$,
  $$UPDATE apikeys_data.usage_request SET tokens = tokens + 20 WHERE request_id = 'one'$$,
  $$INSERT INTO apikeys_data.usage_request (key_id, request_id, recorded_at, tokens, cost) SELECT test.id('imported'), 'x', now(), 1, 1$$,
  $$INSERT INTO apikeys_data.usage_day (key_id, day, model) SELECT test.id('imported'), '2001-02-03', m FROM generate_series(1, 1001) m$$,
  $$INSERT INTO apikeys_data.usage (key_id, last_used_ip) SELECT test.id('imported'), '::1'$$,
  $$INSERT INTO apikeys_data.usage (key_id) SELECT gen_random_uuid()$$,
  $$INSERT INTO apikeys_data.usage_day (key_id, day) SELECT gen_random_uuid(), '2001-02-03'$$,
  $$INSERT INTO apikeys_data.usage_request (key_id, request_id, recorded_at, tokens, cost) SELECT gen_random_uuid(), 'x', now(), 1, 1$$,
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) SELECT gen_random_uuid(), now(), 1, 1$$,
  $$INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) SELECT test.id('imported'), now(), 1, 0;
    ALTER SEQUENCE apikeys_data.usage_entry_id_seq RESTART$$);

-- Stored windows.
SELECT test.problems(
  $$INSERT INTO apikeys_data.window_state VALUES (test.id('imported'), '{7, 86400, 0, 900000000000000, 3, 0}', '2028-07-10 16:00+00')$$,
  $$INSERT INTO apikeys_data.window_state VALUES (test.id('imported'), '{7, 86400, 0, 900000000000000, 3, 0}', '2028-07-10 15:59+00')$$);

-- Budgets.
SELECT test.problems(
  $$UPDATE apikeys_data.budget SET parent_id = gen_random_uuid() WHERE name = 'team'$$,
  $$UPDATE apikeys_data.budget SET parent_id = id WHERE name = 'company'$$,
  $$INSERT INTO apikeys_data.budget (id, name, parent_id) SELECT gen_random_uuid(), 'low', id FROM apikeys_data.budget WHERE name = 'team';
    INSERT INTO apikeys_data.budget (id, name, parent_id) SELECT gen_random_uuid(), 'lower', id FROM apikeys_data.budget WHERE name = 'low';
    INSERT INTO apikeys_data.budget (id, name, parent_id) SELECT gen_random_uuid(), 'lowest', id FROM apikeys_data.budget WHERE name = 'lower'$$,
  $$UPDATE apikeys_data.budget_period p SET spent = spent - 1 FROM apikeys_data.budget b WHERE b.id = budget_id AND name = 'company'$$,
  $$UPDATE apikeys_data.budget_period SET spent = 0$$,
  $$INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period)
      SELECT now(), 0, 0, -99, p.budget_id, p.started_at FROM apikeys_data.budget_period p JOIN apikeys_data.budget b ON b.id = p.budget_id WHERE b.name = 'team'$$,
  $$DELETE FROM apikeys_data.budget_period$$,
  $$UPDATE apikeys_data.budget_credit SET added = 6$$,
  $$DELETE FROM apikeys_data.budget_credit$$,
  $$INSERT INTO apikeys_data.budget_credit SELECT gen_random_uuid(), now(), 1$$,
  $$INSERT INTO apikeys_data.budget_period SELECT gen_random_uuid(), now(), 1$$,
  $$INSERT INTO apikeys_data.budget_warning SELECT gen_random_uuid(), now(), 1$$,
  $$INSERT INTO apikeys_data.usage_entry (recorded_at, requests, tokens, cost, budget_id, budget_period) SELECT now(), 0, 0, 1, gen_random_uuid(), now()$$);

-- Rows by the rules of today, in the middle of good ones.
SELECT test.problems(
  $$ALTER TABLE apikeys_data.key DROP CONSTRAINT key_is_valid; UPDATE apikeys_data.key SET permissions = '{"is_admin": 1}' WHERE name = 'third';
    UPDATE apikeys_data.key SET rate_limits = '{"windows": 1}' WHERE name = 'second';
    ALTER TABLE apikeys_data.key ADD CONSTRAINT key_is_valid CHECK (apikeys.check_key(name, description, external_id, permissions, rate_limits, metadata,
      allowed_ips, expires_at, idle_timeout, key_hash, hash_secret, key_prefix, created_at, plan, revoke_reason)) NOT VALID$$,
  $$ALTER TABLE apikeys_data.usage_entry DROP CONSTRAINT usage_entry_is_valid; INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) SELECT test.id('imported'), now(), t, 0 FROM unnest('{1,-9,3}'::int[]) t;
    ALTER TABLE apikeys_data.usage_entry ADD CONSTRAINT usage_entry_is_valid CHECK (apikeys.check_usage_entry(key_id, requests, tokens, cost, budget_id, budget_period)) NOT VALID$$,
  $$ALTER TABLE apikeys_data.plan DROP CONSTRAINT plan_is_valid; UPDATE apikeys_data.plan SET rate_limits = '[]' WHERE name = 'check';
    ALTER TABLE apikeys_data.plan ADD CONSTRAINT plan_is_valid CHECK (apikeys.check_plan(name, permissions, rate_limits, description)) NOT VALID$$);

-- The objects themselves, and rights on them.
CREATE ROLE regress_apikeys_stranger;
SELECT test.problems(
  'ALTER TABLE apikeys_data.key DISABLE TRIGGER invalidate_row',
  'ALTER TABLE apikeys_data.key DISABLE TRIGGER ALL; ALTER TABLE apikeys_data.key ENABLE TRIGGER ALL',
  'DROP TRIGGER notify ON apikeys_data.event',
  'CREATE OR REPLACE TRIGGER notify AFTER INSERT ON apikeys_data.event FOR EACH ROW EXECUTE FUNCTION apikeys.keep_local()',
  'DROP TRIGGER invalidate_row ON apikeys_data.plan;
   CREATE TRIGGER invalidate_row AFTER UPDATE ON apikeys_data.plan FOR EACH ROW EXECUTE FUNCTION apikeys.invalidate_caches();
   ALTER TABLE apikeys_data.plan ENABLE ALWAYS TRIGGER invalidate_row',
  'ALTER EXTENSION apikeys DROP TABLE apikeys_data.cache_invalidation; DROP TABLE apikeys_data.cache_invalidation',
  'ALTER EXTENSION apikeys DROP TABLE apikeys_data.cache_invalidation; DROP TABLE apikeys_data.cache_invalidation;
   CREATE VIEW apikeys_data.cache_invalidation AS SELECT; ALTER EXTENSION apikeys ADD VIEW apikeys_data.cache_invalidation',
  'ALTER TABLE apikeys_data.usage SET UNLOGGED',
  'ALTER TABLE apikeys_data.event ENABLE ROW LEVEL SECURITY',
  'ALTER TABLE apikeys_data.key ALTER name DROP NOT NULL',
  'ALTER TABLE apikeys_data.key_notice ALTER given TYPE text',
  'ALTER TABLE apikeys_data.usage_day DROP CONSTRAINT usage_day_pkey',
  'ALTER TABLE apikeys_data.usage_day DROP CONSTRAINT usage_day_pkey, ADD CONSTRAINT usage_day_pkey UNIQUE (day, model, key_id)',
  'DROP INDEX apikeys_data.key_root_id_idx',
  $$DROP INDEX apikeys_data.key_root_id_idx; CREATE UNIQUE INDEX key_root_id_idx ON apikeys_data.key (id)$$,
  $$UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'apikeys_data.key_name_idx'::regclass$$,
  $$CREATE INDEX mine ON apikeys_data.key (team_id); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'apikeys_data.mine'::regclass$$,
  'ALTER FUNCTION apikeys.try_lock_use(uuid) SECURITY DEFINER',
  'ALTER FUNCTION apikeys_data.restricted_list(uuid, apikeys.key_status, uuid, uuid, text, integer, integer, uuid, timestamptz, timestamptz, text, uuid, text, jsonb, timestamptz) RESET search_path',
  $$CREATE OR REPLACE FUNCTION apikeys.reads_all_keys() RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN RETURN true; END'$$,
  $$UPDATE pg_proc SET probin = '$libdir/another' WHERE oid = 'apikeys.try_lock_use'::regproc$$,
  'ALTER FUNCTION apikey_verify OWNER TO regress_apikeys_stranger',
  'ALTER TABLE apikeys_data.plan OWNER TO regress_apikeys_stranger',
  'ALTER SCHEMA apikeys OWNER TO regress_apikeys_stranger',
  -- What a user may do.
  'ALTER TABLE apikeys_data.key ADD COLUMN mine text; CREATE INDEX mine ON apikeys_data.key (mine)',
  $$SELECT apikey_grant('regress_apikeys_stranger', 'manage')$$,
  'GRANT EXECUTE ON FUNCTION apikey_grant TO regress_apikeys_stranger',
  -- ... and what he should know.
  'GRANT SELECT, INSERT ON apikeys_data.key TO regress_apikeys_stranger',
  'GRANT SELECT (name) ON apikeys_data.plan TO PUBLIC',
  'GRANT UPDATE ON SEQUENCE apikeys_data.event_id_seq TO regress_apikeys_stranger',
  'GRANT INSERT ON apikeys.info TO regress_apikeys_stranger',
  'GRANT USAGE ON SCHEMA apikeys_data TO regress_apikeys_stranger',
  'GRANT CREATE ON SCHEMA apikeys TO regress_apikeys_stranger',
  'GRANT EXECUTE ON FUNCTION apikey_verify TO PUBLIC');

-- Derived keys, which use their parent.
SELECT raw_key AS parent_key FROM apikey_generate('parent', permissions => '{"allowed_models": ["a"]}') \gset
SELECT count(*) FROM apikey_derive(:'parent_key', '1 hour', 'derived');
INSERT INTO name SELECT id::text, name FROM apikeys_data.key WHERE name IN ('parent', 'derived');
-- Else its use may be written at any time.
SELECT apikey_flush() IS NOT NULL AS flushed;
SELECT test.problems(
  $$UPDATE apikeys_data.key SET parent_id = gen_random_uuid() WHERE name = 'derived'$$,
  $$UPDATE apikeys_data.key SET root_id = test.id('first') WHERE name = 'derived'$$,
  $$UPDATE apikeys_data.key SET parent_id = id WHERE name = 'derived'$$,
  $$UPDATE apikeys_data.key SET parent_id = NULL WHERE name = 'derived'$$,
  -- The parent was deleted by who did not see it, with an event of that that is still there, or not.
  $$INSERT INTO apikeys_data.event (at, action, key_id) SELECT now(), 'delete', parent_id FROM apikeys_data.key WHERE name = 'derived';
    DELETE FROM apikeys_data.usage WHERE key_id = test.id('parent'); DELETE FROM apikeys_data.key WHERE name = 'parent'$$,
  $$UPDATE apikeys_data.event SET at = at - interval '2 days' WHERE key_id = test.id('parent'); DELETE FROM apikeys_data.usage WHERE key_id = test.id('parent'); DELETE FROM apikeys_data.key WHERE name = 'parent';
    UPDATE apikeys_data.key SET created_at = created_at - interval '2 days' WHERE name = 'derived'; SELECT apikey_cleanup_events('1 day')$$,
  $$DELETE FROM apikeys_data.usage WHERE key_id = test.id('parent'); DELETE FROM apikeys_data.key WHERE name = 'parent'$$);
SELECT apikey_delete(test.id('parent'));

-- After clean-ups it is known of less.
SELECT test.problems(
  $$UPDATE apikeys_data.event SET at = at - interval '2 days' WHERE action IN ('generate', 'rotate', 'budget_add');
    UPDATE apikeys_data.key SET created_at = created_at - interval '2 days', rotated_at = rotated_at - interval '2 days', revoked_at = revoked_at - interval '2 days' WHERE name <> 'third';
    UPDATE apikeys_data.budget SET created_at = created_at - interval '2 days';
    SELECT apikey_cleanup_events('1 day')$$,
  $$UPDATE apikeys_data.usage_day SET day = day - 500 WHERE model = 'a';
    UPDATE apikeys_data.key SET created_at = created_at - interval '501 days' WHERE name = 'third';
    SELECT apikey_cleanup_usage('1 year')$$,
  $$UPDATE apikeys_data.usage_day SET day = day - 500 WHERE model = 'a';
    SELECT apikey_cleanup_usage('1 year')$$);

-- One snapshot, for whatever the caller sees, and read-only.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT * FROM apikeys.check();
COMMIT;

-- Whatever his search_path, and what he has put there.
CREATE SCHEMA planted;
CREATE FUNCTION planted.equals(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''planted''; END';
CREATE OPERATOR planted.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = planted.equals);
SET search_path = planted, apikeys, apikeys_data, public, pg_catalog;
SELECT * FROM apikeys.check();
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA planted CASCADE;
RESET client_min_messages;

-- A key or a budget is there for anyone as long as a transaction that has made it may commit.
BEGIN;
SELECT id AS open FROM apikey_generate('open') \gset
SELECT bool_and(apikeys_data.is_key_or_budget_for_anyone(id)) FROM unnest(ARRAY[test.id('first'), :'team', :'open']::uuid[]) id;
ROLLBACK;
SELECT apikeys_data.is_key_or_budget_for_anyone(:'open');

-- It belongs to no level; the owner grants it.
GRANT USAGE ON SCHEMA test TO regress_apikeys_stranger;
SELECT apikey_grant('regress_apikeys_stranger', 'manage');
SET ROLE regress_apikeys_stranger;
SELECT * FROM test.errors('SELECT * FROM apikeys.check()');
RESET ROLE;
SELECT apikey_revoke_grant('regress_apikeys_stranger', 'verify');
REVOKE USAGE ON SCHEMA apikeys FROM regress_apikeys_stranger;
GRANT USAGE ON SCHEMA apikeys TO regress_apikeys_stranger;
GRANT EXECUTE ON FUNCTION apikeys.check() TO regress_apikeys_stranger;
SET ROLE regress_apikeys_stranger;
SELECT * FROM apikeys.check();
RESET ROLE;
DROP OWNED BY regress_apikeys_stranger;
DROP ROLE regress_apikeys_stranger;
RESET datestyle;

-- As it was.
DROP FUNCTION test.problems, test.with_names;
SELECT apikey_delete(id) FROM apikey_list();
SELECT apikey_budget_delete(:'team');
SELECT apikey_budget_delete(:'company');
SELECT apikey_cleanup_expired();
SELECT * FROM apikeys.check();
