-- apikey_rotate
-- The budgets that keys are to point to.
INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES
  ('00000000-0000-0000-0000-000000000003', 'budget 03', 1000);
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- Without grace the old key ends in the same statement.
SELECT id, raw_key FROM apikey_generate('rotate', 'described', '00000000-0000-0000-0000-000000000001',
  '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000003',
  '{"is_admin": true}', '{"requests_per_minute": 0}', '2100-01-02 03:04:05+00',
  '{"a": 1}', 'customer 8', '{10.0.0.0/8}', 'rot-') \gset old_
SELECT id, raw_key FROM apikey_rotate(:'old_id') \gset new_
SELECT :'new_id' <> :'old_id' AS new_id, :'new_raw_key' <> :'old_raw_key' AS new_key,
       :'new_raw_key' ~ '^rot-[0-9A-Za-z]{32}$' AS prefix,
       right(:'new_raw_key', 5) = test.checksum(left(:'new_raw_key', -5)) AS checksum;
SELECT code FROM apikey_verify(:'old_raw_key');
SELECT code, name, id = :'new_id' AS id, root_id = :'old_id' AS root_id FROM apikey_verify(:'new_raw_key', client_ip => '10.0.0.1');

-- The whole configuration is carried over: every column but those listed.
SELECT o.key AS changed, CASE WHEN o.key = 'name' THEN n.value #>> '{}' END AS "to"
FROM apikeys_data.key ok, jsonb_each(to_jsonb(ok)) o, apikeys_data.key nk, jsonb_each(to_jsonb(nk)) n
WHERE ok.id = :'old_id' AND nk.id = :'new_id' AND o.key = n.key AND o.value <> n.value
ORDER BY o.key COLLATE "C";
SELECT description, user_id, team_id, budget_id, external_id, permissions, rate_limits,
       metadata, allowed_ips, enabled, expires_at
FROM apikeys_data.key WHERE id = :'new_id' \gx
SELECT test.is_hash_of(:'new_raw_key', k.key_hash, k.hash_secret) AS hash,
       key_prefix = 'rot-' || substr(:'new_raw_key', 5, 1) || '...' || right(:'new_raw_key', 4) AS masked,
       root_id = :'old_id' AS root_id, rotated_from = :'old_id' AS rotated_from, rotated_at, revoked_at
FROM apikeys_data.key k WHERE id = :'new_id';
SELECT rotated_at = revoked_at AS revoked_as_rotated, root_id IS NULL AS is_root, rotated_from, expires_at
FROM apikeys_data.key WHERE id = :'old_id';
SELECT o.status AS old, n.status AS new, n.rotated_from = o.id AS rotated_from
FROM apikey_get(:'old_id') o, apikey_get(:'new_id') n;

-- An event says so and names the successor; no event tells the raw key.
SELECT action, count(*) FROM apikeys_data.event WHERE key_id IN (:'old_id', :'new_id') GROUP BY action ORDER BY action;
SELECT details ->> 'successor' = :'new_id' AS successor FROM apikeys_data.event WHERE key_id = :'old_id' AND action = 'rotate';
SELECT count(*) FROM apikeys_data.event e
WHERE strpos(e::text, substr(:'new_raw_key', 6, 22)) > 0 OR strpos(e::text, substr(:'old_raw_key', 6, 22)) > 0;

-- The line goes on: one root, one suffix.
SELECT id, raw_key FROM apikey_rotate(:'new_id') \gset third_
SELECT code, name, root_id = :'old_id' AS root_id FROM apikey_verify(:'third_raw_key', client_ip => '10.0.0.1');
SELECT rotated_from = :'new_id' AS rotated_from FROM apikeys_data.key WHERE id = :'third_id';
SELECT count(*) AS line FROM apikeys_data.key WHERE :'old_id' IN (root_id, id);

-- The name: the suffix is added once, and the name is cut to let it fit.
CREATE TEMPORARY TABLE renamed AS
SELECT label, r.id, expected
FROM (VALUES ('short', 'short', 'short (rotated)'),
             ('twice', 'twice (rotated)', 'twice (rotated)'),
             ('in the middle', 'a (rotated) b', 'a (rotated) b (rotated)'),
             ('other case', 'a (Rotated)', 'a (Rotated) (rotated)'),
             ('no space', 'a(rotated)', 'a(rotated) (rotated)'),
             ('the suffix alone', ' (rotated)', ' (rotated)'),
             ('245', repeat('x', 245), repeat('x', 245) || ' (rotated)'),
             ('246', repeat('x', 246), repeat('x', 245) || ' (rotated)'),
             ('255', repeat('x', 255), repeat('x', 245) || ' (rotated)'),
             ('255 with suffix', repeat('x', 245) || ' (rotated)', repeat('x', 245) || ' (rotated)'),
             ('245 multi-byte', repeat(chr(8364), 245), repeat(chr(8364), 245) || ' (rotated)'),
             ('255 multi-byte', repeat(chr(128273), 255), repeat(chr(128273), 245) || ' (rotated)')) AS n(label, old_name, expected),
     LATERAL apikey_generate(old_name) g,
     LATERAL apikey_rotate(g.id) r;
