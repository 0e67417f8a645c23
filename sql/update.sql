-- apikey_update
-- The budgets that keys are to point to.
INSERT INTO apikeys_data.budget (id, name, max_cost) VALUES
  ('00000000-0000-0000-0000-000000000003', 'budget 03', 1000),
  ('00000000-0000-0000-0000-000000000013', 'budget 13', 1000),
  ('00000000-0000-0000-0000-000000000023', 'budget 23', 1000);
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT id, raw_key FROM apikey_generate('update', 'described', '00000000-0000-0000-0000-000000000001',
  '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000003',
  '{"is_admin": true}', '{"requests_per_minute": 0}', '2100-01-02 03:04:05+00',
  '{"a": 1}', 'customer 1', '{10.0.0.0/8}') \gset

-- What changes does to a key, member by member; the others stay.
CREATE FUNCTION test.changed(key_name text, changes jsonb) RETURNS TABLE (member text, value jsonb)
LANGUAGE plpgsql AS $$
DECLARE
  before jsonb;
BEGIN
  SELECT to_jsonb(k) INTO before FROM apikeys_data.key k WHERE k.name = key_name;
  PERFORM apikey_update(test.id(key_name), changes);
  RETURN QUERY SELECT a.key, a.value FROM apikeys_data.key k, jsonb_each(to_jsonb(k)) a
  WHERE k.name = key_name AND a.value <> before -> a.key AND a.key <> 'updated_at' ORDER BY a.key;
END $$;
SELECT c.member, changed.member AS changed, changed.value AS "to"
FROM (VALUES ('description', '"new"'::jsonb),
             ('user_id', '"00000000-0000-0000-0000-000000000011"'),
             ('team_id', '"00000000-0000-0000-0000-000000000012"'),
             ('budget_id', '"00000000-0000-0000-0000-000000000013"'),
             ('external_id', '"customer 2"'),
             ('permissions', '{"allowed_models": ["gpt-*"]}'),
             ('rate_limits', '{"tokens_per_day": 0}'),
             ('expires_at', '"2101-01-02 03:04:05+00"'),
             ('metadata', '{"b": [2]}'),
             ('allowed_ips', '["::1", "192.168.0.0/16"]'),
             ('enabled', 'false')) AS c(member, given),
     LATERAL test.changed('update', jsonb_build_object(c.member, given)) changed;
SELECT * FROM test.changed('update', '{}');
SELECT * FROM test.changed('update', '{"enabled": true, "name": "update"}');

-- All at once; the result is the row of apikeys.info.
SELECT u.id = :'id' AS id, u.name, u.description, u.user_id, u.team_id, u.budget_id, u.external_id,
       u.status, u.permissions, u.rate_limits, u.metadata, u.allowed_ips, u.expires_at,
       u.updated_at > u.created_at AS updated, u.revoked_at, u.last_used_at
FROM apikey_update(:'id', '{"name": "update all", "description": "d", "user_id": "00000000-0000-0000-0000-000000000021",
  "team_id": "00000000-0000-0000-0000-000000000022", "budget_id": "00000000-0000-0000-0000-000000000023",
  "external_id": "customer 3", "permissions": {"custom_permissions": ["a", "b*"]}, "rate_limits": {},
  "expires_at": "2102-01-01T00:00:00Z", "metadata": {"c": null}, "allowed_ips": ["10.1.2.3"], "enabled": false}') u \gx
SELECT code FROM apikey_verify(:'raw_key');
SELECT to_jsonb(u) AS info FROM apikey_update(id => :'id', changes => '{"enabled": true}') u \gset updated_
SELECT to_jsonb(i) = :'updated_info' AS info FROM apikeys.info i WHERE id = :'id';
SELECT code, name, external_id FROM apikey_verify(:'raw_key', client_ip => '10.1.2.3');

-- Null clears, member by member.
SELECT member, (SELECT to_jsonb(u) -> member FROM apikey_update(:'id', jsonb_build_object(member, NULL)) u) AS now
FROM unnest('{description,user_id,team_id,budget_id,external_id,permissions,rate_limits,expires_at,metadata,allowed_ips}'::text[]) member;
SELECT description, user_id, team_id, budget_id, external_id, permissions, rate_limits, expires_at, metadata, allowed_ips, enabled
FROM apikeys_data.key WHERE id = :'id' \gx
SELECT code FROM apikey_verify(:'raw_key');

-- Infinity is never; a date is read as in SQL.
SELECT status FROM apikey_update(:'id', '{"expires_at": "infinity"}');
SELECT expires_at FROM apikey_update(:'id', '{"expires_at": "2100-02-03"}');

-- The longest values.
SELECT length(name), length(description), length(external_id)
FROM apikey_update(:'id', jsonb_build_object('name', repeat(chr(252), 255), 'description', repeat(chr(252), 1000),
  'external_id', repeat(chr(252), 255)));
SELECT name FROM apikey_update(:'id', '{"name": "update", "description": null, "external_id": null}');

