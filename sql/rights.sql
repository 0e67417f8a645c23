-- Three levels of access, each with all of the last: verify, read, manage; own,
-- between verify and manage (own.sql says what it may do); stats, which read
-- includes; and feed, for other servers.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_apikeys_none, regress_apikeys_verify, regress_apikeys_own, regress_apikeys_stats, regress_apikeys_feed, regress_apikeys_monitor, regress_apikeys_read, regress_apikeys_manage,
  regress_apikeys_other, regress_apikeys_delegate, "Regress_Apikeys_Caps", "regress_apikeys""; DROP TABLE apikeys_data.key; --";
RESET client_min_messages;
CREATE ROLE regress_apikeys_none;
CREATE ROLE regress_apikeys_verify;
CREATE ROLE regress_apikeys_own;
CREATE ROLE regress_apikeys_stats;
CREATE ROLE regress_apikeys_feed;
CREATE ROLE regress_apikeys_monitor IN ROLE pg_monitor;
CREATE ROLE regress_apikeys_read;
CREATE ROLE regress_apikeys_manage;
CREATE ROLE regress_apikeys_other;
SELECT apikey_grant('regress_apikeys_verify', 'verify');
SELECT apikey_grant('regress_apikeys_own', 'own');
SELECT apikey_grant('regress_apikeys_stats', 'stats');
SELECT apikey_grant('regress_apikeys_feed', 'feed');
SELECT apikey_grant('regress_apikeys_read', 'read');
SELECT apikey_grant('regress_apikeys_manage', 'manage');

CREATE TEMPORARY VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'apikeys' AND d.deptype = 'e';
CREATE TEMPORARY TABLE level AS
SELECT level, 'regress_apikeys_' || level AS role, n FROM unnest('{none,verify,own,stats,feed,monitor,read,manage}'::text[]) WITH ORDINALITY l(level, n);

-- The access matrix: each function, and who may call it.
SELECT p.oid::regprocedure::text AS function,
       string_agg(level, ' ' ORDER BY n) FILTER (WHERE has_function_privilege(role, p.oid, 'EXECUTE')) AS levels
FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid CROSS JOIN level
GROUP BY p.oid ORDER BY count(*) FILTER (WHERE has_function_privilege(role, p.oid, 'EXECUTE')) DESC, (p.oid::regprocedure::text) COLLATE "C";

-- A function of the interface has a level, or is for the owner alone: none is forgotten.
SELECT p.oid::regprocedure AS forgotten
FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid
WHERE p.proname LIKE 'apikey\_%' AND p.proname NOT IN ('apikey_grant', 'apikey_revoke_grant', 'apikey_cleanup_events', 'apikey_cleanup_usage',
  'apikey_flush_node')
  AND NOT has_function_privilege('regress_apikeys_manage', p.oid, 'EXECUTE');

-- Relations: some may read the views, and that is all that anybody may.
SELECT c.oid::regclass::text AS relation, c.relkind, privilege,
       string_agg(level, ' ' ORDER BY n) FILTER (WHERE CASE c.relkind
         WHEN 'S' THEN has_sequence_privilege(role, c.oid, privilege) ELSE has_table_privilege(role, c.oid, privilege) END) AS levels
FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND objid = c.oid CROSS JOIN level
JOIN unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER,USAGE}'::text[]) privilege
  ON CASE c.relkind WHEN 'S' THEN privilege IN ('USAGE', 'SELECT', 'UPDATE') ELSE privilege <> 'USAGE' END
WHERE CASE c.relkind
  WHEN 'S' THEN has_sequence_privilege(role, c.oid, privilege) ELSE has_table_privilege(role, c.oid, privilege) END
GROUP BY c.oid, c.relkind, privilege ORDER BY (c.oid::regclass::text) COLLATE "C", privilege;
SELECT c.oid::regclass AS forgotten FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND objid = c.oid
WHERE relkind = 'v' AND relnamespace <> 'apikeys_data'::regnamespace AND NOT has_table_privilege('regress_apikeys_read', c.oid, 'SELECT');
SELECT level, has_schema_privilege(role, 'apikeys', 'USAGE') AS usage, has_schema_privilege(role, 'apikeys', 'CREATE') AS "create"
FROM level ORDER BY n;
-- Who can name a relation can lock it, or keep others waiting for it: no level
-- can name a table or a sequence, nor a row type that a function takes or returns.
SELECT level, c.oid::regclass AS can_be_named FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND objid = c.oid CROSS JOIN level
WHERE c.relkind <> 'v' AND has_schema_privilege(role, c.relnamespace, 'USAGE');
SELECT level, p.oid::regprocedure AS function, t.oid::regtype AS can_be_named
FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid CROSS JOIN level,
  unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]) || p.prorettype) a(type)
