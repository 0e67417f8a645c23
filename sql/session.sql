-- The identity of a transaction: who may set it, what it says, when it ends.
CREATE TABLE test.session_key (name text, raw_key text, id uuid);
INSERT INTO test.session_key (name, raw_key, id)
SELECT k.name, k.name || '-session', apikey_import(
  digest(k.name || '-session', 'sha256'), 'session ' || k.name, k.name,
  user_id => k.user_id, team_id => k.team_id, external_id => k.external_id, permissions => k.permissions)
FROM (VALUES
  ('a', '00000000-0000-0000-0000-00000000000a'::uuid, '00000000-0000-0000-0000-0000000000aa'::uuid, 'tenant a', '{"custom_permissions": ["files:*", "admin-read"]}'::jsonb),
  ('b', '00000000-0000-0000-0000-00000000000b', NULL, NULL, '{"is_admin": true}'),
  ('nobody', NULL, NULL, NULL, '{}')) k(name, user_id, team_id, external_id, permissions);

-- Who is it?  By the name of the key; the ids must agree with it.
CREATE FUNCTION test.whoami() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT k.name FROM apikeys_data.key i JOIN test.session_key k USING (id)
                   WHERE i.id = public.apikey_current_id() AND coalesce(i.root_id, i.id) = public.apikey_current_root_id()
                     AND i.user_id IS NOT DISTINCT FROM public.apikey_current_user_id()
                     AND i.team_id IS NOT DISTINCT FROM public.apikey_current_team_id()
                     AND i.external_id IS NOT DISTINCT FROM public.apikey_current_external_id()),
                  CASE WHEN num_nonnulls(public.apikey_current_id(), public.apikey_current_root_id(), public.apikey_current_user_id(),
                                         public.apikey_current_team_id(), public.apikey_current_external_id()) = 0
                       THEN 'none' ELSE 'INCONSISTENT' END)
$$;

-- Without a login there is nobody, and no permission.
\pset null '(null)'
SELECT apikey_current_id(), apikey_current_root_id(), apikey_current_user_id(), apikey_current_team_id(),
       apikey_current_external_id(), apikey_current_has_permission('files:read');

-- What it says.
BEGIN;
SELECT valid, code, name, user_id, reservation FROM apikey_login('a-session');
SELECT test.whoami(), apikey_current_user_id(), apikey_current_team_id(), apikey_current_external_id();
SELECT p, apikey_current_has_permission(p)
FROM unnest(ARRAY['files:read', 'files:', 'files', 'admin-read', 'admin-write', 'FILES:read', '', NULL]) p;
-- another login takes its place, and says the same as verify
SELECT l IS NOT DISTINCT FROM v AS same FROM apikey_login('b-session') l, apikey_verify('b-session') v;
SELECT test.whoami(), apikey_current_external_id(), apikey_current_has_permission('whatever'), apikey_current_has_permission(NULL);
SELECT count(*) FROM apikey_login('nobody-session');
SELECT test.whoami(), apikey_current_user_id(), apikey_current_id() IS NOT NULL AS somebody, apikey_current_has_permission('whatever');
SELECT apikey_logout();
SELECT test.whoami();
SELECT apikey_logout();
COMMIT;

-- It ends with the transaction, however that ends.
SELECT count(*) FROM apikey_login('a-session');
SELECT test.whoami() AS after_autocommit;
BEGIN; SELECT count(*) FROM apikey_login('a-session'); COMMIT;
SELECT test.whoami() AS after_commit;
BEGIN; SELECT count(*) FROM apikey_login('a-session'); ROLLBACK;
SELECT test.whoami() AS after_rollback;
BEGIN; SELECT count(*) FROM apikey_login('a-session'); SELECT 1/0; COMMIT;
SELECT test.whoami() AS after_error;
BEGIN; SELECT count(*) FROM apikey_login('a-session'); COMMIT AND CHAIN;
SELECT test.whoami() AS after_commit_and_chain;
SELECT count(*) FROM apikey_login('a-session');
ROLLBACK AND CHAIN;
SELECT test.whoami() AS after_rollback_and_chain;
COMMIT;
-- one message with several statements is one transaction
SELECT count(*) FROM apikey_login('a-session') \; SELECT test.whoami();
SELECT test.whoami() AS after_message;