SELECT label, length(name) AS length, name = expected AS as_expected
FROM renamed JOIN apikeys.info USING (id)
ORDER BY label COLLATE "C";

-- With grace both are good, until now + grace.
SELECT id, raw_key FROM apikey_generate('grace') \gset old_
SELECT id, raw_key FROM apikey_rotate(id => :'old_id', grace => '1 hour') \gset new_
SELECT o.code AS old, n.code AS new, o.root_id = n.root_id AS one_root, n.expires_at
FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;
SELECT k.expires_at = k.rotated_at + interval '1 hour' AS expires, k.revoked_at, i.expires_at = k.expires_at AS shown, i.status
FROM apikeys_data.key k, apikey_get(:'old_id') i WHERE k.id = :'old_id';

-- ... or until its own expiry, if that is sooner.
SELECT id, raw_key FROM apikey_generate('sooner', expires_at => '2100-01-01 00:00+00') \gset old_
SELECT id, raw_key FROM apikey_rotate(:'old_id', '10000 years') \gset new_
SELECT o.code AS old, o.expires_at, n.code AS new, n.expires_at
FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;
SELECT id, raw_key FROM apikey_generate('later', expires_at => '2100-01-01 00:00+00') \gset old_
SELECT id, raw_key FROM apikey_rotate(:'old_id', '1 day') \gset new_
SELECT expires_at = rotated_at + interval '1 day' AS expires FROM apikeys_data.key WHERE id = :'old_id';
SELECT code, expires_at FROM apikey_verify(:'new_raw_key');

-- A grace that has passed ends the old key alone.
SELECT id, raw_key FROM apikey_generate('passed') \gset old_
SELECT id, raw_key FROM apikey_rotate(:'old_id', '1 hour') \gset new_
UPDATE apikeys_data.key SET expires_at = clock_timestamp() WHERE id = :'old_id';
SELECT o.code AS old, n.code AS new FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;

-- A new expiry is the new key's alone.
SELECT id, raw_key FROM apikey_generate('expiry', expires_at => '2100-01-01 00:00+00') \gset old_
SELECT id, raw_key FROM apikey_rotate(:'old_id', '1 hour', '2200-01-01 00:00+00') \gset new_
SELECT o.expires_at < '2100-01-01' AS old, n.expires_at AS new
FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;
SELECT id, raw_key FROM apikey_rotate(expires_at => 'infinity', id => :'new_id') \gset third_
SELECT code FROM apikey_verify(:'third_raw_key', client_ip => '10.0.0.1');
SELECT status, expires_at FROM apikey_get(:'new_id');

-- A disabled key stays disabled, rotated or not.
SELECT id, raw_key FROM apikey_generate('disabled') \gset old_
SELECT status FROM apikey_update(:'old_id', '{"enabled": false}');
SELECT id, raw_key FROM apikey_rotate(:'old_id', '1 hour') \gset new_
SELECT o.code AS old, n.code AS new FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;

-- Of an imported key nothing but the hash is known.
SELECT apikey_import(digest('rotate-imported', 'sha256'), 'imported', 'rot...ted', external_id => 'customer 9') AS old_id \gset
SELECT id, raw_key FROM apikey_rotate(:'old_id', '1 hour') \gset new_
SELECT :'new_raw_key' ~ '^gw-[0-9A-Za-z]{32}$' AS format;
SELECT o.code AS old, n.code AS new, n.external_id, n.name, n.root_id = :'old_id' AS root_id
FROM apikey_verify('rotate-imported') o, apikey_verify(:'new_raw_key') n;

-- Rotated and rolled back: the old key is as it was.
SELECT id, raw_key FROM apikey_generate('undone') \gset old_
BEGIN;
SELECT raw_key FROM apikey_rotate(:'old_id') \gset new_
SELECT o.code AS old, n.code AS new FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;
ROLLBACK;
SELECT o.code AS old, n.code AS new FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;
SELECT name, rotated_at, revoked_at FROM apikeys_data.key WHERE id = :'old_id';