JOIN pg_type e ON e.oid = a.type JOIN pg_type t ON t.oid IN (e.oid, e.typelem)
WHERE t.typrelid <> 0 AND has_schema_privilege(role, t.typnamespace, 'USAGE');
-- ... nor keep a column of such a type, so that no update could change it.
SELECT level, t.oid::regtype AS can_be_used FROM member JOIN pg_type t ON classid = 'pg_type'::regclass AND objid = t.oid CROSS JOIN level
WHERE t.typrelid IN (SELECT c.oid FROM pg_class c WHERE c.relkind = 'c') AND has_type_privilege(role, t.oid, 'USAGE');
-- What functions return has a name, by which a later version adds columns to it: all but a
-- period, and what checks read.
SELECT p.oid::regprocedure AS nameless FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid
WHERE p.prorettype = 'record'::regtype;
-- ... nor a relation that a SQL function reads.
SELECT level, p.oid::regprocedure AS function, d.refobjid::regclass AS can_be_named
FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
JOIN pg_depend d ON d.classid = m.classid AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass
JOIN pg_class c ON c.oid = d.refobjid CROSS JOIN level
WHERE has_schema_privilege(role, c.relnamespace, 'USAGE');
SELECT count(*) AS grant_options FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid, aclexplode(proacl) acl
WHERE acl.is_grantable AND acl.grantee <> proowner;

-- They can do their work with that.
GRANT USAGE ON SCHEMA test TO PUBLIC;
SET ROLE regress_apikeys_manage;
SELECT id, raw_key FROM apikey_generate('rights', rate_limits => '{}', metadata => '{"a": 1}') \gset
SELECT apikey_record_usage(:'id', 2, 0.5);
SELECT apikey_budget_create('rights', 10) AS budget \gset
SELECT name FROM apikey_update(:'id', jsonb_build_object('budget_id', :'budget'));
SELECT apikey_plan_set('rights', '{"is_admin": true}');
SET test.id = :'id';
SET ROLE regress_apikeys_read;
SELECT name, status, total_tokens, requests_today > 0 AS today FROM apikeys.info WHERE id = :'id';
SELECT name, spent, period_ends_at FROM apikeys.budget_info WHERE id = :'budget';
SELECT name, permissions, keys FROM apikeys.plan_info WHERE name = 'rights';
SELECT shared_memory IS NOT NULL AS stats FROM apikeys.stats;
SELECT name FROM apikey_list(row_limit => 1);
SELECT action FROM apikey_events(:'id');
SELECT code FROM apikey_verify(:'raw_key');
SELECT * FROM test.errors(
  $$SELECT apikey_record_usage(current_setting('test.id')::uuid)$$,
  $$SELECT apikey_update(current_setting('test.id')::uuid, '{"name": "mine"}')$$,
  'SELECT apikey_generate(''mine'')',
  'SELECT apikey_plan_set(''rights'')',
  'SELECT apikey_plan_delete(''rights'')',
  'SELECT FROM apikeys.plan_info FOR UPDATE',
  'SELECT FROM apikeys_data.key',
  'DELETE FROM apikeys_data.event');
SET ROLE regress_apikeys_verify;
SELECT code, name, metadata FROM apikey_verify(:'raw_key');
SELECT apikey_release(gen_random_uuid()), apikey_model_allowed('{}', 'm'), apikey_endpoint_allowed('{}', 'e');
SELECT * FROM test.errors(
  $$SELECT apikey_record_usage(current_setting('test.id')::uuid)$$,
  $$SELECT apikey_get(current_setting('test.id')::uuid)$$,
  'SELECT apikey_count()',
  'SELECT FROM apikeys.info',
  'SELECT FROM apikeys.plan_info',
  'SELECT FROM apikeys.stats',
  'SELECT apikey_events()');
