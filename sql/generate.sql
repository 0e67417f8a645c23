-- apikey_generate
-- The budgets that keys are to point to.
INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES
  ('00000000-0000-0000-0000-000000000003', 'budget 03', 1000);
-- A name is enough.
SELECT id, raw_key FROM apikey_generate('first') \gset
SELECT :'raw_key' ~ '^gw-[0-9A-Za-z]{32}$' AS format,
       :'id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' AS id;

-- The hash is stored, the raw key is not.
SELECT test.is_hash_of(:'raw_key', k.key_hash, k.hash_secret) AS hash,
       key_prefix = 'gw-' || substr(:'raw_key', 4, 1) || '...' || right(:'raw_key', 4) AS masked,
       strpos(k::text, :'raw_key') AS raw_key_in_row,
       strpos(encode(k::text::bytea, 'hex'), encode(substr(:'raw_key', 8, 20)::bytea, 'hex')) AS part_in_row
FROM apikeys_data.key k WHERE id = :'id';
SELECT count(*) AS events, bool_or(strpos(e::text, substr(:'raw_key', 8, 20)) > 0) AS raw_key_in_event
FROM apikeys_data.event e WHERE key_id = :'id';

-- What was not given.
SELECT root_id IS NULL AS is_root, rotated_from, rotated_at, name, description,
       user_id, team_id, budget_id, external_id, permissions, rate_limits,
       metadata, allowed_ips, enabled, expires_at, revoked_at,
       updated_at IS NULL AS as_made,
       created_at BETWEEN now() - interval '1 hour' AND clock_timestamp() AS just_now
FROM apikeys_data.key WHERE id = :'id' \gx
SELECT action FROM apikeys_data.event WHERE key_id = :'id';

-- Every argument, by name and by place.
SELECT g.id FROM apikey_generate(
  prefix => 'sk_', allowed_ips => '{10.0.0.0/8,::1}', external_id => 'customer 7',
  metadata => '{"a": [1, {"b": null}]}', expires_at => '2100-01-02 03:04:05+00',
  rate_limits => '{"requests_per_minute": 0}', permissions => '{"is_admin": true}',
  budget_id => '00000000-0000-0000-0000-000000000003', team_id => '00000000-0000-0000-0000-000000000002',
  user_id => '00000000-0000-0000-0000-000000000001', description => 'all of it', name => 'by name') g,
  LATERAL (SELECT raw_key ~ '^sk_[0-9A-Za-z]{32}$' AS format) f \gset by_name_
SELECT id FROM apikey_generate('by place', 'all of it', '00000000-0000-0000-0000-000000000001',
  '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000003',
  '{"is_admin": true}', '{"requests_per_minute": 0}', '2100-01-02 03:04:05+00',
  '{"a": [1, {"b": null}]}', 'customer 7', '{10.0.0.0/8,::1}', 'sk_') \gset by_place_
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT name, left(key_prefix, 3) AS prefix, description, user_id, team_id,
       budget_id, external_id, permissions, rate_limits, metadata,
       allowed_ips, expires_at, enabled
FROM apikeys_data.key WHERE id IN (:'by_name_id', :'by_place_id') ORDER BY name \gx
RESET timezone;
RESET datestyle;

-- A null document is the empty one, a null list is none, a null prefix is the
-- setting's.
SELECT id, raw_key FROM apikey_generate('nulls', permissions => NULL, rate_limits => NULL, metadata => NULL,
  allowed_ips => NULL, prefix => NULL) \gset
SELECT permissions, rate_limits, metadata, allowed_ips, :'raw_key' ~ '^gw-' AS prefix
FROM apikeys_data.key WHERE id = :'id';

