-- apikey_identify, apikey_revoke_raw, apikey_scan, and the reason for a revocation
SELECT id, raw_key FROM apikey_generate('leak', external_id => 'leak 1', rate_limits => '{"requests_per_day": 0}') \gset
SELECT id, raw_key FROM apikey_generate('leak other', prefix => 'my_app_') \gset other_
SELECT apikey_import(sha256('sk-leak-abcdefghijklmnop'), 'leak imported', 'sk-l...mnop') AS imported_id \gset

-- The row of apikeys.info, or none.
SELECT g = i AS info FROM apikey_identify(:'raw_key') g, apikeys.info i WHERE i.id = :'id';
SELECT name FROM apikey_identify(raw_key => :'raw_key');
SELECT name FROM apikey_identify('sk-leak-abcdefghijklmnop');
SELECT count(*) FROM apikey_identify(NULL);
SELECT count(*) FROM apikey_identify('');
SELECT count(*) FROM apikey_identify(:'raw_key' || ' ');
SELECT count(*) FROM apikey_identify(repeat('x', 10000000));
SELECT count(*) FROM apikey_identify('gw-' || chr(8364));
SELECT k, (SELECT name FROM apikey_identify(k)) FROM unnest(ARRAY['x', NULL, 'sk-leak-abcdefghijklmnop', 'y']) k;
SELECT k, apikey_identify(k) IS NULL AS nothing FROM unnest(ARRAY['x', NULL]) k;

-- That is no use: no last use, and nothing of the outcomes is counted.
SELECT coalesce(valid + not_found + revoked, 0) AS outcomes FROM apikeys.stats \gset before_
SELECT count(*) FROM generate_series(1, 10), apikey_identify(:'raw_key');
SELECT count(*) FROM apikey_scan(:'raw_key' || ' nothing');
SELECT last_used_at, total_requests FROM apikey_get(:'id');
SELECT coalesce(valid + not_found + revoked, 0) - :before_outcomes AS counted FROM apikeys.stats;

-- A read-only transaction will do.
BEGIN TRANSACTION READ ONLY;
SELECT name FROM apikey_identify(:'raw_key');
SELECT status FROM apikey_scan(:'raw_key');
COMMIT;
-- The key is looked up as it is committed now, and so is the rest.
BEGIN;
SELECT id, raw_key FROM apikey_generate('leak new') \gset new_
SELECT name, status FROM apikey_identify(:'new_raw_key');
SELECT s.id = :'new_id' AS found, status FROM apikey_scan(:'new_raw_key') s;
ROLLBACK;
SELECT count(*) FROM apikey_identify(:'new_raw_key');

-- Every key of ours in a text: masked, where, whose and how it is.
SELECT key_prefix = (apikey_get(:'id')).key_prefix AS masked, at_character, id = :'id' AS same, status FROM apikey_scan(:'raw_key');
SELECT count(*) FROM apikey_scan('');
SELECT count(*) FROM apikey_scan(NULL);
SELECT count(*) FROM apikey_scan('no key, ' || repeat('x', 1000) || ' sk-leak-abcdefghijklmnop');
SELECT count(*) FROM apikey_scan(translate(:'raw_key', 'abcdefgh', 'bcdefgha'));
CREATE FUNCTION test.scan(document text) RETURNS TABLE (at integer, name text, status apikeys.key_status, starts_there boolean) LANGUAGE sql AS $$
  SELECT s.at_character, coalesce((SELECT k.name FROM public.apikey_get(s.id) k), s.id::text), s.status,
         left(substr(document, s.at_character), position('...' IN s.key_prefix) - 1) = left(s.key_prefix, position('...' IN s.key_prefix) - 1)
  FROM public.apikey_scan(document) s
$$;
SELECT * FROM test.scan(format(E'%s\n"%s",x%s%s\n%s', :'raw_key', :'other_raw_key', :'raw_key', :'other_raw_key', :'raw_key'));
SELECT * FROM test.scan(format('Bearer %s,https://host/?key=%s&x=1', :'raw_key', :'other_raw_key'));
-- The position counts characters.
SELECT * FROM test.scan(format('%s%s %s', repeat(chr(8364), 3), :'raw_key', chr(128512) || :'other_raw_key'));
-- A long text, with keys where the search goes on.
SELECT array_agg(at - n ORDER BY at) AS from_expected, bool_and(starts_there) AS start_there, array_agg(DISTINCT name)
FROM generate_series(65480, 65550) n,
     LATERAL test.scan(repeat('-', n - 1) || :'raw_key' || repeat('+', 10)) WHERE n % 7 = 0;
SELECT count(*), count(DISTINCT at), bool_and(starts_there), min(name) = max(name) AS one FROM test.scan(repeat(:'raw_key' || ' ', 3000));
SELECT count(*), count(DISTINCT at_character) FROM apikey_scan(repeat(:'raw_key', 1000));
-- Compressed, and out of line.
CREATE TEMPORARY TABLE document (t text);
INSERT INTO document VALUES (repeat('x y ', 100000) || :'raw_key'), (:'other_raw_key');
SELECT name, at FROM document, test.scan(t);
DROP TABLE document;
-- A key that was deleted, or is of another database: still a key.
SELECT apikey_delete(:'other_id');
SELECT at, name, status, starts_there FROM test.scan('key ' || :'other_raw_key');
SELECT left(key_prefix, -4), right(key_prefix, 4) = right('gw-012345678901234567890123456' || test.checksum('gw-012345678901234567890123456'), 4) AS tail, id
FROM apikey_scan('gw-012345678901234567890123456' || test.checksum('gw-012345678901234567890123456'));

