-- Nobody gets in by default, EXECUTE is all that it takes, and nothing of
-- the extension can be led astray by a search_path.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_apikeys_nobody, regress_apikeys_caller, regress_apikeys_verifier, regress_apikeys_member;
RESET client_min_messages;

-- What belongs to the extension.
CREATE TEMPORARY VIEW member AS
SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS object
FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'apikeys' AND d.deptype = 'e';
SELECT count(*) > 20 AS members FROM member;

-- Functions that anybody else may call: that of the statistics, for monitoring.
SELECT object, acl.grantee::regrole FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid,
  LATERAL aclexplode(coalesce(proacl, acldefault('f', proowner))) acl
WHERE acl.grantee <> proowner;

-- Tables, views, sequences and schemas that anybody but the owner may use: the statistics.
SELECT object, acl.privilege_type FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND objid = c.oid,
  LATERAL aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner))) acl
WHERE acl.grantee <> relowner
UNION ALL
SELECT object, acl.privilege_type FROM member JOIN pg_namespace n ON classid = 'pg_namespace'::regclass AND objid = n.oid,
  LATERAL aclexplode(coalesce(nspacl, acldefault('n', nspowner))) acl
WHERE acl.grantee <> nspowner;

-- SECURITY DEFINER functions, and SQL or PL/pgSQL bodies, which a search_path
-- of the caller's reaches: none.
SELECT object FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid
  JOIN pg_language l ON l.oid = prolang
WHERE (prosecdef OR lanname NOT IN ('c', 'internal'))
  AND prosqlbody IS NULL
  AND NOT coalesce(proconfig::text LIKE '%search\_path=%', false);

-- Functions that run in parallel workers though they may write: none.
SELECT object FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid
WHERE provolatile = 'v' AND proparallel = 's';

-- Objects without a comment: none.
SELECT object FROM member WHERE obj_description(objid, classid::regclass::name) IS NULL
  AND NOT (classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t WHERE t.oid = objid AND (t.typrelid <> 0 OR t.typelem <> 0)))
ORDER BY object COLLATE "C";

-- Columns without a comment, of tables, views and rows that functions return: none, where those of
-- a view have theirs in the view.
SELECT object, attname FROM member LEFT JOIN pg_type t ON classid = 'pg_type'::regclass AND t.oid = objid
  JOIN pg_class c ON c.oid = CASE classid WHEN 'pg_class'::regclass THEN objid ELSE t.typrelid END
  JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
WHERE relkind IN ('r', 'v', 'c') AND col_description(c.oid, attnum) IS NULL
  AND (relkind <> 'c' OR NOT EXISTS (SELECT FROM pg_attribute v WHERE v.attname = a.attname
    AND v.attrelid = to_regclass(substring(obj_description(t.oid, 'pg_type') FROM '^Columns of the view ([a-z_]+[.][a-z_]+)'))))
ORDER BY object COLLATE "C", attnum;

-- Text that an index compares in the order of a locale, which may change with the operating system: none.
SELECT c.relname, pg_get_indexdef(c.oid) FROM member JOIN pg_index i ON classid = 'pg_class'::regclass AND i.indrelid = objid
  JOIN pg_class c ON c.oid = i.indexrelid, unnest(i.indcollation) AS k(of)
WHERE k.of NOT IN (0, 'pg_catalog."C"'::regcollation) AND pg_get_indexdef(c.oid) !~ 'text_pattern_ops';

-- Views that take all columns of a catalog, of which a later PostgreSQL may have one less: none.
SELECT object FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid AND relkind = 'v'
WHERE pg_get_viewdef(c.oid) ~ 'relminmxid|atthasmissing|proparallel.*prosrc';