-- The prefix: the argument goes before the setting.
SET apikeys.key_prefix = 'acme_live-';
SELECT raw_key ~ '^acme_live-[0-9A-Za-z]{32}$' AS setting FROM apikey_generate('p1');
SELECT raw_key ~ '^Z[0-9A-Za-z]{32}$' AS one FROM apikey_generate('p2', prefix => 'Z');
SELECT raw_key ~ '^abcdefghijklmnopqrstuv_-[0-9A-Za-z]{32}$' AS longest
FROM apikey_generate('p3', prefix => 'abcdefghijklmnopqrstuv_-');
RESET apikeys.key_prefix;
SHOW apikeys.key_prefix;
SELECT * FROM test.errors(
  $$SET apikeys.key_perfix = 'gw-'$$,
  $$SET apikeys.key_prefix = ''$$,
  $$SET apikeys.key_prefix = 'gw.'$$,
  $$SET apikeys.key_prefix = 'two words'$$,
  $$SET apikeys.key_prefix = 'abcdefghijklmnopqrstuvwxy'$$,
  $$SET apikeys.key_prefix = E'gw\t'$$,
  $$SELECT apikey_generate('p', prefix => '')$$,
  $$SELECT apikey_generate('p', prefix => 'gw ')$$,
  $$SELECT apikey_generate('p', prefix => 'gw%')$$,
  $$SELECT apikey_generate('p', prefix => 'gw-' || chr(10))$$,
  $$SELECT apikey_generate('p', prefix => chr(65351) || '-')$$,
  $$SELECT apikey_generate('p', prefix => 'abcdefghijklmnopqrstuvwxy')$$,
  $$SELECT apikey_generate('p', prefix => repeat('x', 100000))$$
);

-- The last five characters are the checksum of all others, whatever the
-- prefix; and key_prefix is the mask.
CREATE TEMPORARY TABLE made AS
SELECT prefix, g.id, g.raw_key
FROM unnest('{gw-,x,_,-,abcdefghijklmnopqrstuvwx}'::text[]) prefix,
     generate_series(1, 40) n, LATERAL apikey_generate(prefix || n, prefix => prefix) g;
SELECT prefix, count(*) AS keys,
       bool_and(right(raw_key, 5) = test.checksum(left(raw_key, -5))) AS checksum,
       bool_and(k.key_prefix = prefix || substr(raw_key, length(prefix) + 1, 1) || '...' || right(raw_key, 4)) AS masked,
       bool_and(test.is_hash_of(raw_key, k.key_hash, k.hash_secret)) AS hash
FROM made JOIN apikeys_data.key k USING (id)
GROUP BY prefix ORDER BY prefix COLLATE "C";

-- The longest values, counted in characters and not in bytes.
SELECT id FROM apikey_generate(repeat(chr(252), 255), repeat(chr(128273), 1000), external_id => repeat(chr(8364), 255)) \gset
SELECT length(name), length(description), length(external_id) FROM apikeys_data.key WHERE id = :'id';
SELECT id FROM apikey_generate('x', 'x', external_id => 'x') \gset
SELECT id FROM apikey_generate(' x ', E'\n', external_id => ' ') \gset
SELECT length(name), length(description), length(external_id) FROM apikeys_data.key WHERE id = :'id';

-- Infinity is never; the next moment is a future.
SELECT id, raw_key FROM apikey_generate('infinity', expires_at => 'infinity') \gset
SELECT code FROM apikey_verify(:'raw_key');
SELECT count(*) FROM apikey_generate('soon', expires_at => clock_timestamp() + interval '1 minute');

