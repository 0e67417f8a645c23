-- apikey_import
-- The budgets that keys are to point to.
INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES
  ('00000000-0000-0000-0000-000000000003', 'budget 03', 1000);
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- A key that was made elsewhere verifies with the text that its owner has.
SELECT apikey_import(digest('their-key-1', 'sha256'), 'import', 'their-k...y-1') AS id \gset
SELECT root_id IS NULL AS is_root, rotated_from, rotated_at, key_hash = digest('their-key-1', 'sha256') AS hash, hash_secret,
       key_prefix, name, description, user_id, team_id, budget_id, external_id, permissions, rate_limits, metadata,
       allowed_ips, enabled, expires_at, created_at BETWEEN now() - interval '1 hour' AND clock_timestamp() AS created, revoked_at
FROM apikeys_data.key WHERE id = :'id' \gx
SELECT action FROM apikeys_data.event WHERE key_id = :'id';
SELECT valid, code, id = :'id' AS id, root_id = :'id' AS root_id, name, key_prefix FROM apikey_verify('their-key-1');
SELECT code FROM apikey_verify('their-key-2');
SELECT code FROM apikey_verify('Their-key-1');

-- Every argument, by name and by place.
SELECT apikey_import(created_at => '2020-02-03 04:05:06+00', allowed_ips => '{10.0.0.0/8}', external_id => 'import 2',
  metadata => '{"from": "there"}', expires_at => '2100-01-01 00:00+00', rate_limits => '{"tokens_per_day": 0}',
  permissions => '{"is_admin": true}', budget_id => '00000000-0000-0000-0000-000000000003',
  team_id => '00000000-0000-0000-0000-000000000002', user_id => '00000000-0000-0000-0000-000000000001',
  description => 'all of it', key_prefix => 'sk_live', name => 'import by name',
  key_hash => digest('their-key-3', 'sha256')) AS id \gset by_name_
SELECT apikey_import(digest('their-key-4', 'sha256'), 'import by place', 'sk_live', 'all of it',
  '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000003',
  '{"is_admin": true}', '{"tokens_per_day": 0}', '2100-01-01 00:00+00', '{"from": "there"}', 'import 2',
  '{10.0.0.0/8}', NULL, '2020-02-03 04:05:06+00') AS id \gset by_place_
SELECT name, key_prefix, description, user_id, team_id, budget_id, external_id, permissions, rate_limits, metadata,
       allowed_ips, expires_at, created_at, updated_at >= created_at AS updated
FROM apikeys_data.key WHERE id IN (:'by_name_id', :'by_place_id') ORDER BY name \gx
SELECT name, code FROM unnest('{their-key-3,their-key-4}'::text[]) t(raw_key), LATERAL apikey_verify(raw_key, client_ip => '10.0.0.1') ORDER BY name;

-- The longest and the shortest; null documents are empty ones.
SELECT count(apikey_import(digest('import ' || n, 'sha256'), n, p, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL))
FROM (VALUES ('import x', 'x'), (repeat('x', 255), repeat('~', 32)), ('import space', ' ')) t(n, p);
SELECT permissions, rate_limits, metadata FROM apikeys_data.key WHERE name = 'import x';

-- A key with a named secret is not found by its plain hash.
SELECT apikey_import(digest('their-key-5', 'sha256'), 'import secret', 'x', hash_secret => 'theirs') IS NOT NULL AS imported;
SELECT code FROM apikey_verify('their-key-5');
SELECT hash_secret FROM apikeys_data.key WHERE name = 'import secret';

-- Known hashes: our own, imported, revoked, of a deleted key.  One that is used
-- gets another hash where the server has a secret, so this is not.
SELECT id AS own_id, raw_key FROM apikey_generate('import own') \gset
SELECT set_config('test.hash', key_hash::text, false) IS NULL AS none FROM apikeys_data.key WHERE id = :'own_id' \gset
SELECT apikey_import(digest('their-key-6', 'sha256'), 'import revoked', 'x') AS id \gset
SELECT apikey_revoke(:'id');
SELECT apikey_import(digest('their-key-7', 'sha256'), 'import unused', 'x') IS NOT NULL AS imported;
SELECT count(*) AS keys FROM apikeys_data.key \gset before_
SELECT count(*) AS events FROM apikeys_data.event WHERE action <> 'rehash' \gset before_
SELECT * FROM test.errors(
  $$SELECT apikey_import(digest('their-key-7', 'sha256'), 'import', 'x')$$,
  $$SELECT apikey_import(digest('their-key-5', 'sha256'), 'import', 'x')$$,
  $$SELECT apikey_import(digest('their-key-6', 'sha256'), 'import', 'x')$$,
  $$SELECT apikey_import(current_setting('test.hash')::bytea, 'import', 'x')$$
);

-- Bad input.
SELECT * FROM test.errors(
  $$SELECT apikey_import(NULL, 'n', 'x')$$,
  $$SELECT apikey_import('', 'n', 'x')$$,
  $$SELECT apikey_import(substr(digest('n', 'sha256'), 2), 'n', 'x')$$,
  $$SELECT apikey_import(digest('n', 'sha256') || '\x00', 'n', 'x')$$,
  $$SELECT apikey_import(digest('n', 'sha512'), 'n', 'x')$$,
  $$SELECT apikey_import(encode(digest('n', 'sha256'), 'hex')::bytea, 'n', 'x')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), NULL, 'x')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), '', 'x')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), repeat('x', 256), 'x')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', NULL)$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', '')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', repeat('x', 33))$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', E'x\n')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', E'\x7f')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', chr(252))$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', '')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', repeat('x', 1001))$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', external_id => '')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', external_id => repeat('x', 256))$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', permissions => '[]')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', rate_limits => '{"tokens_per_day": -1}')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', metadata => '[]')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', allowed_ips => '{NULL}')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', allowed_ips => '{{::1},{::2}}')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', expires_at => now() - interval '1 day')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', expires_at => '-infinity')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', allowed_ips => '{}')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', budget_id => '00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', hash_secret => '')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', hash_secret => 'theirs:')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', hash_secret => ':theirs')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', hash_secret => repeat('x', 64))$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', created_at => 'infinity')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', created_at => '-infinity')$$,
  $$SELECT apikey_import(digest('n', 'sha256'), 'n', 'x', created_at => clock_timestamp() + interval '1 hour')$$
);
\set VERBOSITY sqlstate
SELECT apikey_import(digest('their-key-7', 'sha256'), 'import', 'x');
SELECT apikey_import('short', 'import', 'x');
\set VERBOSITY default
SELECT count(*) = :before_keys AS no_key FROM apikeys_data.key;
SELECT count(*) = :before_events AS no_event FROM apikeys_data.event WHERE action <> 'rehash';

-- A key is looked up by half of its hash.  Another half makes it another key, which
-- takes the place of the first.
SELECT apikey_import(digest('half', 'sha256'), 'half', 'x') AS id \gset half_
SELECT code, id = :'half_id' AS same FROM apikey_verify('half');
UPDATE apikeys_data.key SET key_hash = substr(key_hash, 1, 16) || substr(digest('other half', 'sha256'), 17) WHERE id = :'half_id';
SELECT code, id FROM apikey_verify('half');
SELECT apikey_import(digest('half', 'sha256'), 'half', 'x');
SELECT apikey_delete(:'half_id');

DELETE FROM apikeys_data.budget;