-- Every function of the interface, each once as somebody.
CREATE TABLE test.call (number integer GENERATED ALWAYS AS IDENTITY, function text, call text);
INSERT INTO test.call (function, call) VALUES
  ('apikey_generate', $$SELECT count(*) FROM apikey_generate('privileges')$$),
  ('apikey_import', $$SELECT apikey_import(digest('privileges-key', 'sha256'), 'privileges imported', 'x') IS NOT NULL$$),
  ('apikey_verify', $$SELECT code FROM apikey_verify('privileges-key')$$),
  ('apikey_check', $$SELECT apikey_check('privileges-key')$$),
  ('apikey_release', $$SELECT apikey_release(gen_random_uuid())$$),
  ('apikey_limits', $$SELECT count(*) FROM apikey_limits(test.id('privileges imported'))$$),
  ('apikey_get', $$SELECT name FROM apikey_get(test.id('privileges imported'))$$),
  ('apikey_list', $$SELECT count(*) > 0 FROM apikey_list('active', row_limit => 1)$$),
  ('apikey_count', $$SELECT apikey_count('active') > 0$$),
  ('apikey_derive', $$SELECT v.code FROM apikey_derive('privileges-key', '1 hour', 'derived') d, apikey_verify(d.raw_key) v$$),
  ('apikey_identify', $$SELECT name FROM apikey_identify('privileges-key')$$),
  ('apikey_scan', $$SELECT count(*) FROM apikey_scan('privileges-key')$$),
  ('apikey_update', $$SELECT name FROM apikey_update(test.id('privileges imported'), '{"description": "d", "permissions": {"is_admin": true}}')$$),
  ('apikey_record_usage', $$SELECT apikey_record_usage(test.id('privileges imported'), 1, 0.5)$$),
  ('apikey_void_usage', $$SELECT apikey_void_usage(test.id('privileges imported'), 'request')$$),
  ('apikey_usage', $$SELECT total_requests FROM apikey_usage(test.id('privileges imported'))$$),
  ('apikey_usage_history', $$SELECT count(*) FROM apikey_usage_history(test.id('privileges imported'))$$),
  ('apikey_flush', $$SELECT apikey_flush() >= 0$$),
  ('apikey_flush_node', $$SELECT apikey_flush_node(9)$$),
  ('apikey_login', $$SELECT code FROM apikey_login('privileges-key')$$),
  ('apikey_pre_request', $$SELECT apikey_pre_request()$$),
  ('apikey_logout', $$SELECT apikey_logout()$$),
  ('apikey_current_id', $$SELECT apikey_current_id()$$),
  ('apikey_current_root_id', $$SELECT apikey_current_root_id()$$),
  ('apikey_current_user_id', $$SELECT apikey_current_user_id()$$),
  ('apikey_current_team_id', $$SELECT apikey_current_team_id()$$),
  ('apikey_current_external_id', $$SELECT apikey_current_external_id()$$),
  ('apikey_current_has_permission', $$SELECT apikey_current_has_permission('p')$$),
  ('apikey_budget_create', $$SELECT apikey_budget_create('privileges', 1) IS NOT NULL$$),
  ('apikey_budget_add', $$SELECT added FROM apikey_budget_add(test.budget_id('privileges'), 1)$$),
  ('apikey_budget_update', $$SELECT max_cost FROM apikey_budget_update(test.budget_id('privileges'), '{"max_cost": 2}')$$),
  ('apikey_budget_delete', $$SELECT apikey_budget_delete(test.budget_id('privileges'))$$),
  ('apikey_plan_set', $$SELECT apikey_plan_set('privileges', '{"is_admin": true}')$$),
  ('apikey_plan_delete', $$SELECT apikey_plan_delete('privileges')$$),
  ('apikey_rotate', $$SELECT count(*) FROM apikey_rotate(test.id('privileges imported'), '1 hour')$$),
  ('apikey_revoke', $$SELECT apikey_revoke(test.id('privileges imported'))$$),
  ('apikey_revoke_raw', $$SELECT apikey_revoke_raw('privileges-key') IS NOT NULL$$),
  ('apikey_revoke_where', $$SELECT apikey_revoke_where(user_id => '00000000-0000-0000-0000-00000000dead')$$),
  ('apikey_generate_many', $$SELECT count(*) FROM apikey_generate_many(2, 'privileges many')$$),
  ('apikey_import_many', $$SELECT count(*) FROM apikey_import_many(ARRAY[sha256('privileges 1')], '{privileges 1}', '{p}')$$),
  ('apikey_delete', $$SELECT apikey_delete(test.id('privileges imported'))$$),
  ('apikey_cleanup_expired', $$SELECT apikey_cleanup_expired('1000 years')$$),
  ('apikey_cleanup_events', $$SELECT apikey_cleanup_events('1000 years')$$),
  ('apikey_cleanup_usage', $$SELECT apikey_cleanup_usage('1000 years')$$),
  ('apikey_permissions_preset', $$SELECT apikey_permissions_preset('admin')$$),
  ('apikey_rate_limits_preset', $$SELECT apikey_rate_limits_preset('unlimited')$$),
  ('apikey_model_allowed', $$SELECT apikey_model_allowed('{}', 'm')$$),
  ('apikey_endpoint_allowed', $$SELECT apikey_endpoint_allowed('{}', 'e')$$),
  ('apikey_grant', $$SELECT apikey_grant('regress_apikeys_nobody', 'verify')$$),
  ('apikey_revoke_grant', $$SELECT apikey_revoke_grant('regress_apikeys_nobody', 'verify')$$),
  ('apikey_events', $$SELECT count(*) > 0 FROM apikey_events()$$);

-- ... and none is missing here.
SELECT p.proname FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid
WHERE p.pronamespace = 'public'::regnamespace AND p.proname NOT IN (SELECT function FROM test.call);

