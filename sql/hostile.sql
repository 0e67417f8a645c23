-- Somebody has been here before, and sits first in the search_path.
SET client_min_messages = warning;
DROP EXTENSION apikeys;

-- A schema of our name is not taken over, and neither is a function.
CREATE SCHEMA apikeys;
SELECT * FROM test.errors('CREATE EXTENSION apikeys');
DROP SCHEMA apikeys;
CREATE SCHEMA apikeys_data;
SELECT * FROM test.errors('CREATE EXTENSION apikeys');
DROP SCHEMA apikeys_data;
CREATE FUNCTION apikey_revoke(id uuid, reason text) RETURNS void LANGUAGE sql AS '';
SELECT * FROM test.errors('CREATE EXTENSION apikeys');
DROP FUNCTION apikey_revoke(uuid, text);
SELECT to_regnamespace('apikeys') AS left_behind, to_regnamespace('apikeys_data') AS tables_left_behind;

-- Everything that a careless text might find by its bare name, planted in one
-- schema: each operator and function of pg_catalog on our types, exact
-- matches for what pg_catalog has for any type only, types, casts, tables.
-- Each says so when it is used.
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.fired(what pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RAISE WARNING 'fired: %', what;
  RETURN true;
END $$;
CREATE FUNCTION test.plant_function(name text, arguments text, result text, body text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE FUNCTION hostile.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', name, arguments, result,
    format('BEGIN PERFORM hostile.fired(%L); RETURN %s; END', name || '(' || arguments || ')', body));
END $$;
CREATE FUNCTION test.plant_operator(number bigint, name text, lefttype text, righttype text, result text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE FUNCTION hostile.operator_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', number, lefttype, righttype, result,
    format('BEGIN PERFORM hostile.fired(%L); RETURN $1 OPERATOR(pg_catalog.%s) $2; END', lefttype || ' ' || name || ' ' || righttype, name));
  EXECUTE format('CREATE OPERATOR hostile.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.operator_%s)', name, lefttype, righttype, number);
END $$;
DO $$
DECLARE
  ours oid[] := '{uuid,text,varchar,name,bytea,jsonb,inet,bool,int2,int4,int8,numeric,oid,timestamptz,interval,date,inet[],text[],uuid[]}'::regtype[]::oid[];
BEGIN
  PERFORM test.plant_operator(row_number() OVER (), oprname, oprleft::regtype::text, oprright::regtype::text, oprresult::regtype::text)
  FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft = ANY (ours) AND oprright = ANY (ours);
  PERFORM test.plant_operator(1000 + row_number() OVER (), name, type, type, 'boolean')
  FROM unnest('{=,<>,<,<=,>,>=,@>,&&}'::text[]) name, unnest('{inet[],text[],uuid[]}'::text[]) type;
  PERFORM test.plant_operator(2000 + row_number() OVER (), '=', l, r, 'boolean')
  FROM unnest('{text,varchar,name}'::text[]) l, unnest('{varchar}'::text[]) r;
  PERFORM test.plant_operator(3000, '||', 'text', 'uuid', 'text');
  PERFORM test.plant_function(p.proname, pg_get_function_identity_arguments(p.oid), p.prorettype::regtype::text,
    format('pg_catalog.%I(%s)', p.proname, (SELECT string_agg('$' || n, ', ') FROM generate_series(1, p.pronargs) n)))
  FROM pg_proc p
  WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0 AND p.proargmodes IS NULL
    AND (p.proargtypes = '' OR p.proargtypes::oid[] <@ ours) AND p.prorettype = ANY (ours)
    AND p.proname = ANY ('{now,clock_timestamp,statement_timestamp,transaction_timestamp,timezone,gen_random_uuid,jsonb_typeof,octet_length,
      char_length,character_length,length,isfinite,substr,substring,left,right,lower,upper,position,strpos,encode,decode,sha256,md5,
      inet_client_addr,current_setting,set_config,pg_try_advisory_xact_lock,uuid_hash,hashtext,date_trunc,extract,age,starts_with,
      similar_to_escape,regexp_match,format,quote_ident,random,network,host,masklen,has_schema_privilege,pg_get_function_identity_arguments}');
  PERFORM test.plant_function(name, arguments, result, body) FROM (VALUES
    ('digest', 'text, text', 'bytea', '''\x'''),
    ('digest', 'bytea, text', 'bytea', '''\x'''),
    ('hmac', 'bytea, bytea, text', 'bytea', '''\x'''),
    ('hmac', 'text, text, text', 'bytea', '''\x'''),
    ('gen_random_bytes', 'integer', 'bytea', '''\x'''),
    ('array_ndims', 'inet[]', 'integer', '1'),
    ('array_length', 'inet[], integer', 'integer', '1'),
    ('array_position', 'inet[], inet', 'integer', 'NULL'),
    ('array_position', 'inet[], text', 'integer', 'NULL'),
    ('array_remove', 'inet[], inet', 'inet[]', '$1'),
    ('array_agg', 'uuid', 'uuid[]', 'ARRAY[$1]'),
    ('cardinality', 'inet[]', 'integer', '1'),
    ('format', 'text, name, name', 'text', ''''''),
    ('format', 'text, name, name, text', 'text', ''''''),
    ('string_agg', 'text, text', 'text', '$1'),
    ('to_jsonb', 'text', 'jsonb', '''{}'''),
    ('jsonb_build_object', 'text, text', 'jsonb', '''{}'''),
    ('jsonb_build_object', 'text, text, text, text', 'jsonb', '''{}'''),
    ('octet_length', 'varchar', 'integer', '32'),
    ('char_length', 'varchar', 'integer', '1'),
    ('pg_extension_config_dump', 'text, text', 'integer', '1'),
    ('check_key', 'text, text, text, jsonb, jsonb, jsonb, inet[], timestamptz, bytea, text, text, timestamptz', 'boolean', 'true'),
    ('last_use', 'uuid', 'timestamptz', 'NULL'),
    ('utc_today', '', 'date', 'NULL'),
    ('effective_status', 'timestamptz, timestamptz, boolean', 'text', '''active''')) f(name, arguments, result, body);
END $$;
CREATE FUNCTION hostile.counted(int8) RETURNS int8 LANGUAGE plpgsql AS $$BEGIN PERFORM hostile.fired('count(*)'); RETURN $1; END$$;
CREATE AGGREGATE hostile.count(*) (SFUNC = hostile.counted, STYPE = int8, INITCOND = 0);
CREATE TYPE hostile.stranger AS (a integer);
CREATE FUNCTION hostile.stranger_to_text(hostile.stranger) RETURNS pg_catalog.text LANGUAGE plpgsql AS $$BEGIN PERFORM hostile.fired('cast'); RETURN ''; END$$;
CREATE CAST (hostile.stranger AS pg_catalog.text) WITH FUNCTION hostile.stranger_to_text AS IMPLICIT;
CREATE FUNCTION hostile.text_to_uuid(pg_catalog.text) RETURNS pg_catalog.uuid LANGUAGE plpgsql AS $$BEGIN PERFORM hostile.fired('cast'); RETURN $1::pg_catalog.uuid; END$$;
CREATE CAST (pg_catalog.text AS pg_catalog.uuid) WITH FUNCTION hostile.text_to_uuid AS IMPLICIT;
SELECT format('CREATE DOMAIN hostile.%I AS pg_catalog.%I CHECK (hostile.fired(%L))', type, type, 'type ' || type)
FROM unnest('{text,uuid,jsonb,bytea,inet,timestamptz,name,regclass,oid,int4,int8,bool}'::text[]) type \gexec
CREATE DOMAIN hostile.key_status AS pg_catalog.text CHECK (hostile.fired('type key_status'));
CREATE TABLE hostile.key (id pg_catalog.uuid);
CREATE TABLE hostile.usage (key_id pg_catalog.uuid);
CREATE TABLE hostile.event (id pg_catalog.int8);
CREATE VIEW hostile.info AS SELECT hostile.fired('info');
GRANT ALL ON SCHEMA hostile TO PUBLIC;
SELECT count(*) > 300 AS planted FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'hostile'::regnamespace;

-- They do fire: these texts are careless.
SET search_path = hostile, pg_catalog;
SELECT clock_timestamp() IS NULL AS function, 'a'::pg_catalog.text = 'b' AS operator, 'a'::text AS type, array_ndims('{::1}'::pg_catalog.inet[]) AS any_array;
SELECT count(*) FROM (VALUES (1)) v;
RESET search_path;

-- Installed into that very schema, with it in the path: nothing fires.
SET search_path = hostile, pg_catalog;
CREATE EXTENSION apikeys SCHEMA hostile;
SELECT id, raw_key FROM hostile.apikey_generate('hostile', 'd', permissions => '{"is_admin": true}', rate_limits => '{"tokens_per_day": 0}',
  expires_at => '2100-01-01 00:00+00', metadata => '{"a": 1}', external_id => 'hostile', allowed_ips => '{::1}') \gset
SELECT code, name FROM hostile.apikey_verify(:'raw_key', client_ip => '::1');
SELECT name, status FROM hostile.apikey_get(:'id');
SELECT name, status FROM hostile.apikey_list('active');
SELECT hostile.apikey_count('active');
UPDATE apikeys_data.key SET key_prefix = 'x', description = 'y', hash_secret = 'z', external_id = NULL, allowed_ips = '{::1,::2}';
DELETE FROM apikeys_data.key;
DROP EXTENSION apikeys;
RESET search_path;

-- Installed elsewhere with that schema in the path, and with temporary
-- objects, which go before all others: nothing fires.
CREATE TEMPORARY TABLE key (id uuid);
CREATE TEMPORARY VIEW info AS SELECT hostile.fired('temporary info');
CREATE DOMAIN pg_temp.jsonb AS pg_catalog.jsonb CHECK (hostile.fired('temporary type jsonb'));
CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (hostile.fired('temporary type text'));
SET search_path = pg_temp, hostile, pg_catalog;
CREATE EXTENSION apikeys SCHEMA public;
RESET search_path;

-- In a new session, whose plans are yet to be made, every function is called
-- with all that in front: nothing fires.
\c -
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_apikeys_hostile;
CREATE ROLE regress_apikeys_hostile;
CREATE TEMPORARY TABLE key (id uuid);
CREATE TEMPORARY TABLE usage (key_id uuid);
CREATE TEMPORARY TABLE event (id bigint);
CREATE TEMPORARY VIEW info AS SELECT hostile.fired('temporary info');
CREATE DOMAIN pg_temp.jsonb AS pg_catalog.jsonb CHECK (hostile.fired('temporary type jsonb'));
CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (hostile.fired('temporary type text'));
CREATE DOMAIN pg_temp.regclass AS pg_catalog.regclass CHECK (hostile.fired('temporary type regclass'));
SET search_path = pg_temp, hostile, pg_catalog;
SELECT id, raw_key FROM public.apikey_generate('hostile', 'd', permissions => '{"is_admin": true}', rate_limits => '{"tokens_per_day": 0}',
  expires_at => '2100-01-01 00:00+00', external_id => 'hostile', allowed_ips => '{::1}') \gset
SELECT code, name FROM public.apikey_verify(:'raw_key', client_ip => '::1');
SELECT code, name FROM public.apikey_verify('gw-none');
SELECT name, status FROM public.apikey_update(:'id', '{"name": "hostile 2", "metadata": {"a": 1}, "allowed_ips": ["::1", "::2"], "user_id": "00000000-0000-0000-0000-000000000001", "expires_at": "2100-01-02"}');
SELECT code, name FROM public.apikey_verify(:'raw_key', client_ip => '::1');
SELECT name, status FROM public.apikey_get(:'id');
SELECT name, status FROM public.apikey_list('active', '00000000-0000-0000-0000-000000000001', NULL, 'hostile', 1, 0);
SELECT name, status FROM public.apikey_list('active', after => :'id');
SELECT public.apikey_count(), public.apikey_count('revoked');
SELECT id AS new_id, raw_key AS new_raw_key FROM public.apikey_rotate(:'id', '1 hour') \gset
SELECT o.code AS old, n.code AS new, n.name FROM public.apikey_verify(:'raw_key', client_ip => '::1') o, public.apikey_verify(:'new_raw_key', client_ip => '::1') n;
SELECT public.apikey_revoke(:'id');
SELECT public.apikey_import('\x0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', 'imported', 'x', created_at => '2020-01-01') IS NOT NULL AS imported;
SELECT public.apikey_cleanup_expired('1 day');
SELECT public.apikey_permissions_preset('admin') IS NOT NULL AS permissions, public.apikey_rate_limits_preset('premium') IS NOT NULL AS rate_limits;
SELECT public.apikey_model_allowed('{"allowed_models": ["a*"]}', 'abc') AS model, public.apikey_endpoint_allowed('{"allowed_endpoints": ["a*"]}', 'b') AS endpoint;
SELECT action FROM public.apikey_events(:'id', '2000-01-01');
SELECT public.apikey_grant('regress_apikeys_hostile', 'manage');
SELECT pg_catalog.has_function_privilege('regress_apikeys_hostile', 'public.apikey_delete(pg_catalog.uuid)', 'EXECUTE') AS granted;
SELECT public.apikey_revoke_grant('regress_apikeys_hostile', 'verify');
SELECT public.apikey_delete(:'new_id');
UPDATE apikeys_data.key SET permissions = '{}', rate_limits = '{}', allowed_ips = '{::3}', metadata = '{}', expires_at = '2100-01-03';
SELECT name, status FROM apikeys.info ORDER BY name COLLATE "C";
SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>=) 0 AS checked FROM apikeys.check();
RESET search_path;

