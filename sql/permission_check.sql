-- What verify says of a request: FORBIDDEN and INSUFFICIENT_PERMISSIONS

SELECT apikey_import(digest('permit-' || name, 'sha256'), 'permit ' || name, name,
                     permissions => permissions, allowed_ips => ips) IS NOT NULL AS made
FROM (VALUES
  ('free', '{}'::jsonb, NULL::inet[]),
  ('lists', '{"allowed_models": ["gpt-4*", "o1"], "allowed_endpoints": ["/v1/chat"], "max_tokens_per_request": 1000,
              "custom_permissions": ["files:*", "admin-read"]}', NULL),
  ('admin', '{"allowed_models": ["o1"], "is_admin": true}', NULL),
  ('all', apikey_permissions_preset('full_access'), NULL),
  ('home', '{}', '{10.0.0.0/8,192.168.1.7,2001:db8::/32}'),
  ('both', '{"allowed_models": ["o1"]}', '{10.0.0.0/8}')
) AS k (name, permissions, ips);

CREATE TABLE test.request (number integer GENERATED ALWAYS AS IDENTITY, key text, model text, endpoint text,
  required text[], tokens bigint, client_ip text);
INSERT INTO test.request (key, model, endpoint, required, tokens, client_ip) VALUES
  -- a key that says nothing permits all but what must be given to it by name
  ('free', 'any', '/any', NULL, 9223372036854775807, '1.2.3.4'),
  ('free', NULL, NULL, '{}', 0, NULL),
  ('free', NULL, NULL, '{files:read}', NULL, NULL),
  -- models, by name and by prefix
  ('lists', 'gpt-4', NULL, NULL, NULL, NULL),
  ('lists', 'gpt-4o-mini', NULL, NULL, NULL, NULL),
  ('lists', 'gpt-3', NULL, NULL, NULL, NULL),
  ('lists', 'o1', NULL, NULL, NULL, NULL),
  ('lists', 'o1-mini', NULL, NULL, NULL, NULL),
  ('lists', 'O1', NULL, NULL, NULL, NULL),
  ('lists', '', NULL, NULL, NULL, NULL),
  -- endpoints
  ('lists', NULL, '/v1/chat', NULL, NULL, NULL),
  ('lists', NULL, '/v1/chat/completions', NULL, NULL, NULL),
  ('lists', NULL, '', NULL, NULL, NULL),
  -- required permissions: all of them
  ('lists', NULL, NULL, '{files:read}', NULL, NULL),
  ('lists', NULL, NULL, '{files:read,files:write,admin-read}', NULL, NULL),
  ('lists', NULL, NULL, '{files:read,admin-write}', NULL, NULL),
  ('lists', NULL, NULL, '{NULL}', NULL, NULL),
  ('lists', NULL, NULL, '{{files:read,other},{files:write,admin-read}}', NULL, NULL),
  -- tokens
  ('lists', NULL, NULL, NULL, 1000, NULL),
  ('lists', NULL, NULL, NULL, 1001, NULL),
  ('lists', NULL, NULL, NULL, 3000000000, NULL),
  -- an administrator needs no permission by name; his lists hold
  ('admin', 'o1', '/any', '{whatever}', 5, NULL),
  ('admin', 'gpt-4', NULL, '{whatever}', NULL, NULL),
  ('all', 'anything', '/anything', NULL, NULL, NULL),
  -- addresses, v4 and v6
  ('home', NULL, NULL, NULL, NULL, '10.1.2.3'),
  ('home', NULL, NULL, NULL, NULL, '10.0.0.0/8'),
  ('home', NULL, NULL, NULL, NULL, '10.0.0.0/7'),
  ('home', NULL, NULL, NULL, NULL, '192.168.1.7'),
  ('home', NULL, NULL, NULL, NULL, '192.168.1.8'),
  ('home', NULL, NULL, NULL, NULL, '2001:db8:1::1'),
  ('home', NULL, NULL, NULL, NULL, '2001:db9::1'),
  ('home', NULL, NULL, NULL, NULL, NULL),
  ('home', NULL, NULL, NULL, NULL, ''),
  ('home', NULL, NULL, NULL, NULL, 'unknown'),
  ('home', NULL, NULL, NULL, NULL, '::ffff:10.1.2.3'),
  ('home', NULL, NULL, NULL, NULL, '[2001:db8:1::1]:443'),
  -- the address comes first
  ('both', 'gpt-4', NULL, NULL, NULL, '11.0.0.1'),
  ('both', 'gpt-4', NULL, NULL, NULL, '10.0.0.1'),
  ('both', 'o1', NULL, NULL, NULL, '10.0.0.1'),
  -- a long name is cut where it is repeated
  ('both', repeat('long', 1000), NULL, NULL, NULL, '10.0.0.1');

-- Twice: from the table and from the cache.
SELECT r.number, r.key, v.code, v.reason
FROM test.request r, apikey_verify('permit-' || r.key, r.model, r.endpoint, r.required, r.tokens, r.client_ip) v
ORDER BY r.number;
SET apikeys.cache = off;
CREATE TABLE test.uncached AS
SELECT r.number, v.code, v.reason
FROM test.request r, apikey_verify('permit-' || r.key, r.model, r.endpoint, r.required, r.tokens, r.client_ip) v;
RESET apikeys.cache;
SELECT count(*) FILTER (WHERE (u.code, u.reason) IS DISTINCT FROM (v.code, v.reason)) AS differ, count(*) > 30 AS many
FROM test.request r JOIN test.uncached u USING (number),
     apikey_verify('permit-' || r.key, r.model, r.endpoint, r.required, r.tokens, r.client_ip) v;