-- Errors.  Whoever asks for one changes nothing.
SELECT count(*) AS n FROM apikey_generate('plain') \gset
SELECT id FROM apikey_generate('revoked already') \gset
SELECT apikey_revoke(:'id');
SELECT id FROM apikey_generate('expired already') \gset
UPDATE apikeys_data.key SET created_at = created_at - interval '1 day', expires_at = clock_timestamp() WHERE id = :'id';
SELECT count(*) AS n FROM apikey_generate('rotated already') g, apikey_rotate(g.id, '1 hour') \gset
SELECT count(*) AS keys FROM apikeys_data.key \gset before_
SELECT count(*) AS events FROM apikeys_data.event WHERE action <> 'rehash' \gset before_
SELECT * FROM test.errors(
  $$SELECT apikey_rotate(NULL)$$,
  $$SELECT apikey_rotate('00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_rotate(test.id('revoked already'))$$,
  $$SELECT apikey_rotate(test.id('revoked already'), '1 hour')$$,
  $$SELECT apikey_rotate(test.id('expired already'))$$,
  $$SELECT apikey_rotate(test.id('expired already'), '1 hour', 'infinity')$$,
  $$SELECT apikey_rotate(test.id('rotated already'))$$,
  $$SELECT apikey_rotate(test.id('rotated already'), '1 hour')$$,
  $$SELECT apikey_rotate(test.id('plain'), '-1 second')$$,
  $$SELECT apikey_rotate(test.id('plain'), '-1 microsecond')$$,
  $$SELECT apikey_rotate(test.id('plain'), '1 day -25 hours')$$,
  $$SELECT apikey_rotate(test.id('plain'), NULL)$$,
  $$SELECT apikey_rotate(test.id('plain'), expires_at => clock_timestamp())$$,
  $$SELECT apikey_rotate(test.id('plain'), expires_at => now() - interval '1 day')$$,
  $$SELECT apikey_rotate(test.id('plain'), '1 hour', '-infinity')$$
);
\set VERBOSITY sqlstate
SELECT apikey_rotate('00000000-0000-0000-0000-00000000dead');
SELECT apikey_rotate(test.id('rotated already'));
\set VERBOSITY default
SELECT apikey_delete(test.id('rotated already'));
SELECT count(*) = :before_keys - 1 AS no_key FROM apikeys_data.key;
SELECT count(*) = :before_events + 1 AS no_event FROM apikeys_data.event WHERE action <> 'rehash';

-- The life of a key in its grace can be cut, and not extended.
SELECT id FROM apikey_generate('rotate grace') \gset grace_
SELECT count(*) FROM apikey_rotate(:'grace_id', '1 hour');
SELECT replace(e, :'grace_id', 'GRACE') AS error FROM test.errors(
  format('SELECT apikey_update(%L, %L)', :'grace_id', '{"expires_at": "2100-01-01Z"}'),
  format('SELECT apikey_update(%L, %L)', :'grace_id', '{"expires_at": null}')) e;
SELECT expires_at < now() + interval '31 minutes' AS cut FROM apikey_update(:'grace_id', jsonb_build_object('expires_at', now() + interval '30 minutes'));

-- An imported key may have any masked form.  The prefix of one that could be ours goes on.
CREATE TABLE test.masked AS
SELECT masked, (apikey_rotate(apikey_import(digest('rotate ' || masked, 'sha256'), 'rotate masked', masked))).id
FROM unnest('{their-a...wxyz,xa...wxyz,their.a...wxyz,their-a..wwxyz,their-ab...wxyz,a...wxyz,short,a}'::text[]) masked;
SELECT masked, k.key_prefix LIKE left(masked, -8) || '_...____' AS same, k.key_prefix LIKE 'gw-_...____' AS ours
FROM test.masked m, LATERAL apikey_get(m.id) k;
DROP TABLE test.masked;

-- Its successor, once the old one is gone, keeps its root.
SELECT id, raw_key FROM apikey_generate('gone') \gset old_
SELECT id, raw_key FROM apikey_rotate(:'old_id') \gset new_
SELECT apikey_delete(:'old_id');
SELECT code, root_id = :'old_id' AS root_id FROM apikey_verify(:'new_raw_key', client_ip => '10.0.0.1');
SELECT count(*) AS rotated FROM apikey_rotate(:'new_id');
DELETE FROM apikeys_data.budget;