-- An event for each change.
SELECT count(*) AS events FROM apikeys_data.event WHERE key_id = :'id' \gset before_
SELECT name FROM apikey_update(:'id', '{"description": "for the log"}');
SELECT count(*) - :before_events AS events FROM apikeys_data.event WHERE key_id = :'id';
SELECT DISTINCT action FROM apikeys_data.event WHERE key_id = :'id' ORDER BY action;

-- Editing is not using, and does not change what identifies the key.
SELECT id, coalesce(root_id, id) AS root_id, key_hash, key_prefix, created_at FROM apikeys_data.key WHERE id = :'id' \gset before_
SELECT id FROM apikey_generate('update unused') \gset unused_
SELECT last_used_at FROM apikey_update(:'unused_id', '{"description": "edited"}');
SELECT name FROM apikey_update(:'id', '{"metadata": {"n": 1}}');
SELECT id = :'before_id' AND coalesce(root_id, id) = :'before_root_id' AND key_hash = :'before_key_hash'
       AND key_prefix = :'before_key_prefix' AND created_at = :'before_created_at' AS same
FROM apikeys_data.key WHERE id = :'id';

-- An expired key can be renamed, and brought back.
SELECT id, raw_key FROM apikey_generate('update expired') \gset expired_
UPDATE apikeys_data.key SET created_at = created_at - interval '1 day', expires_at = clock_timestamp() WHERE id = :'expired_id';
SELECT name, status FROM apikey_update(:'expired_id', '{"name": "update expired 2"}');
SELECT status FROM apikey_update(:'expired_id', '{"expires_at": null}');
SELECT code FROM apikey_verify(:'expired_raw_key');

-- Errors.  None of them changes anything.
SELECT id FROM apikey_generate('update revoked') \gset revoked_
SELECT apikey_revoke(:'revoked_id');
SELECT k::text AS key FROM apikeys_data.key k WHERE id = :'id' \gset before_
SELECT count(*) AS events FROM apikeys_data.event WHERE action <> 'rehash' \gset before_
SELECT * FROM test.errors(
  $$SELECT apikey_update(NULL, '{}')$$,
  $$SELECT apikey_update(test.id('update'), NULL)$$,
  $$SELECT apikey_update('00000000-0000-0000-0000-00000000dead', '{}')$$,
  $$SELECT apikey_update(test.id('update revoked'), '{"description": "too late"}')$$,
  $$SELECT apikey_update(test.id('update revoked'), '{}')$$,
  $$SELECT apikey_update(test.id('update'), '[]')$$,
  $$SELECT apikey_update(test.id('update'), '"name"')$$,
  $$SELECT apikey_update(test.id('update'), 'null')$$,
  $$SELECT apikey_update(test.id('update'), '[{"name": "n"}]')$$
);

-- Members that are not there, or not to be changed.
SELECT * FROM test.errors(
  $$SELECT apikey_update(test.id('update'), '{"nmae": "n"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"": 1}')$$,
  $$SELECT apikey_update(test.id('update'), '{"Name": "n"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"description": "good", "revoked_at": null}')$$
);
SELECT member, left(e, 54) AS error
FROM unnest('{id,root_id,rotated_from,key_hash,key_prefix,created_at,updated_at,revoked_at,status,raw_key,prefix}'::text[]) member,
     LATERAL (SELECT string_agg(btrim(e), '; ') FROM test.errors(format('SELECT apikey_update(test.id(''update''), %L)', jsonb_build_object(member, NULL))) WITH ORDINALITY AS t(e, n) WHERE n = 2) x(e)
ORDER BY member COLLATE "C";

-- Every member against every type that is not its own.
SELECT member, given, regexp_replace(btrim(message), '^22023 ', '') AS message, btrim(detail) AS detail
FROM (VALUES ('name', 'string'), ('description', 'string'), ('user_id', 'string'), ('team_id', 'string'),
             ('budget_id', 'string'), ('external_id', 'string'), ('permissions', 'object'), ('rate_limits', 'object'),
             ('expires_at', 'string'), ('metadata', 'object'), ('allowed_ips', 'array'), ('enabled', 'boolean')) m(member, type),
     (VALUES ('string', '"\\x"'::jsonb), ('number', '1.5'), ('boolean', 'true'), ('array', '[1]'), ('object', '{"a": 1}')) j(given, value),
     LATERAL (SELECT max(e) FILTER (WHERE n = 2), max(e) FILTER (WHERE n = 3)
              FROM test.errors(format('SELECT apikey_update(test.id(''update''), %L)', jsonb_build_object(member, value)))
                WITH ORDINALITY AS t(e, n)) e(message, detail)
WHERE type <> given
ORDER BY member COLLATE "C", given COLLATE "C";