SET ROLE regress_apikeys_stats;
SELECT shared_memory IS NOT NULL AS stats FROM apikeys.stats;
SELECT * FROM test.errors(
  $$SELECT apikey_verify('x')$$,
  'SELECT FROM apikeys.info',
  'SELECT FROM apikeys.secret_usage',
  'SELECT FROM apikeys_data.event');
SET ROLE regress_apikeys_monitor;
SELECT shared_memory IS NOT NULL AS stats FROM apikeys.stats;
SELECT * FROM test.errors('SELECT FROM apikeys.info');
RESET ROLE;
BEGIN;
SELECT apikey_revoke_grant('pg_monitor', 'stats');
SET ROLE regress_apikeys_monitor;
SELECT * FROM test.errors('SELECT FROM apikeys.stats');
ROLLBACK;

-- Nobody hands out what he has, not even who may manage.
SET ROLE regress_apikeys_manage;
SELECT * FROM test.errors(
  $$SELECT apikey_grant('regress_apikeys_other', 'verify')$$,
  $$SELECT apikey_revoke_grant('regress_apikeys_read', 'read')$$);
GRANT EXECUTE ON FUNCTION apikey_verify TO regress_apikeys_other;
RESET ROLE;
SELECT has_function_privilege('regress_apikeys_other', 'apikey_verify(text,text,text,text[],bigint,text,boolean,numeric,text[],uuid)', 'EXECUTE') AS handed_out;

-- A level goes with those above it, and those below it stay.
CREATE FUNCTION test.levels(role regrole) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ',
    CASE WHEN has_function_privilege(role, 'apikey_verify(text,text,text,text[],bigint,text,boolean,numeric,text[],uuid)', 'EXECUTE') THEN 'verify' END,
    CASE WHEN has_table_privilege(role, 'apikeys.stats', 'SELECT')
          AND has_function_privilege(role, 'apikeys.read_stats()', 'EXECUTE') THEN 'stats' END,
    CASE WHEN has_function_privilege(role, 'apikey_get(uuid)', 'EXECUTE') THEN 'read' END,
    CASE WHEN has_table_privilege(role, 'apikeys.info', 'SELECT') THEN 'view' END,
    CASE WHEN has_schema_privilege(role, 'apikeys', 'USAGE') THEN 'schema' END,
    CASE WHEN has_function_privilege(role, 'apikeys.reads_all_keys()', 'EXECUTE') THEN 'all' END,
    CASE WHEN has_function_privilege(role, 'apikey_revoke(uuid, text)', 'EXECUTE') THEN 'manage' END,
    CASE WHEN has_function_privilege(role, 'apikeys.changes_all_keys()', 'EXECUTE') THEN 'all' END,
    CASE WHEN has_function_privilege(role, 'apikeys.feed_exchange(bytea)', 'EXECUTE') THEN 'feed' END)
$$;
CREATE TEMPORARY TABLE step (n integer GENERATED ALWAYS AS IDENTITY, revoke boolean, access text);
INSERT INTO step (revoke, access) VALUES (false, 'manage'), (true, 'manage'), (true, 'manage'), (false, 'verify'), (true, 'read'),
  (false, 'read'), (false, 'verify'), (false, 'manage'), (true, 'read'), (false, 'manage'), (true, 'verify'), (true, 'verify'),
  (false, 'stats'), (false, 'verify'), (true, 'stats'), (false, 'manage'), (true, 'stats'), (false, 'stats'), (false, 'read'), (true, 'read'),
  (false, 'stats'), (true, 'verify'),
  (false, 'own'), (false, 'read'), (true, 'read'), (false, 'own'), (false, 'stats'), (true, 'own'), (false, 'manage'), (true, 'own'),
  (false, 'own'), (false, 'manage'), (true, 'manage'), (true, 'verify'),
  (false, 'feed'), (false, 'stats'), (true, 'stats'), (false, 'read'), (true, 'feed'), (false, 'feed'), (true, 'verify'), (true, 'feed');
DO $$
DECLARE
  s record;
BEGIN
  FOR s IN SELECT * FROM step ORDER BY n LOOP
    IF s.revoke THEN
      PERFORM apikey_revoke_grant('regress_apikeys_other', s.access);
    ELSE
      PERFORM apikey_grant('regress_apikeys_other', s.access);
    END IF;
    RAISE NOTICE '% %: %', CASE WHEN s.revoke THEN 'revoke' ELSE 'grant' END, s.access, test.levels('regress_apikeys_other');
  END LOOP;
