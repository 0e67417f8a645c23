-- apikey_verify
-- The budgets that keys are to point to.
INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES
  ('00000000-0000-0000-0000-000000000003', 'budget 03', 1000);
SELECT id, raw_key FROM apikey_generate('verify', 'not in the answer', '00000000-0000-0000-0000-000000000001',
  '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000003',
  '{"allowed_models": ["*"]}', '{"tokens_per_day": 0}', '2100-01-02 03:04:05+00', '{"m": 1}', 'verify 1') \gset

-- The answer for a good key.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT valid, code, reason, id = :'id' AS id, root_id = :'id' AS root_id, name,
       key_prefix ~ '^gw-.\.\.\.....$' AS key_prefix, user_id, team_id, budget_id,
       external_id, permissions, rate_limits, metadata, expires_at, retry_after, reservation,
       limit_name, limit_max, limit_remaining, limit_resets_in, budget_remaining
FROM apikey_verify(:'raw_key') \gx
RESET timezone;
RESET datestyle;

-- The code alone.
SELECT apikey_check(:'raw_key'), apikey_check(raw_key => :'raw_key', tokens => 1, client_ip => '::1'), apikey_check('gw-none'), apikey_check(NULL);

-- All arguments, by place and by name.
SELECT code FROM apikey_verify(:'raw_key', 'model', '/endpoint', NULL, 10, '10.0.0.1', false);
SELECT code FROM apikey_verify(client_ip => '::1', raw_key => :'raw_key', tokens => 0, reserve => false);
SELECT code FROM apikey_verify(raw_key => :'raw_key', model => NULL, endpoint => NULL, required_permissions => NULL,
  tokens => NULL, client_ip => NULL, reserve => NULL);

-- Each other outcome tells what it knows of the key, in this order: revoked,
-- expired, disabled.
SELECT status FROM apikey_update(:'id', '{"enabled": false}');
SELECT valid, code, reason, id = :'id' AS id, root_id = :'id' AS root_id, name, external_id, retry_after, reservation,
       apikey_check(:'raw_key') = code AS "check"
FROM apikey_verify(:'raw_key');
UPDATE apikeys_data.key SET created_at = created_at - interval '1 day', expires_at = clock_timestamp() - interval '1 second' WHERE id = :'id';
SELECT valid, code, reason, id = :'id' AS id, root_id = :'id' AS root_id, name, external_id, retry_after, reservation,
       apikey_check(:'raw_key') = code AS "check"
FROM apikey_verify(:'raw_key');
SELECT apikey_revoke(:'id');
SELECT valid, code, reason, id = :'id' AS id, root_id = :'id' AS root_id, name, external_id, retry_after, reservation,
       apikey_check(:'raw_key') = code AS "check"
FROM apikey_verify(:'raw_key');
SELECT apikey_delete(:'id');
SELECT * FROM apikey_verify(:'raw_key');

-- Revoked alone, expired alone.
SELECT id, raw_key FROM apikey_generate('revoked') \gset
SELECT apikey_revoke(:'id');
SELECT code FROM apikey_verify(:'raw_key');
SELECT id, raw_key FROM apikey_generate('expired') \gset
UPDATE apikeys_data.key SET created_at = created_at - interval '1 day', expires_at = clock_timestamp() WHERE id = :'id';
SELECT code FROM apikey_verify(:'raw_key');

-- A key to try bad texts against.
SELECT id, raw_key FROM apikey_generate('target') \gset
SELECT set_config('test.key', :'raw_key', false) IS NULL AS none \gset
SELECT code FROM apikey_verify(:'raw_key');