-- Right type, bad value.
SELECT * FROM test.errors(
  $$SELECT apikey_update(test.id('update'), '{"name": null}')$$,
  $$SELECT apikey_update(test.id('update'), '{"name": ""}')$$,
  $$SELECT apikey_update(test.id('update'), jsonb_build_object('name', repeat('x', 256)))$$,
  $$SELECT apikey_update(test.id('update'), '{"description": ""}')$$,
  $$SELECT apikey_update(test.id('update'), jsonb_build_object('description', repeat('x', 1001)))$$,
  $$SELECT apikey_update(test.id('update'), '{"external_id": ""}')$$,
  $$SELECT apikey_update(test.id('update'), jsonb_build_object('external_id', repeat('x', 256)))$$,
  $$SELECT apikey_update(test.id('update'), '{"user_id": "me"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"team_id": ""}')$$,
  $$SELECT apikey_update(test.id('update'), '{"budget_id": "00000000-0000-0000-0000-00000000000"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"permissions": {"is_admin": 1}}')$$,
  $$SELECT apikey_update(test.id('update'), '{"permissions": {"nothing": 1}}')$$,
  $$SELECT apikey_update(test.id('update'), '{"rate_limits": {"tokens_per_day": -1}}')$$,
  $$SELECT apikey_update(test.id('update'), '{"expires_at": "2001-01-01 00:00:00+00"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"expires_at": "-infinity"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"expires_at": "never"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"expires_at": "2100-13-01"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"expires_at": "300000-01-01"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"budget_id": "00000000-0000-0000-0000-00000000dead"}')$$,
  $$SELECT apikey_update(test.id('update'), '{"allowed_ips": []}')$$,
  $$SELECT apikey_update(test.id('update'), '{"allowed_ips": ["10.0.0.256"]}')$$,
  $$SELECT apikey_update(test.id('update'), '{"allowed_ips": ["::1", null]}')$$,
  $$SELECT apikey_update(test.id('update'), '{"allowed_ips": [["::1"]]}')$$,
  $$SELECT apikey_update(test.id('update'), '{"allowed_ips": ["::1", ""]}')$$,
  $$SELECT apikey_update(test.id('update'), '{"enabled": null}')$$
);
\set VERBOSITY sqlstate
SELECT apikey_update(test.id('update revoked'), '{}');
SELECT apikey_update(test.id('update'), '{"description": "good", "enabled": "bad"}');
BEGIN TRANSACTION READ ONLY;
SELECT apikey_update(test.id('update'), '{"description": "read only"}');
ROLLBACK;
\set VERBOSITY default
SELECT k::text = :'before_key' AS unchanged FROM apikeys_data.key k WHERE id = :'id';
SELECT count(*) - :before_events AS events FROM apikeys_data.event WHERE action <> 'rehash';

-- An administrator's UPDATE of the table cannot break what verify relies on.
SELECT * FROM test.errors(
  $$UPDATE apikeys_data.key SET id = NULL WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET name = NULL WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET name = '' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET name = repeat('x', 256) WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET description = '' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET description = repeat('x', 1001) WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET external_id = '' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET external_id = repeat('x', 256) WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET key_hash = NULL WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET key_hash = substr(key_hash, 2) WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET key_hash = key_hash || '\x00' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET key_prefix = NULL WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET key_prefix = '' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET key_prefix = repeat('x', 33) WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET key_prefix = chr(252) WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET key_prefix = E'a\n' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET hash_secret = '' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET hash_secret = 'a b' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET permissions = NULL WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET permissions = '[]' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET permissions = '{"is_root": true}' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET permissions = '{"allowed_models": "*"}' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET rate_limits = NULL WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET rate_limits = 'null' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET rate_limits = '{"tokens_per_minute": -1}' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET metadata = NULL WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET metadata = '[]' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET metadata = 'null' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET allowed_ips = '{}' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET allowed_ips = '{10.0.0.1,NULL}' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET allowed_ips = '{{10.0.0.1},{10.0.0.2}}' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET allowed_ips = '{{10.0.0.1},{NULL}}' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET enabled = NULL WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET expires_at = '-infinity' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET created_at = NULL WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET created_at = 'infinity' WHERE name = 'update'$$,
  $$UPDATE apikeys_data.key SET key_hash = (SELECT k.key_hash FROM apikeys_data.key k WHERE k.name = 'update unused') WHERE name = 'update'$$
);
SELECT k::text = :'before_key' AS unchanged FROM apikeys_data.key k WHERE id = :'id';
SELECT code FROM apikey_verify(:'raw_key');
DROP FUNCTION test.changed;

-- A raw key is not stored, wherever it is pasted.
SELECT v.member, btrim(x.e) AS error
FROM (VALUES (1, 'name', to_jsonb(:'raw_key'::text)),
             (2, 'description', to_jsonb('the key is ' || :'raw_key' || '.')),
             (3, 'external_id', to_jsonb('x' || :'raw_key')),
             (4, 'metadata', jsonb_build_object('key', :'raw_key')),
             (5, 'metadata', jsonb_build_object(:'raw_key', 1)),
             (6, 'permissions', jsonb_build_object('custom_permissions', jsonb_build_array(:'raw_key')))) AS v(n, member, value),
     LATERAL test.errors(format('SELECT apikey_update(%L, %L)', :'id', jsonb_build_object(v.member, v.value))) WITH ORDINALITY AS x(e, n)
WHERE x.n = 2 ORDER BY v.n;
SELECT count(*) FROM apikeys_data.key k WHERE to_jsonb(k)::text LIKE '%' || :'raw_key' || '%';
DELETE FROM apikeys_data.budget;