-- For who has only the key; the reason stays, and its event has it.
SELECT id, raw_key FROM apikey_generate('leak raw') \gset raw_
SELECT apikey_revoke_raw(:'raw_raw_key', 'found in a public repository') = :'raw_id' AS revoked;
SELECT code FROM apikey_verify(:'raw_raw_key');
SELECT status, revoke_reason, revoked_at IS NOT NULL AS at FROM apikey_get(:'raw_id');
SELECT action, details FROM apikey_events(:'raw_id', row_limit => 1);
SELECT status FROM apikey_scan(:'raw_raw_key');
-- Once more, it stays as it is, and nothing is written.
SELECT revoked_at AS revoked_at FROM apikey_get(:'raw_id') \gset before_
SELECT count(*) AS events FROM apikeys_data.event \gset before_
SELECT apikey_revoke_raw(:'raw_raw_key', 'and again') = :'raw_id' AS revoked;
SELECT revoke_reason, revoked_at = :'before_revoked_at' AS unchanged FROM apikey_get(:'raw_id');
SELECT count(*) - :before_events AS events FROM apikeys_data.event;
-- No such key.
SELECT apikey_revoke_raw('gw-nothing'), apikey_revoke_raw(''), apikey_revoke_raw(NULL), apikey_revoke_raw(NULL, NULL), apikey_revoke_raw(repeat('x', 1000000), 'r');
-- An imported key.
SELECT apikey_revoke_raw('sk-leak-abcdefghijklmnop') = :'imported_id' AS revoked;
SELECT status, revoke_reason FROM apikey_identify('sk-leak-abcdefghijklmnop');
SELECT details FROM apikey_events(:'imported_id', row_limit => 1);
-- In a transaction that has seen it otherwise.
SELECT id, raw_key FROM apikey_generate('leak snapshot') \gset snapshot_
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT status FROM apikey_get(:'snapshot_id');
SELECT apikey_revoke_raw(:'snapshot_raw_key') = :'snapshot_id' AS revoked;
SELECT code FROM apikey_verify(:'snapshot_raw_key');
ROLLBACK;
SELECT code FROM apikey_verify(:'snapshot_raw_key');

-- By id.
SELECT apikey_revoke(id => :'id', reason => 'asked for by its owner');
SELECT revoke_reason FROM apikey_get(:'id');
SELECT details FROM apikey_events(:'id', row_limit => 1);
-- A rotation without grace says so; with grace, nothing is revoked.
SELECT id AS successor_id FROM apikey_rotate(:'snapshot_id', '1 hour') \gset
SELECT status, revoke_reason FROM apikey_get(:'snapshot_id');
SELECT id AS last_id FROM apikey_rotate(:'successor_id') \gset
SELECT status, revoke_reason FROM apikey_get(:'successor_id');
SELECT status, revoke_reason FROM apikey_get(:'last_id');

-- Errors: nothing is changed.
SELECT id, raw_key FROM apikey_generate('leak errors') \gset errors_
SELECT set_config('test.key', :'errors_raw_key', false) <> '' AS set;
SELECT apikey_import(sha256('sk-leak-2-abcdefghijklmnop'), 'leak import 2', 'sk-l...mnop') IS NOT NULL AS made;
SELECT * FROM test.errors(
  $$SELECT apikey_revoke(test.id('leak errors'), '')$$,
  $$SELECT apikey_revoke(test.id('leak errors'), repeat('x', 1001))$$,
  $$SELECT apikey_revoke(test.id('leak errors'), repeat('x', 1000000))$$,
  $$SELECT apikey_revoke(test.id('leak errors'), 'in a log: ' || current_setting('test.key'))$$,
  $$SELECT apikey_revoke(test.id('leak import 2'), 'in a log: sk-leak-2-abcdefghijklmnop')$$,
  $$SELECT apikey_revoke_raw('sk-leak-2-abcdefghijklmnop', 'sk-leak-2-abcdefghijklmnop')$$,
  $$SELECT apikey_revoke_raw(current_setting('test.key'), '')$$,
  $$SELECT apikey_revoke_raw('nothing', repeat('x', 1001))$$,
  $$SELECT apikey_revoke_raw(current_setting('test.key'), current_setting('test.key'))$$,
  $$INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name, revoke_reason) SELECT i, i, sha256('leak'), 'x', 'n', repeat('x', 1001) FROM gen_random_uuid() i$$
);
RESET test.key;
SELECT status, revoke_reason FROM apikey_get(:'errors_id');
SELECT apikey_revoke(:'errors_id', repeat(chr(8364), 1000));
SELECT length(revoke_reason) FROM apikey_get(:'errors_id');
BEGIN TRANSACTION READ ONLY;
\set VERBOSITY sqlstate
SELECT apikey_revoke_raw('sk-leak-2-abcdefghijklmnop');
ROLLBACK;
\set VERBOSITY default
SELECT apikey_revoke_raw('sk-leak-2-abcdefghijklmnop') IS NOT NULL AS revoked;
DROP FUNCTION test.scan;