-- Whatever the text: one row, and it tells nothing.
SELECT what, test.answer(raw_key) = test.not_found() AS not_found
FROM (VALUES
  ('null', NULL),
  ('empty', ''),
  ('a space', ' '),
  ('the prefix', 'gw-'),
  ('the masked form', (SELECT key_prefix FROM apikeys_data.key WHERE id = :'id')),
  ('the hash', (SELECT encode(key_hash, 'hex') FROM apikeys_data.key WHERE id = :'id')),
  ('the hash as bytea', (SELECT key_hash::text FROM apikeys_data.key WHERE id = :'id')),
  ('the id', :'id'),
  ('the name', 'target'),
  ('upper case', upper(:'raw_key')),
  ('lower case', lower(:'raw_key')),
  ('case flipped', translate(:'raw_key', 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz',
                                         'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ')),
  ('reversed', reverse(:'raw_key')),
  ('twice', repeat(:'raw_key', 2)),
  ('7 times, 245 bytes', repeat(:'raw_key', 7)),
  ('quoted', quote_literal(:'raw_key')),
  ('space before', ' ' || :'raw_key'),
  ('space behind', :'raw_key' || ' '),
  ('newline behind', :'raw_key' || E'\n'),
  ('carriage return behind', :'raw_key' || E'\r\n'),
  ('bearer', 'Bearer ' || :'raw_key'),
  ('byte order mark', chr(65279) || :'raw_key'),
  ('zero width space', :'raw_key' || chr(8203)),
  ('soft hyphen', left(:'raw_key', 10) || chr(173) || substr(:'raw_key', 11)),
  ('combining accent', :'raw_key' || chr(769)),
  ('right-to-left override', chr(8238) || :'raw_key'),
  ('umlauts', repeat(chr(252), 35)),
  ('four bytes each', repeat(chr(128273), 35)),
  ('sql', $q$' OR ''=''; --$q$),
  ('like', 'gw-%'),
  ('format', '%s%n%s%n%x'),
  ('escapes', '\000\x00\u0000'),
  ('256 bytes', repeat('x', 256)),
  ('257 bytes', repeat('x', 257)),
  ('a key in 256 bytes', rpad(:'raw_key', 256, 'x')),
  ('a key in 257 bytes', rpad(:'raw_key', 257, 'x')),
  ('1 MB', repeat('x', 1048576)),
  ('1 MB of keys', repeat(:'raw_key', 29960)),
  ('1 MB of multi-byte', repeat(chr(8364), 349525)),
  ('a key and 1 MB', rpad(:'raw_key', 1048576, ' '))
) AS bad(what, raw_key);

-- Fullwidth letters look like the key.
SELECT test.answer(translate(:'raw_key',
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-',
    string_agg(chr(code), '' ORDER BY place))) = test.not_found() AS not_found
FROM (SELECT row_number() OVER () AS place, code
      FROM (SELECT generate_series(65313, 65338) UNION ALL SELECT generate_series(65345, 65370)
            UNION ALL SELECT generate_series(65296, 65305) UNION ALL SELECT 65293) c(code)) fullwidth;

-- Every control character, alone, before, in and behind the key.
SELECT count(*) AS tried, count(*) FILTER (WHERE test.answer(bad) = test.not_found()) AS not_found
FROM generate_series(1, 160) c,
     LATERAL (VALUES (chr(c)), (chr(c) || :'raw_key'), (:'raw_key' || chr(c)),
                     (left(:'raw_key', 3) || chr(c) || substr(:'raw_key', 4))) v(bad)
WHERE c < 32 OR c >= 127;

-- One character changed into every other, at each of the 35 places; doubled,
-- left out, its case flipped, and changed for its neighbour.
SELECT count(*) AS tried, count(*) FILTER (WHERE test.answer(bad) = test.not_found()) AS not_found
FROM generate_series(1, 35) place, generate_series(32, 126) c,
     LATERAL (SELECT overlay(:'raw_key' PLACING chr(c) FROM place) AS bad) b
WHERE bad <> :'raw_key';
SELECT what, count(*) AS places, bool_and(test.answer(bad) = test.not_found()) AS not_found
FROM generate_series(1, 35) place,
     LATERAL (SELECT substr(:'raw_key', place, 1) AS letter, substr(:'raw_key', place + 1, 1) AS next) l,
     LATERAL (VALUES
       ('doubled', overlay(:'raw_key' PLACING letter || letter FROM place FOR 1)),
       ('left out', overlay(:'raw_key' PLACING '' FROM place FOR 1)),
       ('cut before', left(:'raw_key', place - 1)),
       ('cut behind', substr(:'raw_key', place + 1)),
       ('accented', overlay(:'raw_key' PLACING chr(233) FROM place)),
       ('fullwidth', overlay(:'raw_key' PLACING chr(ascii(letter) + 65248) FROM place))) v(what, bad)
GROUP BY what ORDER BY what;
SELECT bool_and(test.answer(bad) = test.not_found()) AS not_found
FROM generate_series(1, 35) place,
     LATERAL (SELECT substr(:'raw_key', place, 1) AS letter, substr(:'raw_key', place + 1, 1) AS next) l,
     LATERAL (VALUES
       (overlay(:'raw_key' PLACING CASE WHEN letter = lower(letter) THEN upper(letter) ELSE lower(letter) END FROM place)),
       (overlay(:'raw_key' PLACING next || letter FROM place))) v(bad)
WHERE bad <> :'raw_key';

-- A text that lies compressed, or out of line, in a table.
CREATE TEMPORARY TABLE stored (what text, raw_key text);
INSERT INTO stored VALUES ('a key', :'raw_key'), ('compressed', repeat('gw-', 400000));
ALTER TABLE stored ALTER raw_key SET STORAGE EXTERNAL;
INSERT INTO stored VALUES ('out of line', repeat(:'raw_key', 30000));
SELECT what, code FROM stored, LATERAL apikey_verify(raw_key) ORDER BY what;
-- A short one lies out of line where the rest of a row leaves it no space.
CREATE TEMPORARY TABLE narrow (raw_key text, rest text);
ALTER TABLE narrow ALTER raw_key SET STORAGE EXTERNAL, ALTER rest SET STORAGE PLAIN;
INSERT INTO narrow VALUES (:'raw_key', repeat('x', 4000));
SELECT pg_relation_size(reltoastrelid) > 0 AS toasted, code FROM pg_class, narrow, LATERAL apikey_verify(raw_key) WHERE oid = 'narrow'::regclass;

-- Texts of imported keys: printable ASCII up to 256 bytes is looked up, and
-- nothing else, whatever hashes are stored.
SELECT what, code FROM (VALUES
  ('256 bytes', repeat('y', 256)),
  ('257 bytes', repeat('y', 257)),
  ('all of printable ASCII', (SELECT string_agg(chr(c), '' ORDER BY c) FROM generate_series(33, 126) c)),
  ('control character', E'verify\x01'),
  ('delete', E'verify\x7f'),
  ('multi-byte', 'schl' || chr(252) || 'ssel')) foreign_key(what, raw_key),
  LATERAL apikey_import(digest(convert_to(raw_key, 'UTF8'), 'sha256'), 'verify ' || what, '...') AS imported,
  LATERAL apikey_verify(CASE WHEN imported IS NOT NULL THEN raw_key END);

-- After all that the key is as good as before.
SELECT code FROM apikey_verify(:'raw_key');

-- One row a call, also where there are many, and none is remembered wrongly.
SELECT n % 3 AS kind, code, count(*)
FROM generate_series(1, 30) n,
     LATERAL apikey_verify((ARRAY[:'raw_key', 'gw-none', NULL])[n % 3 + 1])
GROUP BY 1, 2 ORDER BY 1;

-- Prepared, and in a function.
PREPARE verify(text) AS SELECT valid, code FROM apikey_verify($1);
EXECUTE verify(:'raw_key');
EXECUTE verify(NULL);
EXECUTE verify('gw-none');
DEALLOCATE verify;
DO $$
DECLARE
  answer record;
BEGIN
  FOR i IN 1 .. 10 LOOP
    SELECT * INTO STRICT answer FROM apikey_verify(current_setting('test.key'));
    ASSERT answer.valid AND answer.code = 'VALID' AND answer.reason IS NULL;
  END LOOP;
END $$;

-- It needs no right to write, in any isolation level.
BEGIN TRANSACTION READ ONLY;
SELECT code FROM apikey_verify(:'raw_key');
SELECT code FROM apikey_verify('gw-none');
COMMIT;
BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT code FROM apikey_verify(:'raw_key');
COMMIT;
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SELECT code FROM apikey_verify(:'raw_key');
COMMIT;
SET default_transaction_read_only = on;
SELECT code FROM apikey_verify(:'raw_key');
RESET default_transaction_read_only;

-- What this transaction has done so far counts, and no more once it is
-- undone.
BEGIN;
SAVEPOINT s;
SELECT id AS new_id, raw_key AS new_key FROM apikey_generate('savepoint') \gset
SELECT code FROM apikey_verify(:'new_key');
ROLLBACK TO s;
SELECT code FROM apikey_verify(:'new_key');
SELECT apikey_revoke(:'id');
SELECT code FROM apikey_verify(:'raw_key');
ROLLBACK TO s;
SELECT code FROM apikey_verify(:'raw_key');
SELECT status FROM apikey_update(:'id', '{"enabled": false}');
SELECT code FROM apikey_verify(:'raw_key');
ROLLBACK;
SELECT code FROM apikey_verify(:'raw_key');
BEGIN;
SELECT apikey_delete(:'id');
SELECT code FROM apikey_verify(:'raw_key');
ROLLBACK;
SELECT code FROM apikey_verify(:'raw_key');

-- Made, verified, revoked and verified again in one statement.
SELECT v.code, v.id = g.id AS id FROM apikey_generate('one statement') g, LATERAL apikey_verify(g.raw_key) v;
SELECT first.code, second.code
FROM apikey_generate('one statement 2') g,
     LATERAL apikey_verify(g.raw_key) first,
     LATERAL (SELECT apikey_revoke(first.id)::text AS void) r,
     LATERAL apikey_verify(g.raw_key || r.void) second;

-- Time is the clock's and not the transaction's: a key expires in the middle
-- of one.  The first assertion ends the loop should the key never expire.
BEGIN;
SELECT set_config('test.key', raw_key, false) IS NULL AS none
FROM apikey_generate('short-lived', expires_at => clock_timestamp() + interval '2 seconds') \gset
DO $$
DECLARE
  code text;
  expires_at timestamptz;
  asked_at timestamptz;
BEGIN
  LOOP
    asked_at := clock_timestamp();
    SELECT v.code, v.expires_at INTO STRICT code, expires_at FROM apikey_verify(current_setting('test.key')) v;
    ASSERT code = 'EXPIRED' OR asked_at <= expires_at, 'valid past its expiry';
    ASSERT code = 'VALID' OR clock_timestamp() > expires_at, 'expired before its time';
    EXIT WHEN code = 'EXPIRED';
    PERFORM pg_sleep(0.05);
  END LOOP;
  RAISE NOTICE 'ended: %', code;
END $$;
SELECT status FROM apikey_get(test.id('short-lived'));
COMMIT;

-- A use is recorded for a good answer alone.
SELECT id, raw_key FROM apikey_generate('used') \gset
SELECT last_used_at FROM apikey_get(:'id');
SELECT status FROM apikey_update(:'id', '{"enabled": false}');
SELECT code FROM apikey_verify(:'raw_key');
SELECT last_used_at FROM apikey_get(:'id');
SELECT status FROM apikey_update(:'id', '{"enabled": true}');
SELECT last_used_at FROM apikey_get(:'id');
SELECT code FROM apikey_verify(:'raw_key');
SELECT coalesce(last_used_at BETWEEN created_at AND clock_timestamp(), NOT test.keeps_last_use()) AS used,
       coalesce(updated_at <= last_used_at, NOT test.keeps_last_use()) AS not_an_update
FROM apikey_get(:'id');
DELETE FROM apikeys_data.budget;