DROP ROLE regress_apikeys_hostile;

-- Nothing of the extension hangs on what was planted, which goes alone.
SELECT count(*) AS members FROM pg_depend d JOIN pg_extension e ON refclassid = 'pg_extension'::pg_catalog.regclass AND refobjid = e.oid WHERE extname = 'apikeys' \gset before_
DROP SCHEMA hostile CASCADE;
SELECT count(*) = :before_members AS members FROM pg_depend d JOIN pg_extension e ON refclassid = 'pg_extension'::pg_catalog.regclass AND refobjid = e.oid WHERE extname = 'apikeys';
SELECT code FROM apikey_verify(:'raw_key');
DROP FUNCTION test.plant_function, test.plant_operator;

-- The owner of pgcrypto makes another digest() a member of it: it is not called.
\c -
CREATE SCHEMA hostile_member;
CREATE FUNCTION hostile_member.digest(pg_catalog.bytea, pg_catalog.text) RETURNS pg_catalog.bytea LANGUAGE plpgsql AS $$
BEGIN
  RAISE NOTICE 'fired: digest';
  RETURN decode(repeat('00', 32), 'hex');
END $$;
ALTER EXTENSION pgcrypto ADD FUNCTION hostile_member.digest(pg_catalog.bytea, pg_catalog.text);
\c -
SELECT id, raw_key FROM apikey_generate('member') \gset
SELECT test.is_hash_of(:'raw_key', k.key_hash, k.hash_secret) AS hashed FROM apikeys_data.key k WHERE id = :'id';
SELECT code FROM apikey_verify(:'raw_key');
SELECT code FROM apikey_verify('anything');
ALTER EXTENSION pgcrypto DROP FUNCTION hostile_member.digest(pg_catalog.bytea, pg_catalog.text);
DROP SCHEMA hostile_member CASCADE;