-- Savepoints.
BEGIN;
SAVEPOINT s;
SELECT count(*) FROM apikey_login('a-session');
ROLLBACK TO s;
SELECT test.whoami() AS before_any_login;
SELECT count(*) FROM apikey_login('a-session');
RELEASE s;
SELECT test.whoami() AS released;
SAVEPOINT s;
SELECT count(*) FROM apikey_login('b-session');
SELECT count(*) FROM apikey_login('nobody-session');
SAVEPOINT t;
SELECT apikey_logout();
SELECT test.whoami() AS logged_out;
ROLLBACK TO t;
SELECT test.whoami() AS back_from_t;
SAVEPOINT t;
SELECT count(*) FROM apikey_login('b-session');
SAVEPOINT u;
SELECT count(*) FROM apikey_login('a-session');
RELEASE t;
SELECT test.whoami() AS t_and_u_released;
ROLLBACK TO s;
SELECT test.whoami() AS back_from_s;
SAVEPOINT s;
SAVEPOINT t;
SELECT count(*) FROM apikey_login('b-session');
RELEASE t;
SELECT test.whoami() AS t_released;
ROLLBACK TO s;
SELECT test.whoami() AS back_from_s_again;
-- an error within a savepoint
SAVEPOINT s;
SELECT count(*) FROM apikey_login('b-session');
SELECT count(*) FROM apikey_login('no such key');
ROLLBACK TO s;
SELECT test.whoami() AS back_from_an_error;
COMMIT;
SELECT test.whoami() AS after_commit;

-- Blocks with exceptions are subtransactions, functions alone are not.
BEGIN;
SELECT count(*) FROM apikey_login('a-session');
DO $$
BEGIN
  BEGIN
    PERFORM apikey_login('b-session');
    RAISE NOTICE 'in the block: %', test.whoami();
    PERFORM 1/0;
  EXCEPTION WHEN division_by_zero THEN
    RAISE NOTICE 'caught: %', test.whoami();
  END;
  BEGIN
    PERFORM apikey_login('no such key');
  EXCEPTION WHEN invalid_authorization_specification THEN
    RAISE NOTICE 'refused: %', test.whoami();
  END;
  BEGIN
    PERFORM apikey_login('b-session');
  EXCEPTION WHEN division_by_zero THEN
    NULL;
  END;
  RAISE NOTICE 'after a block that went well: %', test.whoami();
  FOR i IN 1 .. 1000 LOOP
    BEGIN
      PERFORM apikey_login('nobody-session');
      PERFORM 1 / (i % 2);
    EXCEPTION WHEN division_by_zero THEN
      PERFORM apikey_login('a-session');
    END;
  END LOOP;
  RAISE NOTICE 'after many: %', test.whoami();
END $$;
SELECT test.whoami();
-- It has not grown: what was replaced is gone.
SELECT count(*) <= 3 AS few FROM pg_backend_memory_contexts WHERE name = 'apikeys identity';
COMMIT;
SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'apikeys identity';

-- A procedure that commits is nobody afterwards.
CREATE PROCEDURE test.commits() LANGUAGE plpgsql AS $$
BEGIN
  PERFORM apikey_login('a-session');
  RAISE NOTICE 'before: %', test.whoami();
  COMMIT;
  RAISE NOTICE 'after COMMIT: %', test.whoami();
  PERFORM apikey_login('a-session');
  ROLLBACK;
  RAISE NOTICE 'after ROLLBACK: %', test.whoami();
END $$;
CALL test.commits();

-- What runs at commit still has it: deferred triggers, and cursors WITH HOLD.
CREATE TABLE test.deferred (who text);
CREATE FUNCTION test.note_who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE NOTICE 'at commit: %', test.whoami();
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON test.deferred DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION test.note_who();
BEGIN;
SELECT count(*) FROM apikey_login('a-session');
INSERT INTO test.deferred VALUES ('a');
DECLARE held CURSOR WITH HOLD FOR SELECT test.whoami() AS held;
COMMIT;
FETCH held;
SELECT test.whoami() AS after_commit;
CLOSE held;

-- Roles do not matter.
CREATE ROLE regress_apikeys_session;
GRANT USAGE ON SCHEMA test TO regress_apikeys_session;
SELECT format('GRANT EXECUTE ON FUNCTION %I TO regress_apikeys_session', p)
FROM unnest('{apikey_login,apikey_current_user_id,apikey_current_has_permission}'::text[]) p \gexec
BEGIN;
SET LOCAL ROLE regress_apikeys_session;
SELECT count(*) FROM apikey_login('a-session');
SELECT apikey_current_user_id(), apikey_current_has_permission('files:read');
RESET ROLE;
SELECT test.whoami();
COMMIT;
SET ROLE regress_apikeys_session;
SELECT apikey_current_id();
RESET ROLE;

