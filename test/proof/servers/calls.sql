-- What test/proof/servers/growth calls, over and over: each function of the
-- extension, well and badly.  "Undone" is what a savepoint takes back; a number
-- of calls is committed together.  k, r and i are the id and the text of a key that is
-- there, and the number of the call.  What is "planted" leaks, and has to be found.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikeys CASCADE;
CREATE ROLE caller;
CREATE TABLE call (function text, how text, statement text, share numeric DEFAULT 1);
SELECT apikey_budget_create('pool', 1000000000000) AS pool \gset
SELECT apikey_plan_set('small', '{"allowed_models": ["a*"]}');
CREATE TABLE called AS
SELECT id, raw_key FROM apikey_generate('called', user_id => gen_random_uuid(), budget_id => :'pool', external_id => 'x',
  permissions => '{"custom_permissions": ["p"], "max_tokens_per_request": 100}',
  rate_limits => '{"requests_per_minute": 1000000000, "tokens_per_day": 1000000000000, "max_concurrent_requests": 10, "windows": [{"per": "1 hour", "cost": 1000000000}]}');
INSERT INTO call VALUES
  ('apikey_verify', 'valid', 'apikey_verify(r, ''a'', ''/v1'', ''{p}'', 5, ''10.0.0.1'', cost => 0.001)'),
  ('apikey_verify', 'reserved', 'apikey_verify(r, reserve => true, tokens => 5, cost => 1) v, apikey_release(v.reservation)'),
  ('apikey_verify', 'refused', 'apikey_verify(r, tokens => 101)'),
  ('apikey_verify', 'not found', 'apikey_verify(''gw-'' || i)'),
  ('apikey_verify', 'error', 'apikey_verify(r, budget_id => ''00000000-0000-4000-8000-000000000000'')'),
  ('apikey_check', 'valid', 'apikey_check(r)'),
  ('apikey_release', 'not held', 'apikey_release(gen_random_uuid())'),
  ('apikey_login', 'valid', 'apikey_login(r) l, apikey_current_id(), apikey_current_root_id(), apikey_current_user_id(), apikey_current_team_id(), apikey_current_external_id(), apikey_current_has_permission(''p''), apikey_logout()'),
  ('apikey_login', 'error', 'apikey_login(''no key'')'),
  ('apikey_pre_request', 'without a key', 'apikey_pre_request()'),
  ('apikey_generate', 'undone', 'apikey_generate(''g'' || i, rate_limits => ''{"requests_per_day": 5}'') g, undo()'),
  ('apikey_generate', 'deleted', 'apikey_generate(''g'' || i) g, LATERAL apikey_delete(g.id)'),
  ('apikey_generate', 'error', 'apikey_generate(''g'', permissions => ''{"unknown": 1}'')'),
  ('apikey_generate_many', 'undone', 'apikey_generate_many(3, ''m'') g, undo()'),
  ('apikey_import', 'undone', 'apikey_import(sha256(i::text::bytea), ''i'', ''x''), undo()'),
  ('apikey_import', 'error', 'apikey_import(''short'', ''i'', ''x'')'),
  ('apikey_import_many', 'undone', 'apikey_import_many(ARRAY[sha256(i::text::bytea)], ''{i}'', ''{x}''), undo()'),
  ('apikey_rotate', 'undone', 'apikey_rotate(k, ''1 hour''), undo()'),
  ('apikey_rotate', 'error', 'apikey_rotate(gen_random_uuid())'),
  ('apikey_derive', 'undone', 'apikey_derive(r, ''1 hour''), undo()'),
  ('apikey_derive', 'error', 'apikey_derive(r, ''-1 hour'')'),
  ('apikey_update', 'undone', 'apikey_update(k, ''{"name": "other", "allowed_ips": ["10.0.0.0/8"]}''), undo()'),
  ('apikey_update', 'error', 'apikey_update(k, ''{"name": 1}'')'),
  ('apikey_revoke', 'undone', 'apikey_revoke(k, ''why''), undo()'),
  ('apikey_revoke', 'error', 'apikey_revoke(gen_random_uuid())'),
  ('apikey_revoke_raw', 'undone', 'apikey_revoke_raw(r), undo()'),
  ('apikey_revoke_where', 'undone', 'apikey_revoke_where(plan => ''small''), undo()'),
  ('apikey_delete', 'undone', 'apikey_delete(k), undo()'),
  ('apikey_delete', 'error', 'apikey_delete(gen_random_uuid())'),
  ('apikey_cleanup_expired', 'undone', 'apikey_cleanup_expired(), undo()'),
  ('apikey_cleanup_events', 'undone', 'apikey_cleanup_events(''1 year''), undo()'),
  ('apikey_cleanup_usage', 'undone', 'apikey_cleanup_usage(''1 year''), undo()'),
  ('apikey_record_usage', 'undone', 'apikey_record_usage(k, 5, 0.25, request_id => ''r'' || i, model => ''a''), undo()'),
  ('apikey_record_usage', 'kept', 'apikey_record_usage(k, 5, 0.25)'),
  ('apikey_record_usage', 'settled', 'apikey_verify(r, reserve => true, tokens => 5, cost => 1) v, apikey_record_usage(v.id, 4, 0.5, v.reservation), undo()'),
  ('apikey_record_usage', 'error', 'apikey_record_usage(k, -1)'),
  ('apikey_void_usage', 'undone', 'apikey_record_usage(k, 1, 1, request_id => ''v''), apikey_void_usage(k, ''v''), undo()'),
  ('apikey_flush', 'kept', 'apikey_flush()'),
  ('apikey_flush_node', 'kept', 'apikey_flush_node(1)'),
  ('apikey_budget_create', 'undone', 'apikey_budget_create(''b'' || i, 5, parent_id => (SELECT id FROM apikeys_data.budget WHERE name = ''pool'')) b, LATERAL apikey_budget_update(b, ''{"max_cost": 3}''), LATERAL apikey_budget_add(b, 1), LATERAL apikey_budget_delete(b), undo()'),
  ('apikey_budget_create', 'error', 'apikey_budget_create(''pool'', -1)'),
  ('apikey_budget_update', 'error', 'apikey_budget_update(gen_random_uuid(), ''{}'')'),
  ('apikey_budget_add', 'error', 'apikey_budget_add(gen_random_uuid(), 1)'),
  ('apikey_budget_delete', 'error', 'apikey_budget_delete(gen_random_uuid())'),
  ('apikey_plan_set', 'undone', 'apikey_plan_set(''p'' || i, ''{"is_admin": true}''), apikey_plan_delete(''p'' || i), undo()'),
  ('apikey_plan_set', 'error', 'apikey_plan_set(''p'', ''[]'')'),
  ('apikey_plan_delete', 'error', 'apikey_plan_delete(''none'')'),
  ('apikey_grant', 'undone', 'apikey_grant(''caller'', ''verify''), apikey_revoke_grant(''caller'', ''verify''), undo()'),
  ('apikey_grant', 'error', 'apikey_grant(''caller'', ''none'')'),
  ('apikey_revoke_grant', 'error', 'apikey_revoke_grant(''caller'', ''none'')'),
  ('apikey_get', 'one', 'apikey_get(k)'),
  ('apikey_list', 'some', 'apikey_list(status => ''active'', name_like => ''c%'', row_limit => 3)'),
  ('apikey_count', 'some', 'apikey_count(status => ''active'')'),
  ('apikey_identify', 'one', 'apikey_identify(r)'),
  ('apikey_scan', 'one', 'apikey_scan(''a text with '' || r)'),
  ('apikey_limits', 'all', 'apikey_limits(k)'),
  ('apikey_usage', 'one', 'apikey_usage(k)'),
  ('apikey_usage', 'error', 'apikey_usage(gen_random_uuid())'),
  ('apikey_usage_history', 'all', 'apikey_usage_history(k)'),
  ('apikey_events', 'some', 'apikey_events(k, row_limit => 5)'),
  ('apikey_model_allowed', 'both', 'apikey_model_allowed(''{"allowed_models": ["a*"]}'', ''b''), apikey_endpoint_allowed(''{}'', ''b'')'),
  ('apikey_model_allowed', 'error', 'apikey_model_allowed(''{"allowed_models": 1}'', ''b'')'),
  ('apikey_endpoint_allowed', 'error', 'apikey_endpoint_allowed(''[]'', ''b'')'),
  ('apikey_permissions_preset', 'both', 'apikey_permissions_preset(''admin''), apikey_rate_limits_preset(''standard'')'),
  ('apikey_permissions_preset', 'error', 'apikey_permissions_preset(''none'')'),
  ('apikey_rate_limits_preset', 'error', 'apikey_rate_limits_preset(''none'')'),
  ('apikeys.stats', 'all', 'apikeys.stats, apikeys.servers, apikeys.secret_usage, apikeys.plan_info, apikeys.budget_info'),
  ('apikeys.info', 'some', 'apikeys.info i JOIN apikeys.usage_report u ON u.key_id = i.id WHERE i.id = k'),
  ('apikeys.feed_exchange', 'error', 'apikeys.feed_exchange(''x'')'),
  ('apikeys.check', 'all', 'apikeys.check()'),
  ('a context', 'planted', 'listen(rpad(gen_random_uuid()::text, 60, ''x''))'),
  ('the heap', 'planted', 'set_config(''leak.x'' || md5(random()::text), repeat(''x'', 5000), false)');

