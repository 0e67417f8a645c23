-- The example of doc/row-level-security.md, and a tenant who tries to get at
-- another's rows.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_apikeys_tenant;
RESET client_min_messages;
CREATE ROLE regress_apikeys_tenant LOGIN;
-- Where pg_hba.conf does not let the tenant in, tenants_1.out ends here.
\set enters `psql -XAtqw -U regress_apikeys_tenant -c 'SELECT true' -d :'DBNAME' 2>/dev/null || echo false`
\if :enters
\else
DROP ROLE regress_apikeys_tenant;
\quit
\endif

CREATE SCHEMA tenants;
SET search_path = public, tenants;
\set owner :USER

CREATE TABLE tenants.note (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner_id uuid NOT NULL DEFAULT apikey_current_user_id(),
    body text NOT NULL
);
CREATE INDEX ON note (owner_id);

ALTER TABLE note ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON note
    USING (owner_id = (SELECT apikey_current_user_id()));

GRANT USAGE ON SCHEMA tenants TO regress_apikeys_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON note TO regress_apikeys_tenant;
GRANT EXECUTE ON FUNCTION apikey_login, apikey_logout, apikey_current_user_id TO regress_apikeys_tenant;

SELECT raw_key FROM apikey_generate('alice', user_id => '00000000-0000-0000-0000-00000000a11c') \gset alice_
SELECT raw_key FROM apikey_generate('bob', user_id => '00000000-0000-0000-0000-000000000b0b') \gset bob_

\connect - regress_apikeys_tenant
SET search_path = public, tenants;

BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
INSERT INTO note (body) VALUES ('a note of alice');
SELECT body FROM note;
COMMIT;

BEGIN;
SELECT name FROM apikey_login(:'bob_raw_key');
INSERT INTO note (body) VALUES ('a note of bob');
SELECT body FROM note;
COMMIT;

-- without a login there is no row
SELECT count(*) FROM note;

-- From here on the tenant is Alice, who knows Bob's user_id, and may make what
-- she likes in a schema of her own, which comes first in her search_path.  The
-- same notes are in a table whose policy has the bare function, and in a view.
\connect - :"owner"
SET search_path = public, tenants;
CREATE TABLE tenants.bare (LIKE note);
ALTER TABLE bare ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bare USING (owner_id = apikey_current_user_id());
INSERT INTO bare TABLE note;
GRANT SELECT ON bare TO regress_apikeys_tenant;
CREATE VIEW tenants.barrier WITH (security_barrier) AS SELECT * FROM note WHERE owner_id = apikey_current_user_id();
GRANT SELECT ON tenants.barrier TO regress_apikeys_tenant;
CREATE SCHEMA mallory AUTHORIZATION regress_apikeys_tenant;
GRANT EXECUTE ON FUNCTION apikey_pre_request TO regress_apikeys_tenant;
DO $$BEGIN EXECUTE format('GRANT TEMP ON DATABASE %I TO regress_apikeys_tenant', current_database()); END$$;
VACUUM ANALYZE note, bare;
\set bob_id '00000000-0000-0000-0000-000000000b0b'

-- Whose notes does one see?  By each of the ways to read them.
CREATE FUNCTION tenants.seen() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
  relation text;
  line text;
BEGIN
  FOREACH relation IN ARRAY '{tenants.note,tenants.bare,tenants.barrier}'::text[] LOOP
    EXECUTE format('SELECT string_agg(body, '', '' ORDER BY body COLLATE "C") FROM %s', relation) INTO line;
    line := coalesce(line, 'nothing');
    IF result <> line THEN
      RETURN format('DIFFERENT: %s and %s', result, line);
    END IF;
    result := line;
  END LOOP;
  RETURN result;
END $$;
GRANT EXECUTE ON FUNCTION tenants.seen() TO regress_apikeys_tenant;

\connect - regress_apikeys_tenant
SET search_path = mallory, public, tenants;

-- Writing for another: the policy checks what is written as well.
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SELECT tenants.seen();
SAVEPOINT s;
INSERT INTO note (owner_id, body) VALUES (:'bob_id', 'forged');
ROLLBACK TO s;
UPDATE note SET owner_id = :'bob_id';
ROLLBACK TO s;
UPDATE note SET body = 'changed' WHERE owner_id = :'bob_id';
DELETE FROM note WHERE owner_id = :'bob_id';
SELECT body FROM note WHERE owner_id = :'bob_id' FOR UPDATE;
COMMIT;