-- READ ONLY and with a snapshot of its own.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT count(*) FROM apikey_login('a-session');
SELECT test.whoami();
COMMIT;

-- What is refused says what verify says, and not the key.
SELECT apikey_revoke(apikey_import(digest('revoked-session', 'sha256'), 'session revoked', 'x'));
SELECT apikey_import(digest('off-session', 'sha256'), 'session off', 'x') AS id \gset
SELECT status FROM apikey_update(:'id', '{"enabled": false}');
SELECT apikey_import(digest('home-session', 'sha256'), 'session home', 'x', allowed_ips => '{10.0.0.0/8}', permissions => '{"allowed_models": ["small*"]}') IS NOT NULL AS made;
SELECT apikey_budget_create('session', 0) AS budget \gset
SELECT apikey_import(digest('poor-session', 'sha256'), 'session poor', 'x', budget_id => :'budget') IS NOT NULL AS made;
SELECT * FROM test.errors(
  $$SELECT apikey_login('no such key')$$,
  $$SELECT apikey_login(NULL)$$,
  $$SELECT apikey_login('')$$,
  $$SELECT apikey_login(repeat('x', 1000000))$$,
  $$SELECT apikey_login('revoked-session')$$,
  $$SELECT apikey_login('off-session')$$,
  $$SELECT apikey_login('home-session')$$,
  $$SELECT apikey_login('home-session', client_ip => '1.2.3.4')$$,
  $$SELECT apikey_login('home-session', client_ip => '10.2.3.4', model => 'large')$$,
  $$SELECT apikey_login('home-session', client_ip => '10.2.3.4', model => 'small', required_permissions => '{files:read}')$$,
  $$SELECT apikey_login('home-session', client_ip => '10.2.3.4', model => 'small', tokens => -1)$$,
  $$SELECT apikey_login('poor-session')$$,
  $$SELECT apikey_login('home-session', 'small', '/any', '{}', 5, '10.2.3.4', true)$$
);
SELECT test.whoami();

-- A revoked key: nobody logs in with it, but who has stays to the end.
BEGIN;
SELECT count(*) FROM apikey_login('a-session');
SELECT apikey_revoke(apikey_current_id());
SELECT test.whoami(), apikey_current_user_id();
SELECT count(*) FROM apikey_login('a-session');
ROLLBACK;
-- a rotated one is of the same root
BEGIN;
SELECT raw_key FROM apikey_rotate(test.id('session a')) \gset
SELECT count(*) FROM apikey_login(:'raw_key');
SELECT apikey_current_root_id() = test.id('session a') AS same_root, apikey_current_id() = test.id('session a') AS same_id;
ROLLBACK;
-- and one that is deleted
BEGIN;
SELECT count(*) FROM apikey_login('a-session');
SELECT apikey_delete(apikey_current_id());
SELECT apikey_current_user_id(), apikey_current_external_id(), apikey_current_has_permission('files:read');
ROLLBACK;

-- In one row, the old and the new.
BEGIN;
SELECT count(*) FROM apikey_login('a-session');
SELECT apikey_current_external_id() AS before, (apikey_login('b-session')).name, apikey_current_external_id() AS after;
ROLLBACK;

-- Code of a table's owner that the server runs for somebody else: no identity
-- is set or lost there.
CREATE FUNCTION test.log_in(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT code FROM public.apikey_login('b-session'));
END $$;
CREATE FUNCTION test.log_out(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  PERFORM public.apikey_logout();
  RETURN 'out';
END $$;
CREATE TABLE test.trap (word text);
CREATE INDEX trap_in ON test.trap (test.log_in(word));
INSERT INTO test.trap VALUES ('x');
-- (18 words the context otherwise.)
\set SHOW_CONTEXT never
BEGIN;
ANALYZE test.trap;
SELECT test.whoami();
ROLLBACK;
\set SHOW_CONTEXT errors
DROP INDEX test.trap_in;
BEGIN;
SELECT count(*) FROM apikey_login('a-session');
CREATE INDEX trap_out ON test.trap (test.log_out(word));
SELECT test.whoami();
ROLLBACK;
DROP TABLE test.trap;

-- Planner and workers.
SELECT proname, provolatile, proparallel, proleakproof FROM pg_proc WHERE proname ~ '^apikey_(current|log|pre_)' ORDER BY 1;

DROP OWNED BY regress_apikeys_session;
DROP ROLE regress_apikeys_session;