-- test.id() is for callers who may not read the table.
ALTER FUNCTION test.id(text) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
CREATE FUNCTION test.budget_id(budget_name text) RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT b.id FROM apikeys_data.budget b WHERE b.name = budget_name
$$;
CREATE FUNCTION test.call(number integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  EXECUTE (SELECT c.call FROM test.call c WHERE c.number = $1) INTO result;
  RETURN result;
END $$;
CREATE ROLE regress_apikeys_nobody;
CREATE ROLE regress_apikeys_caller;
CREATE ROLE regress_apikeys_verifier;
CREATE ROLE regress_apikeys_member IN ROLE regress_apikeys_caller;
GRANT USAGE ON SCHEMA test TO PUBLIC;
GRANT SELECT ON test.call TO PUBLIC;
GRANT EXECUTE ON FUNCTION apikey_verify TO regress_apikeys_verifier;
SELECT format('GRANT EXECUTE ON FUNCTION %I TO regress_apikeys_caller', function) FROM test.call ORDER BY number \gexec

-- Nobody.
SET ROLE regress_apikeys_nobody;
SELECT function, left(btrim((ARRAY(SELECT test.errors(call)))[2]), 100) AS error FROM test.call ORDER BY number;
RESET ROLE;

-- EXECUTE on one function is no more than that.
SET ROLE regress_apikeys_verifier;
SELECT function, left(btrim((ARRAY(SELECT test.errors(call)))[2]), 100) AS error FROM test.call ORDER BY number;
SELECT code FROM apikey_verify('gw-none');
RESET ROLE;

-- EXECUTE on all, and nothing else: without a level the keys are those of the user who is logged in.
SET ROLE regress_apikeys_caller;
SELECT * FROM test.errors('SELECT apikey_count()', $$SELECT apikey_generate('privileges')$$, 'SELECT apikey_cleanup_expired()');
RESET ROLE;
GRANT EXECUTE ON FUNCTION apikeys.reads_all_keys, apikeys.changes_all_keys TO regress_apikeys_caller;
SET ROLE regress_apikeys_caller;
SELECT function, test.call(number) FROM test.call ORDER BY number;
SELECT * FROM test.errors(
  'SELECT count(*) FROM apikeys_data.key',
  'SELECT count(*) FROM apikeys.info',
  'SELECT count(*) FROM apikeys_data.event',
  'SELECT count(*) FROM apikeys_data.usage',
  'UPDATE apikeys_data.key SET enabled = true',
  'DELETE FROM apikeys_data.event',
  'TRUNCATE apikeys_data.key',
  'LOCK TABLE apikeys_data.key IN ACCESS SHARE MODE',
  $$SELECT apikeys.utc_today()$$,
  $$SELECT apikeys.effective_status(NULL, NULL, true)$$,
  'CREATE TABLE apikeys.mine ()'
);

-- The caller's rights are his own again, after a call and after an error.
SELECT current_user, code FROM apikey_verify('gw-none');
SELECT * FROM test.errors(
  $$SELECT apikey_revoke('00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_generate('')$$,
  'SELECT count(*) FROM apikeys_data.key'
);
SELECT current_user;
\set VERBOSITY sqlstate
SELECT apikey_revoke('00000000-0000-0000-0000-00000000dead');
SELECT count(*) FROM apikeys_data.key;
\set VERBOSITY default
SELECT current_user;
RESET ROLE;

-- A view on a function hands out no right to call it.
GRANT CREATE ON SCHEMA test TO regress_apikeys_verifier;
SET ROLE regress_apikeys_verifier;
CREATE VIEW test.peek AS SELECT code FROM apikey_verify('gw-none');
GRANT SELECT ON test.peek TO PUBLIC;
RESET ROLE;
SET ROLE regress_apikeys_nobody;
SELECT * FROM test.errors('SELECT * FROM test.peek');
RESET ROLE;
DROP VIEW test.peek;

-- Membership is enough, and the event tells who it was.
SELECT coalesce(max(id), 0) AS last FROM apikeys_data.event \gset event_
SET ROLE regress_apikeys_member;
SELECT id FROM apikey_generate('privileges member') \gset
RESET ROLE;
SELECT action, key_id = :'id' AS key_id, session_role = session_user AS session_role, acting_role FROM apikeys_data.event WHERE id > :event_last AND action <> 'rehash';

-- Types and operators of the caller's choice do not get in by the arguments.
SELECT count(*) FROM pg_proc p JOIN member ON classid = 'pg_proc'::regclass AND objid = p.oid,
  LATERAL unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) a(type) JOIN pg_type t ON t.oid = a.type
WHERE t.typtype = 'p' OR t.typnamespace NOT IN ('pg_catalog'::regnamespace, 'apikeys'::regnamespace);

ALTER FUNCTION test.id(text) SECURITY INVOKER RESET ALL;
DROP FUNCTION test.call(integer), test.budget_id(text);
DROP TABLE test.call;
REVOKE ALL ON SCHEMA test FROM PUBLIC;
DROP OWNED BY regress_apikeys_nobody, regress_apikeys_caller, regress_apikeys_verifier, regress_apikeys_member;
DROP ROLE regress_apikeys_nobody, regress_apikeys_caller, regress_apikeys_verifier, regress_apikeys_member;
