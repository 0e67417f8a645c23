-- Where the extension is installed, and that it goes and comes back in one
-- session, which keeps its plans.
SET client_min_messages = warning;

-- The life of a key, with the functions in a schema of any name.
CREATE FUNCTION test.life(schema text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  old record;
  new record;
  answer text;
  life text := '';
BEGIN
  EXECUTE format('SELECT * FROM %I.apikey_generate($1)', schema) INTO STRICT old USING 'schema';
  EXECUTE format('SELECT code FROM %I.apikey_verify($1)', schema) INTO STRICT answer USING old.raw_key;
  life := life || answer;
  EXECUTE format('SELECT description FROM %I.apikey_update($1, $2)', schema) INTO STRICT answer USING old.id, '{"description": "updated"}'::jsonb;
  life := life || ' ' || answer;
  EXECUTE format('SELECT * FROM %I.apikey_rotate($1, ''1 hour'')', schema) INTO STRICT new USING old.id;
  EXECUTE format('SELECT o.code || '' '' || n.code FROM %1$I.apikey_verify($1) o, %1$I.apikey_verify($2) n', schema) INTO STRICT answer USING old.raw_key, new.raw_key;
  life := life || ' ' || answer;
  EXECUTE format('SELECT %I.apikey_revoke($1)', schema) USING old.id;
  EXECUTE format('SELECT code FROM %I.apikey_verify($1)', schema) INTO STRICT answer USING old.raw_key;
  life := life || ' ' || answer;
  EXECUTE format('SELECT %I.apikey_import($1, ''imported'', ''x'')', schema) INTO STRICT answer USING sha256(convert_to('schema ' || new.id, 'UTF8'));
  EXECUTE format('SELECT code FROM %I.apikey_verify($1)', schema) INTO STRICT answer USING 'schema ' || new.id;
  life := life || ' ' || answer;
  EXECUTE format('SELECT string_agg(status::text, '' '' ORDER BY status::text COLLATE "C") || '' '' || %1$I.apikey_count() FROM %1$I.apikey_list()', schema) INTO STRICT answer;
  life := life || ', list: ' || answer;
  EXECUTE format('SELECT name FROM %I.apikey_get($1)', schema) INTO STRICT answer USING new.id;
  life := life || ', get: ' || answer;
  EXECUTE format('SELECT %I.apikey_cleanup_expired()', schema) INTO STRICT answer;
  life := life || ', clean-up: ' || answer;
  EXECUTE format('SELECT %I.apikey_delete(id) FROM apikeys_data.key', schema);
  EXECUTE format('SELECT %1$I.apikey_delete(id) FROM %1$I.apikey_list()', schema);
  RETURN life;
EXCEPTION WHEN no_data_found THEN
  RETURN life || ' NOT FOUND';
END $$;
CREATE VIEW test.installed AS
SELECT extname, extnamespace::regnamespace AS schema FROM pg_extension WHERE extname IN ('apikeys', 'pgcrypto') ORDER BY extname;

-- It needs pgcrypto, and CASCADE brings it.
DROP EXTENSION apikeys;
DROP EXTENSION pgcrypto;
SELECT * FROM test.installed;
SELECT to_regnamespace('apikeys') AS left_behind;
SELECT * FROM test.errors('CREATE EXTENSION apikeys');
CREATE SCHEMA "My ""odd"" Schema";
CREATE EXTENSION apikeys SCHEMA "My ""odd"" Schema" CASCADE;
SELECT * FROM test.installed;
SELECT test.life('My "odd" Schema');

-- Unqualified, with that schema in the path.
SET search_path = "My ""odd"" Schema";
SELECT id, raw_key FROM apikey_generate('odd') \gset
SELECT code, name FROM apikey_verify(:'raw_key');
RESET search_path;

-- It stays where it is, and what it needs stays with it.
SELECT * FROM test.errors(
  'ALTER EXTENSION apikeys SET SCHEMA public',
  'CREATE EXTENSION apikeys',
  'DROP EXTENSION pgcrypto',
  'DROP SCHEMA apikeys',
  'DROP TABLE apikeys_data.key',
  'DROP FUNCTION "My ""odd"" Schema".apikey_revoke(uuid, text)'
);

-- pgcrypto may move.
ALTER EXTENSION pgcrypto SET SCHEMA public;
SELECT test.life('My "odd" Schema');

-- Gone, and back in another schema, in the same session.
DROP EXTENSION apikeys;
SELECT to_regnamespace('apikeys') AS left_behind;
SELECT count(*) FROM pg_proc WHERE pronamespace = '"My ""odd"" Schema"'::regnamespace;
DROP SCHEMA "My ""odd"" Schema";
\set VERBOSITY sqlstate
SELECT * FROM apikey_verify('gw-none');
\set VERBOSITY default
CREATE EXTENSION apikeys;
SELECT * FROM test.installed;
SELECT test.life('public');

-- The same with pgcrypto.
DROP EXTENSION pgcrypto CASCADE;
SELECT * FROM test.installed;
CREATE SCHEMA crypto;
CREATE EXTENSION pgcrypto SCHEMA crypto;
CREATE EXTENSION apikeys;
SELECT * FROM test.installed;
SELECT test.life('public');

-- Gone and back in a transaction that is undone, then in one that is not.
SELECT id, raw_key FROM apikey_generate('kept') \gset
BEGIN;
DROP EXTENSION apikeys;
CREATE EXTENSION apikeys;
SHOW search_path;
SELECT code FROM apikey_verify(:'raw_key');
SELECT raw_key AS new_raw_key FROM apikey_generate('not kept') \gset
SELECT code FROM apikey_verify(:'new_raw_key');
ROLLBACK;
SELECT code FROM apikey_verify(:'raw_key');
SELECT code FROM apikey_verify(:'new_raw_key');
SELECT status FROM apikey_update(:'id', '{"enabled": false}');
BEGIN;
DROP EXTENSION apikeys;
CREATE EXTENSION apikeys;
COMMIT;
SELECT code FROM apikey_verify(:'raw_key');
SELECT test.life('public');
BEGIN;
SAVEPOINT s;
DROP EXTENSION apikeys;
ROLLBACK TO s;
SELECT test.life('public');
COMMIT;

-- Only a superuser installs it.
CREATE ROLE regress_apikeys_owner;
DROP EXTENSION apikeys;
GRANT CREATE ON DATABASE :DBNAME TO regress_apikeys_owner;
SET ROLE regress_apikeys_owner;
\set VERBOSITY sqlstate
CREATE EXTENSION apikeys;
\set VERBOSITY default
RESET ROLE;
REVOKE CREATE ON DATABASE :DBNAME FROM regress_apikeys_owner;
DROP ROLE regress_apikeys_owner;

-- As it was.
DROP EXTENSION pgcrypto;
DROP SCHEMA crypto;
CREATE EXTENSION apikeys CASCADE;
SELECT * FROM test.installed;
SELECT test.life('public');
DROP VIEW test.installed;
DROP FUNCTION test.life;