END $$;
-- Then nothing of ours keeps the role.
DROP ROLE regress_apikeys_other;
CREATE ROLE regress_apikeys_other;

-- What it has passed on goes as well.
GRANT EXECUTE ON FUNCTION apikey_revoke(uuid, text) TO regress_apikeys_other WITH GRANT OPTION;
SET ROLE regress_apikeys_other;
GRANT EXECUTE ON FUNCTION apikey_revoke(uuid, text) TO regress_apikeys_none;
RESET ROLE;
SELECT apikey_revoke_grant('regress_apikeys_other', 'manage');
SELECT test.levels('regress_apikeys_other') AS other, test.levels('regress_apikeys_none') AS "none";

-- An event for each, with who did it; none when it is rolled back.
SELECT action, key_id, session_role = session_user AS session_role, acting_role = current_user AS acting_role, details
FROM apikeys_data.event WHERE action <> 'rehash' ORDER BY id DESC LIMIT 2;
SELECT max(id) AS last FROM apikeys_data.event \gset event_
BEGIN;
SELECT apikey_grant('regress_apikeys_other', 'manage');
ROLLBACK;
SELECT test.levels('regress_apikeys_other'), count(*) AS events FROM apikeys_data.event WHERE id > :event_last AND action <> 'rehash';

-- Whoever may call apikey_grant has the owner's rights for it.
CREATE ROLE regress_apikeys_delegate;
GRANT EXECUTE ON FUNCTION apikey_grant TO regress_apikeys_delegate;
SET ROLE regress_apikeys_delegate;
SELECT apikey_grant('regress_apikeys_other', 'verify');
SELECT current_user;
RESET ROLE;
SELECT test.levels('regress_apikeys_other'), acting_role, details FROM apikeys_data.event WHERE action <> 'rehash' ORDER BY id DESC LIMIT 1;

-- Any role, whatever its name; but it must be one, and not the owner.
-- Unquoted its name is folded to lower case, as in SQL.
CREATE ROLE "Regress_Apikeys_Caps";
SELECT * FROM test.errors($$SELECT apikey_grant('Regress_Apikeys_Caps', 'verify')$$);
SELECT apikey_grant('"Regress_Apikeys_Caps"', 'verify');
SELECT apikey_grant(quote_ident('Regress_Apikeys_Caps')::regrole, 'read');
SELECT test.levels('"Regress_Apikeys_Caps"');
SELECT apikey_revoke_grant('"Regress_Apikeys_Caps"', 'verify');
DROP ROLE "Regress_Apikeys_Caps";
CREATE ROLE "regress_apikeys""; DROP TABLE apikeys_data.key; --";
SELECT apikey_grant('"regress_apikeys""; DROP TABLE apikeys_data.key; --"', 'read');
SELECT test.levels('"regress_apikeys""; DROP TABLE apikeys_data.key; --"');
SELECT apikey_revoke_grant('"regress_apikeys""; DROP TABLE apikeys_data.key; --"', 'verify');
DROP ROLE "regress_apikeys""; DROP TABLE apikeys_data.key; --";
SELECT * FROM test.errors(
  $$SELECT apikey_grant('regress_apikeys_other', 'all')$$,
  $$SELECT apikey_grant('regress_apikeys_other', 'Read')$$,
  $$SELECT apikey_grant('regress_apikeys_other', 'monitor')$$,
  $$SELECT apikey_grant('regress_apikeys_other', '')$$,
  $$SELECT apikey_grant('regress_apikeys_other', NULL)$$,
  $$SELECT apikey_grant(NULL, 'read')$$,
  $$SELECT apikey_grant('regress_apikeys_nobody_at_all', 'read')$$,
  $$SELECT apikey_grant('public', 'read')$$,
  $$SELECT apikey_grant('-', 'read')$$,
  $$SELECT apikey_grant(0::regrole, 'read')$$,
  $$SELECT apikey_grant(4294967295::regrole, 'read')$$,
  $$SELECT apikey_revoke_grant('regress_apikeys_other', 'execute')$$,
  $$SELECT apikey_revoke_grant(NULL, 'read')$$,
  $$SELECT apikey_revoke_grant('-', 'read')$$,
  $$SELECT apikey_revoke_grant('regress_apikeys_other', NULL)$$);