-- What a trigger prevents is not acknowledged.
CREATE FUNCTION test.prevent() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER prevent BEFORE INSERT OR UPDATE ON apikeys_data.key FOR EACH ROW EXECUTE FUNCTION test.prevent();
SELECT * FROM test.errors(
  $$SELECT apikey_revoke(id) FROM apikeys_data.key WHERE name = 'member'$$,
  $$SELECT apikey_rotate(id) FROM apikeys_data.key WHERE name = 'member'$$,
  $$SELECT apikey_update(id, '{"enabled": false}') FROM apikeys_data.key WHERE name = 'member'$$,
  $$SELECT apikey_generate('prevented')$$,
  $$SELECT apikey_generate_many(2, 'prevented')$$
);
DROP TRIGGER prevent ON apikeys_data.key;
CREATE TRIGGER prevent BEFORE INSERT ON apikeys_data.plan FOR EACH ROW EXECUTE FUNCTION test.prevent();
SELECT * FROM test.errors($$SELECT apikey_plan_set('prevented')$$);
DROP TRIGGER prevent ON apikeys_data.plan;
SELECT action FROM apikeys_data.event WHERE key_id = :'id' ORDER BY id;
SELECT code FROM apikey_verify(:'raw_key');

-- A trigger on a table that is written with the owner's rights does not fire, unless its owner has made it ALWAYS.
CREATE FUNCTION test.fired() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'fired: trigger'; RETURN NEW; END$$;
CREATE TRIGGER fired BEFORE INSERT OR UPDATE ON apikeys_data.usage FOR EACH ROW EXECUTE FUNCTION test.fired();
CREATE TRIGGER fired BEFORE INSERT ON apikeys_data.usage_entry FOR EACH ROW EXECUTE FUNCTION test.fired();
SELECT apikey_record_usage(:'id', 1, 1);
SELECT apikey_flush() >= 0 AS flushed;
SHOW session_replication_role;
DROP TRIGGER fired ON apikeys_data.usage;
DROP TRIGGER fired ON apikeys_data.usage_entry;

-- A document that every verify hands out has a limit.
SELECT regexp_replace(e, 'x{100,}', 'xxx') AS errors FROM test.errors(
  format('SELECT apikey_generate(%L, metadata => %L)', 'large', json_build_object('m', repeat('x', 70000)))) e;
SELECT count(*) FROM apikey_generate('not so large', metadata => jsonb_build_object('m', repeat('x', 60000)));