-- Bad input.
SELECT count(*) AS keys FROM apikeys_data.key \gset before_
SELECT count(*) AS events FROM apikeys_data.event WHERE action <> 'rehash' \gset before_
SELECT * FROM test.errors(
  $$SELECT apikey_generate(NULL)$$,
  $$SELECT apikey_generate('')$$,
  $$SELECT apikey_generate(repeat('x', 256))$$,
  $$SELECT apikey_generate(repeat(chr(252), 256))$$,
  $$SELECT apikey_generate(repeat('x', 1000000))$$,
  $$SELECT apikey_generate('n', '')$$,
  $$SELECT apikey_generate('n', repeat('x', 1001))$$,
  $$SELECT apikey_generate('n', external_id => '')$$,
  $$SELECT apikey_generate('n', external_id => repeat('x', 256))$$,
  $$SELECT apikey_generate('n', expires_at => clock_timestamp())$$,
  $$SELECT apikey_generate('n', expires_at => now() - interval '1 day')$$,
  $$SELECT apikey_generate('n', expires_at => '-infinity')$$,
  $$SELECT apikey_generate('n', metadata => '[]')$$,
  $$SELECT apikey_generate('n', metadata => '"text"')$$,
  $$SELECT apikey_generate('n', metadata => 'null')$$,
  $$SELECT apikey_generate('n', allowed_ips => '{}')$$,
  $$SELECT apikey_generate('n', allowed_ips => '{10.0.0.1,NULL}')$$,
  $$SELECT apikey_generate('n', budget_id => '00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_generate('n', allowed_ips => '{{10.0.0.1},{10.0.0.2}}')$$,
  $$SELECT apikey_generate('n', permissions => '[]')$$,
  $$SELECT apikey_generate('n', permissions => '{"is_admn": true}')$$,
  $$SELECT apikey_generate('n', permissions => '{"is_admin": "yes"}')$$,
  $$SELECT apikey_generate('n', rate_limits => '7')$$,
  $$SELECT apikey_generate('n', rate_limits => '{"requests_per_minute": -1}')$$,
  $$SELECT apikey_generate('n', rate_limits => '{"requests_per_second": 1}')$$
);
\set VERBOSITY sqlstate
SELECT apikey_generate(NULL);
SELECT apikey_generate('n', rate_limits => '{"requests_per_minute": -1}');
\set VERBOSITY default

-- ... leaves nothing behind, and neither does a transaction that ends badly.
BEGIN;
SELECT raw_key FROM apikey_generate('rolled back') \gset
ROLLBACK;
SELECT code FROM apikey_verify(:'raw_key');
BEGIN TRANSACTION READ ONLY;
\set VERBOSITY sqlstate
SELECT apikey_generate('read only');
\set VERBOSITY default
ROLLBACK;
SELECT count(*) = :before_keys AS no_key FROM apikeys_data.key;
SELECT count(*) = :before_events AS no_event FROM apikeys_data.event WHERE action <> 'rehash';

-- A name may be given twice.
SELECT count(DISTINCT id) FROM (SELECT * FROM apikey_generate('twin') UNION ALL SELECT * FROM apikey_generate('twin')) twins;

-- 100,000 keys are all different, and at each of the 27 random places every
-- character of the alphabet is about equally frequent: chi-square with 61
-- degrees of freedom.  True randomness passes the bound of 170 at one of the
-- 27 places once in 10 billion runs.
BEGIN;
CREATE TEMPORARY TABLE sample AS
SELECT raw_key FROM generate_series(1, 100000) n, LATERAL apikey_generate('sample ' || n);
SELECT count(*) AS keys, count(DISTINCT raw_key) AS different,
       count(DISTINCT left(raw_key, 30)) AS different_random_parts,
       bool_and(raw_key ~ '^gw-[0-9A-Za-z]{32}$') AS format
FROM sample;
WITH observed AS (
  SELECT place, substr(raw_key, 3 + place, 1) AS letter, count(*) AS n
  FROM sample, generate_series(1, 27) place
  GROUP BY place, letter
), place AS (
  SELECT place, count(*) AS letters,
         sum((n - 100000 / 62.0) ^ 2) / (100000 / 62.0) AS chi_square
  FROM observed GROUP BY place
)
SELECT count(*) AS places, min(letters) AS letters, bool_and(chi_square < 170) AS even FROM place;
ROLLBACK;
DELETE FROM apikeys_data.budget;
