-- The extension, and the functions that the other files share.
-- First, the defaults of whatever a session can set, for whoever connects to
-- this database, which is pg_regress's own: then the settings of the server
-- and of the role do not matter.
DO $$
DECLARE
  pin record;
BEGIN
  LOAD 'plpgsql';
  LOAD 'apikeys';
  FOR pin IN
    SELECT name, CASE WHEN name LIKE 'lc!_%' ESCAPE '!' THEN 'C' ELSE boot_val END AS value
    FROM pg_settings
    WHERE context IN ('user', 'superuser') AND setting <> boot_val
      AND source IN ('configuration file', 'command line', 'global', 'user')
  LOOP
    PERFORM set_config(pin.name, pin.value, false);
    EXECUTE format('ALTER DATABASE %I SET %s FROM CURRENT', current_database(), pin.name);
    EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET %s FROM CURRENT', current_database(), pin.name);
  END LOOP;
END $$;
\connect -

SET client_min_messages = warning;
CREATE EXTENSION apikeys CASCADE;
RESET client_min_messages;

-- The interface: names, arguments and results.
\pset format unaligned
SELECT p.proname AS function,
       pg_get_function_arguments(p.oid) AS arguments,
       pg_get_function_result(p.oid) AS result
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'apikeys' AND p.pronamespace = 'public'::regnamespace
ORDER BY p.proname \gx
\pset format aligned

-- What can be called with less: only what never writes may be stable, only
-- what depends on its arguments alone may be immutable.
SELECT CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS volatility,
       p.proname
FROM pg_proc p
WHERE p.proname LIKE 'apikey\_%' AND p.pronamespace = 'public'::regnamespace
ORDER BY 1, 2;

SELECT enumlabel FROM pg_enum WHERE enumtypid = 'apikeys.key_status'::regtype ORDER BY enumsortorder;
SELECT attname AS info, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'apikeys.info'::regclass AND attnum > 0 ORDER BY attnum;

CREATE SCHEMA test;

-- Runs statements and shows the error of each.  Times, ids and hashes are masked.
CREATE FUNCTION test.errors(VARIADIC statements text[]) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
  statement text;
  state text;
  message text;
  detail text;
  hint text;
  line text;
BEGIN
  FOREACH statement IN ARRAY statements LOOP
    RETURN NEXT regexp_replace(btrim(statement, E' \n'), '\s*\n\s*', ' ', 'g');
    BEGIN
      EXECUTE statement;
      RETURN NEXT '    NO ERROR';
    EXCEPTION WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
      FOREACH line IN ARRAY ARRAY[state || ' ' || message, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, '')] LOOP
        line := regexp_replace(line, 'Failing row contains.*', 'Failing row contains ...');
        line := regexp_replace(line, '\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?[-+]\d\d(:\d\d)*( BC)?', 'TIME', 'g');
        line := regexp_replace(line, '\\x[0-9a-f]{64}', 'HASH');
        line := regexp_replace(line, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID', 'g');
        IF line IS NOT NULL THEN
          RETURN NEXT '    ' || line;
        END IF;
      END LOOP;
    END;
  END LOOP;
END $$;

-- The key with this name; there is one.
CREATE FUNCTION test.id(key_name text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  found uuid;
BEGIN
  SELECT k.id INTO STRICT found FROM apikeys_data.key k WHERE k.name = key_name;
  RETURN found;
END $$;

-- Whether this is the hash of a raw key: the plain one, unless the server has a
-- secret; that hash is checked in test/t/401_secrets.pl, which knows the secret.
-- There an imported key gets such a hash some time after its use, and a rehash
-- event, which the other files leave out.
CREATE FUNCTION test.is_hash_of(raw_key text, hash bytea, secret text) RETURNS boolean LANGUAGE sql AS $$
  SELECT (hash = sha256(convert_to(raw_key, 'UTF8'))) = (secret IS NULL)
     AND (secret IS NULL) = (current_setting('apikeys.hmac_secret_file') = '')
$$;

-- Whether a key that is used has a last use: the server may be set to keep none.
CREATE FUNCTION test.keeps_last_use() RETURNS boolean LANGUAGE sql AS $$
  SELECT current_setting('apikeys.last_used_throttle') <> '-1'
$$;

-- What apikey_verify answers, less the nulls, one line a row.
CREATE FUNCTION test.answer(raw_key text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(jsonb_strip_nulls(to_jsonb(v))::text, E'\n') FROM public.apikey_verify(raw_key) v
$$;
CREATE FUNCTION test.not_found() RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT '{"code": "NOT_FOUND", "valid": false, "reason": "API key not found"}'
$$;

-- Rolls up all entries of usage, which the flush worker may be at, too.
CREATE PROCEDURE test.roll_up() LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. 1000 LOOP
    PERFORM apikey_flush();
    COMMIT;
    IF NOT EXISTS (SELECT FROM apikeys_data.usage_entry) THEN
      RETURN;
    END IF;
    PERFORM pg_sleep(0.01);
  END LOOP;
  RAISE 'there are entries that are not rolled up';
END $$;

-- The checksum of a raw key, from its definition and not from the C.
CREATE FUNCTION test.crc32(data bytea) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  crc bigint := x'ffffffff'::bigint;
BEGIN
  FOR byte IN 0 .. length(data) - 1 LOOP
    crc := crc # get_byte(data, byte);
    FOR bit IN 1 .. 8 LOOP
      crc := (crc >> 1) # (x'edb88320'::bigint * (crc & 1));
    END LOOP;
  END LOOP;
  RETURN crc # x'ffffffff'::bigint;
END $$;
CREATE FUNCTION test.checksum(start text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  digits constant text := '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  rest bigint := test.crc32(convert_to(start, 'UTF8'));
  result text := '';
BEGIN
  FOR place IN 1 .. 5 LOOP
    result := substr(digits, (rest % 62)::int + 1, 1) || result;
    rest := rest / 62;
  END LOOP;
  RETURN result;
END $$;

-- The CRC-32 of the nine digits is in every textbook; the checksum was
-- computed with zlib.
SELECT test.crc32('123456789') = x'cbf43926'::bigint AS crc,
       test.checksum('gw-012345678901234567890123456') AS checksum;