SELECT replace(e, '"' || current_user || '"', 'OWNER') AS errors FROM test.errors(
  $$SELECT apikey_grant(quote_ident(current_user)::regrole, 'read')$$,
  $$SELECT apikey_revoke_grant(quote_ident(current_user)::regrole, 'verify')$$) e;
SELECT test.levels('regress_apikeys_other');
BEGIN READ ONLY;
SELECT * FROM test.errors($$SELECT apikey_grant('regress_apikeys_other', 'read')$$);
ROLLBACK;

-- A warning where the role could put a function of its own in the place of ours.
GRANT CREATE ON SCHEMA public TO regress_apikeys_other;
SELECT apikey_grant('regress_apikeys_other', 'verify');
REVOKE CREATE ON SCHEMA public FROM regress_apikeys_other;
SELECT apikey_grant('regress_apikeys_other', 'verify');
-- ... but not of a superuser, who may anything.
BEGIN;
CREATE ROLE regress_apikeys_super SUPERUSER;
SELECT apikey_grant('regress_apikeys_super', 'verify');
ROLLBACK;

-- The schema of the functions is opened to a role that is not let in yet, and stays open; not for stats.
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
SELECT apikey_grant('regress_apikeys_other', 'stats');
SELECT has_schema_privilege('regress_apikeys_other', 'public', 'USAGE');
SELECT apikey_grant('regress_apikeys_other', 'verify');
SELECT apikey_revoke_grant('regress_apikeys_other', 'verify');
SELECT role, has_schema_privilege(role, 'public', 'USAGE') FROM unnest('{regress_apikeys_other,regress_apikeys_none}'::text[]) role;
GRANT USAGE ON SCHEMA public TO PUBLIC;

-- Functions of the same names that are not the extension's are left alone.
CREATE SCHEMA regress_apikeys_mine;
CREATE FUNCTION regress_apikeys_mine.apikey_verify(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
REVOKE EXECUTE ON FUNCTION regress_apikeys_mine.apikey_verify FROM PUBLIC;
SET search_path = regress_apikeys_mine, public;
SELECT apikey_grant('regress_apikeys_other', 'manage');
RESET search_path;
SELECT test.levels('regress_apikeys_other'),
  has_function_privilege('regress_apikeys_other', 'regress_apikeys_mine.apikey_verify(text)', 'EXECUTE') AS mine;
DROP SCHEMA regress_apikeys_mine CASCADE;

-- A view on keys with a function of the reader's that tells what it sees: no more than he may read.
CREATE TEMPORARY TABLE seen (what text);
GRANT ALL ON seen TO PUBLIC;
SET ROLE regress_apikeys_read;
CREATE FUNCTION pg_temp.tell(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS 'BEGIN INSERT INTO seen VALUES (what); RETURN true; END';
SELECT count(*) > 0 AS keys FROM apikeys.info i WHERE pg_temp.tell(i::text);
RESET ROLE;
SELECT count(*) > 0 AS seen, count(*) FILTER (WHERE what LIKE '%\\x%' OR strpos(what, encode(k.key_hash, 'hex')) > 0) AS hashes
FROM seen LEFT JOIN apikeys_data.key k ON k.id = :'id';

SELECT apikey_delete(:'id');
SELECT apikey_budget_delete(:'budget');
SELECT apikey_plan_delete('rights');
DROP FUNCTION pg_temp.tell, test.levels;
REVOKE ALL ON SCHEMA test FROM PUBLIC;
SET client_min_messages = warning;
DROP OWNED BY regress_apikeys_none, regress_apikeys_verify, regress_apikeys_own, regress_apikeys_stats, regress_apikeys_feed, regress_apikeys_monitor, regress_apikeys_read, regress_apikeys_manage, regress_apikeys_other, regress_apikeys_delegate CASCADE;
DROP ROLE regress_apikeys_none, regress_apikeys_verify, regress_apikeys_own, regress_apikeys_stats, regress_apikeys_feed, regress_apikeys_monitor, regress_apikeys_read, regress_apikeys_manage, regress_apikeys_other, regress_apikeys_delegate;
RESET client_min_messages;