-- A standby tells of a window of the key, and of its last use.
INSERT INTO call SELECT 'apikeys.feed_exchange', 'told', format('apikeys.feed_exchange(%L)', replace(
  '\x0000000100000000000000090000000000000000000000000000000100000001000000000000000000000000000000000000000000000000000000000000000000000002eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee0000000000000007000151800000000100000000000000000000000000000005000000000000000000000000000000000000000000000000eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee0000000000000000000000000000000000000000000000000000000000000005000000000000000000000000000000000000000000000000',
  repeat('ee', 16), replace(id::text, '-', ''))) FROM called;

-- What each request goes through, more often; what takes milliseconds, less.
UPDATE call SET share = 50 WHERE function IN ('apikey_verify', 'apikey_check', 'apikey_release', 'apikey_login');
UPDATE call SET share = 0.1 WHERE (function, how) IN (('apikey_get', 'one'), ('apikey_list', 'some'), ('apikey_count', 'some'),
  ('apikey_budget_create', 'undone'), ('apikey_flush', 'kept'), ('apikey_revoke', 'undone'), ('apikey_revoke_raw', 'undone'),
  ('apikey_revoke_where', 'undone'), ('apikeys.info', 'some'), ('apikeys.stats', 'all'));
UPDATE call SET share = 0.02 WHERE function = 'apikey_grant' AND how = 'undone';
UPDATE call SET share = 0.01 WHERE function = 'apikeys.check';