-- any_permissions: one of them, beside all that are required.
SELECT r.key, r.required, r.any_of, v.code, v.reason
FROM (VALUES
  ('lists', NULL::text[], '{files:read}'::text[]),
  ('lists', NULL, '{other,admin-write,files:write}'),
  ('lists', NULL, '{{other,admin-write},{another,admin-read}}'),
  ('lists', NULL, '{other,admin-write}'),
  ('lists', NULL, '{files:read,NULL}'),
  ('lists', NULL, '{}'),
  ('lists', '{admin-read}', '{files:read,other}'),
  ('lists', '{other}', '{files:read}'),
  ('lists', '{admin-read}', '{other}'),
  ('free', NULL, '{files:read}'),
  ('admin', NULL, '{whatever}')) AS r (key, required, any_of),
  apikey_verify('permit-' || r.key, model => CASE r.key WHEN 'admin' THEN 'o1' END,
                required_permissions => r.required, any_permissions => r.any_of) v;

-- The key's columns come with the refusal, which is not a use.
SELECT apikey_import(digest('permit-refused', 'sha256'), 'permit refused', 'refused', allowed_ips => '{10.0.0.1}') AS id \gset
SELECT code, valid, name, id = :'id' AS id, retry_after, reservation FROM apikey_verify('permit-refused', client_ip => '1.1.1.1');
SELECT last_used_at IS NOT NULL AS used FROM apikey_usage(:'id');
SELECT code FROM apikey_verify('permit-refused', client_ip => '10.0.0.1');
SELECT (last_used_at IS NOT NULL) = test.keeps_last_use() AS used FROM apikey_usage(:'id');

-- The status comes before the request.
SELECT name FROM apikeys.info i, apikey_revoke(i.id) WHERE i.name = 'permit both';
SELECT code FROM apikey_verify('permit-both', 'gpt-4', client_ip => '11.0.0.1');

-- A change holds from the next verify on.
SELECT u.permissions FROM apikeys.info i, apikey_update(i.id, '{"permissions": {"allowed_models": ["gpt-5"]}}') u WHERE i.name = 'permit lists';
SELECT code, reason FROM apikey_verify('permit-lists', 'gpt-4');
SELECT code, reason FROM apikey_verify('permit-lists', 'gpt-5');

SELECT * FROM test.errors($$SELECT code FROM apikey_verify('permit-free', tokens => -1)$$);

-- A missing model (endpoint) is not checked, so callers pass an empty text for
-- it, which no list matches but one with *.
SELECT apikey_import(digest('permit-star', 'sha256'), 'permit star', 'star',
                     permissions => '{"allowed_models": ["*"], "allowed_endpoints": ["*"]}') IS NOT NULL AS made;
SELECT key, v.code, v.reason, e.code AS with_endpoint, e.reason AS reason, p.model_allowed, p.endpoint_allowed
FROM unnest('{lists,star,free}'::text[]) key,
     apikey_verify('permit-' || key, model => coalesce('{}'::jsonb->>'model', '')) v, apikey_verify('permit-' || key, endpoint => '') e,
     LATERAL (SELECT apikey_model_allowed(v.permissions, '') AS model_allowed, apikey_endpoint_allowed(v.permissions, '') AS endpoint_allowed) p;

-- What drivers send: bigint for any number, varchar for text.
PREPARE request(varchar, varchar, bigint, varchar) AS SELECT code FROM apikey_verify($1, model => $2, tokens => $3, client_ip => $4);
EXECUTE request('permit-free', 'any', 3000000000, '::ffff:10.0.0.1');
DEALLOCATE request;
SELECT code FROM apikey_verify('permit-free', tokens => 100::smallint);
SELECT code FROM apikey_verify('permit-free', tokens => 9223372036854775807);
SELECT code FROM apikey_login('permit-free', tokens => 100::bigint);
-- These need a cast (README.md).
SELECT * FROM test.errors(
  $$SELECT code FROM apikey_verify('permit-free', tokens => 1.5)$$, $$SELECT code FROM apikey_verify('permit-free', tokens => 9223372036854775808)$$,
  $$SELECT code FROM apikey_verify('permit-free', client_ip => '::1'::inet)$$, $$SELECT apikey_record_usage(gen_random_uuid(), cost => 0.018::float8)$$);

-- Many keys have the same few documents, and what they were parsed to is remembered for
-- a while: each key keeps its own lists and networks.
SELECT count(apikey_import(digest('documents-' || n, 'sha256'), 'documents ' || n, 'x',
  permissions => jsonb_build_object('allowed_models', ARRAY['m' || n / 4 % 7], 'custom_permissions', ARRAY['p' || n / 4 % 3, 'q']),
  allowed_ips => CASE WHEN n % 2 + n / 20 > 0 THEN ARRAY[('10.0.' || n % 2 + n / 20 || '.0/24')::cidr::inet, '::1'] END)) AS keys
FROM generate_series(1, 40) n;
SELECT count(*) AS asked, count(*) FILTER (WHERE v.valid) AS valid,
  count(*) FILTER (WHERE v.valid IS DISTINCT FROM (m = n / 4 % 7 AND p = n / 4 % 3 AND (n % 2 + n / 20 = 0 OR ip = n % 2 + n / 20))) AS wrong
FROM generate_series(0, 6) m, generate_series(0, 2) p, generate_series(0, 3) ip, generate_series(1, 40) n,
  LATERAL apikey_verify('documents-' || n, 'm' || m, required_permissions => ARRAY['p' || p], client_ip => '10.0.' || ip || '.9') v;
DELETE FROM apikeys_data.key WHERE name LIKE 'documents %';