-- Settings.
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SET LOCAL "apikeys.current_user_id" = '00000000-0000-0000-0000-000000000b0b';
ROLLBACK;
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SET LOCAL "app.user_id" = '00000000-0000-0000-0000-000000000b0b';
SELECT set_config('request.jwt.claims', format('{"sub": "%s", "user_id": "%s", "role": "postgres"}', :'bob_id', :'bob_id'), true);
SELECT set_config('request.headers', format('{"x-user-id": "%s"}', :'bob_id'), true);
SELECT tenants.seen() AS after_set_config;
SELECT set_config('request.headers', '{"x-api-key": "gw-a-guess"}', true);
SAVEPOINT s;
SELECT apikey_pre_request();
ROLLBACK TO s;
SELECT tenants.seen() AS after_pre_request;
SELECT set_config('request.headers', '', true);
SELECT apikey_pre_request();
SELECT tenants.seen() AS after_pre_request_without_a_key;
ROLLBACK;
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SET LOCAL apikeys.cache = off;
SET LOCAL session_replication_role = replica;
ROLLBACK;
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SET LOCAL apikeys.request_header = 'x-user-id';
ROLLBACK;
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SET LOCAL row_security = off;
SELECT tenants.seen();
ROLLBACK;
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
RESET ALL;
SET search_path = mallory, public, tenants;
SELECT tenants.seen() AS after_reset_all;
SAVEPOINT s;
DISCARD ALL;
ROLLBACK TO s;
DISCARD PLANS;
DISCARD TEMP;
SELECT tenants.seen() AS after_discard;
COMMIT;
DISCARD ALL;
SET search_path = mallory, public, tenants;
SELECT tenants.seen() AS after_discard_all;

-- Roles.
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SAVEPOINT s;
\set VERBOSITY sqlstate
SET ROLE :"owner";
ROLLBACK TO s;
SELECT set_config('role', :'owner', true);
ROLLBACK TO s;
SET SESSION AUTHORIZATION :"owner";
ROLLBACK TO s;
\set VERBOSITY default
RESET ROLE;
SELECT tenants.seen() AS after_reset_role;
SET SESSION AUTHORIZATION DEFAULT;
SELECT tenants.seen() AS after_set_default;
ALTER TABLE tenants.note DISABLE ROW LEVEL SECURITY;
ROLLBACK TO s;
CREATE POLICY mine ON tenants.note USING (true);
ROLLBACK;

-- Logins that fail, savepoints, and the time after.
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SAVEPOINT s;
SELECT name FROM apikey_login('garbage');
ROLLBACK TO s;
SELECT name FROM apikey_login(NULL);
ROLLBACK TO s;
SELECT name FROM apikey_login(:'bob_id');
ROLLBACK TO s;
SELECT name FROM apikey_login(encode(sha256(:'bob_raw_key'), 'hex'));
ROLLBACK TO s;
SELECT tenants.seen() AS after_failures;
SELECT apikey_logout();
SELECT tenants.seen() AS after_logout;
ROLLBACK TO s;
SELECT tenants.seen() AS after_rollback_to;
COMMIT;
SELECT tenants.seen() AS after_commit;
-- What Bob leaves behind in a session is nobody's.
BEGIN;
SELECT name FROM apikey_login(:'bob_raw_key');
PREPARE plan AS SELECT body FROM tenants.note;
PREPARE plan_bare AS SELECT body FROM tenants.bare;
EXECUTE plan;
EXECUTE plan_bare;
SAVEPOINT s;
COMMIT AND CHAIN;
EXECUTE plan;
EXECUTE plan_bare;
ROLLBACK TO s;
ROLLBACK;
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
EXECUTE plan;
EXECUTE plan_bare;
SET LOCAL plan_cache_mode = force_generic_plan;
EXECUTE plan;
EXECUTE plan_bare;
COMMIT;
SET plan_cache_mode = force_generic_plan;
EXECUTE plan;
EXECUTE plan_bare;
RESET plan_cache_mode;
BEGIN;
SELECT name FROM apikey_login(:'bob_raw_key');
-- where the server has prepared transactions
SELECT current_setting('max_prepared_transactions')::int > 0 AS prepares \gset
\if :prepares
PREPARE TRANSACTION 'regress_apikeys';
\else
ROLLBACK;
\endif
SELECT tenants.seen() AS after_prepare_transaction;
\if :prepares
ROLLBACK PREPARED 'regress_apikeys';
\endif