-- A channel stays in a list of the session, in a context that does.
CREATE FUNCTION listen(channel text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE format('LISTEN %I', channel); END$$;

-- Has the savepoint that a call is in rolled back.
CREATE FUNCTION undo() RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'undo'; END$$;

-- What this process has in memory contexts, and has taken of the system.
CREATE FUNCTION allocated(OUT contexts bigint, OUT heap bigint) LANGUAGE sql AS $$
  SELECT (SELECT sum(used_bytes) FROM pg_backend_memory_contexts),
         split_part(pg_read_file('/proc/self/statm'), ' ', 6)::bigint * 4096
$$;

-- Calls one of them n times; "failed" is how many ended with an error of its own.
CREATE PROCEDURE call_it(wanted text, wanted_how text, n bigint, OUT failed bigint) LANGUAGE plpgsql AS $$
DECLARE
  chosen call;
  key called;
BEGIN
  SELECT * INTO STRICT chosen FROM call WHERE function = wanted AND how = wanted_how;
  SELECT * INTO STRICT key FROM called;
  EXECUTE format('CREATE OR REPLACE FUNCTION pg_temp.once(k uuid, r text, i bigint) RETURNS void LANGUAGE plpgsql AS %L',
    format('BEGIN PERFORM FROM %s; END', chosen.statement));
  failed := 0;
  FOR i IN 1 .. n LOOP
    BEGIN
      PERFORM pg_temp.once(key.id, key.raw_key, i);
    EXCEPTION WHEN OTHERS THEN
      failed := failed + (SQLERRM <> 'undo')::integer;
    END;
    IF i % 100 = 0 THEN
      COMMIT;
    END IF;
  END LOOP;
END $$;