-- Functions of her own: with her rights, or in the place of ours.  A policy is
-- bound to ours when it is made.
CREATE FUNCTION mallory.apikey_current_user_id() RETURNS uuid LANGUAGE sql STABLE AS $$SELECT '00000000-0000-0000-0000-000000000b0b'::uuid$$;
CREATE FUNCTION mallory.equals(uuid, uuid) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR mallory.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = mallory.equals);
CREATE FUNCTION mallory.definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT tenants.seen()';
CREATE FUNCTION mallory.login_as(key text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = mallory, pg_temp AS $$
BEGIN
  PERFORM public.apikey_login(key);
  RETURN tenants.seen();
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ', ' || tenants.seen();
END $$;
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SELECT apikey_current_user_id() AS hers, public.apikey_current_user_id() AS ours;
SELECT tenants.seen() AS with_functions_in_the_way, mallory.definer(), mallory.login_as('garbage');
INSERT INTO tenants.note (owner_id, body) VALUES (mallory.apikey_current_user_id(), 'forged');
ROLLBACK;
DROP OPERATOR mallory.= (uuid, uuid);
DROP FUNCTION mallory.apikey_current_user_id();
CREATE FUNCTION mallory.set_identity(uuid) RETURNS void LANGUAGE c AS 'apikeys', 'identity_set';
CREATE FUNCTION mallory.login(text) RETURNS void LANGUAGE c AS 'apikeys', 'apikey_login';
CREATE OR REPLACE FUNCTION public.apikey_current_user_id() RETURNS uuid LANGUAGE sql AS $$SELECT '00000000-0000-0000-0000-000000000b0b'::uuid$$;
ALTER FUNCTION public.apikey_current_user_id() COST 100;

-- A table in the place of the keys: they are looked for in their schema.
CREATE TEMPORARY TABLE key (id uuid, key_hash bytea);
CREATE TEMPORARY TABLE note (owner_id uuid, body text);
INSERT INTO pg_temp.note VALUES (:'bob_id', 'of the temporary table');
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SELECT tenants.seen();
ROLLBACK;
DROP TABLE pg_temp.note, pg_temp.key;

-- Leaky functions: cheap, so that they would come first if they could.
CREATE FUNCTION mallory.leak(body text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
  RAISE NOTICE 'leaked: %', body;
  RETURN true;
END $$;
CREATE FUNCTION mallory.leak_uuid(uuid, uuid) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
  RAISE NOTICE 'leaked: %', $1;
  RETURN true;
END $$;
CREATE OPERATOR mallory.<<< (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = mallory.leak_uuid);
CREATE FUNCTION mallory.leakproof(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true';
ALTER FUNCTION mallory.leak(text) LEAKPROOF;
BEGIN;
SELECT name FROM apikey_login(:'alice_raw_key');
SELECT body FROM tenants.note WHERE mallory.leak(body);
SELECT body FROM tenants.bare WHERE mallory.leak(body);
SELECT body FROM tenants.barrier WHERE mallory.leak(body);
SELECT body FROM tenants.note WHERE owner_id OPERATOR(mallory.<<<) :'bob_id';
SELECT count(*) FROM tenants.note n JOIN tenants.bare b ON mallory.leak(n.body || b.body);
UPDATE tenants.note SET body = body WHERE mallory.leak(body) RETURNING body;
CREATE VIEW mallory.mine AS SELECT * FROM tenants.note;
SELECT body FROM mallory.mine WHERE mallory.leak(body);
SELECT body FROM tenants.note WHERE 1 / (body <> 'a note of bob')::int = 1;
-- ways around the table
COPY (SELECT body FROM tenants.note) TO STDOUT;
COPY tenants.note (body) TO STDOUT;
SELECT tablename, attname FROM pg_stats WHERE tablename IN ('note', 'bare');
SAVEPOINT s;
TRUNCATE tenants.note;
ROLLBACK TO s;
SELECT key_hash FROM apikeys_data.key;
ROLLBACK TO s;
CREATE TRIGGER t AFTER INSERT ON tenants.note FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
ROLLBACK TO s;
CREATE RULE r AS ON INSERT TO tenants.note DO NOTHING;
ROLLBACK;
-- The same without a login.
SELECT body FROM tenants.note WHERE mallory.leak(body);

-- A cursor that Bob has left open is Bob's, and ends with his transaction.
BEGIN;
SELECT name FROM apikey_login(:'bob_raw_key');
DECLARE c CURSOR FOR SELECT body FROM tenants.note;
COMMIT;
FETCH c;

\connect - :"owner"

-- Nothing has changed.
SELECT owner_id, body FROM tenants.note ORDER BY id;
SET client_min_messages = warning;
DROP SCHEMA mallory, tenants CASCADE;
DROP OWNED BY regress_apikeys_tenant;
DROP ROLE regress_apikeys_tenant;
