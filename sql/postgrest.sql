-- apikey_pre_request, called as PostgREST calls it: the headers are in
-- request.headers, and the transaction is the request's.
SELECT apikey_import(digest('k-' || name, 'sha256'), 'postgrest ' || name, name, user_id => md5(name)::uuid,
                     permissions => permissions, allowed_ips => ips, budget_id => budget) IS NOT NULL AS made
FROM (VALUES ('a', '{}'::jsonb, NULL::inet[], NULL::uuid),
             ('b', '{}', NULL, NULL),
             ('items', '{"allowed_endpoints": ["/items*"]}', NULL, NULL),
             ('home', '{}', '{10.0.0.0/8}', NULL),
             ('poor', '{}', NULL, apikey_budget_create('postgrest', 0, '1 day'))) k(name, permissions, ips, budget);
SELECT apikey_import(digest('eyJhbGciOiJIUzI1NiJ9.e30.c2ln', 'sha256'), 'postgrest jwt', 'jwt') IS NOT NULL AS made;
SELECT apikey_import(digest('MTIz.abc.def', 'sha256'), 'postgrest dots', 'dots') IS NOT NULL AS made;

-- A request with these headers: whose is it, or what is the error?
CREATE FUNCTION test.request(headers text, path text = '/items') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  detail text;
  hint text;
BEGIN
  PERFORM set_config('request.headers', headers, true), set_config('request.path', path, true);
  PERFORM apikey_pre_request();
  RETURN coalesce((SELECT name FROM apikeys_data.key WHERE id = apikey_current_id()), 'nobody');
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN regexp_replace(concat_ws(' | ', SQLSTATE, SQLERRM, detail, hint), '\m8\d{4}\M', 'N', 'g');
END $$;

-- Where the key is looked for.
SELECT headers, test.request(headers)
FROM unnest(ARRAY[
  '', '{}', '{"accept": "*/*"}',
  '{"x-api-key": "k-a"}',
  '{"X-API-Key": "k-a"}',
  '{"authorization": "Bearer k-a"}',
  '{"authorization": "bearer   k-a"}',
  '{"x-api-key": "k-a", "authorization": "Bearer k-b"}',
  '{"authorization": "Bearer k-b", "x-api-key": "k-a"}',
  -- no second try with the other one
  '{"x-api-key": "wrong", "authorization": "Bearer k-b"}',
  '{"authorization": "Bearer wrong"}',
  -- an empty one is none
  '{"x-api-key": ""}', '{"x-api-key": "", "authorization": "Bearer k-b"}',
  '{"authorization": ""}', '{"authorization": "Bearer"}', '{"authorization": "Bearer "}',
  -- blanks around it are not part of it
  '{"x-api-key": " k-a\t "}', '{"x-api-key": "  ", "authorization": "  Bearer \tk-b  "}', '{"x-api-key": "k -a"}',
  -- another scheme, and a token that is PostgREST's own
  '{"authorization": "Basic azph"}', '{"authorization": "k-a"}', '{"authorization": "Bearerk-a"}',
  '{"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"}',
  '{"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2l+"}',
  '{"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "x-api-key": "k-a"}',
  '{"x-api-key": "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"}',
  '{"authorization": "Bearer MTIz.abc.def"}',
  '{"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30"}',
  -- JSON of all sorts
  '{"x-api-key": "k\u002da"}', '{"x-api-key": "k-b", "x-api-key": "k-a"}',
  '{"x-api-key": ["k-a"]}', '{"x-api-key": {"x-api-key": "k-a"}}', '{"other": {"x-api-key": "k-a"}}', '{"x-api-key": null}', '{"x-api-key": 5}',
  '["x-api-key", "k-a"]', '[{"x-api-key": "k-a"}]', '"k-a"']) headers;

-- What PostgREST makes a status of: the code is in the body's "details".
SELECT apikey_revoke(apikey_import(digest('k-revoked', 'sha256'), 'postgrest revoked', 'x'));
SELECT count(*) FROM apikey_update(apikey_import(digest('k-off', 'sha256'), 'postgrest off', 'x'), '{"enabled": false}');
SELECT apikey_import(digest('k-old', 'sha256'), 'postgrest old', 'x') IS NOT NULL AS made;
UPDATE apikeys_data.key SET expires_at = '2000-01-01' WHERE name = 'postgrest old';
SELECT key, path, test.request(format('{"x-api-key": "k-%s"}', key), path)
FROM (VALUES ('none', '/items'), ('revoked', '/items'), ('old', '/items'), ('off', '/items'), ('home', '/items'), ('poor', '/items'),
             ('items', '/items'), ('items', '/items?a=b'), ('items', ''), ('items', '/rpc/f'), ('items', E'/x\r\nSet-Cookie: a=b')) r(key, path);

-- Headers that are no JSON: the error does not repeat them.
BEGIN;
SET LOCAL "request.headers" = '{"x-api-key": "a-secret';
SELECT * FROM test.errors('SELECT apikey_pre_request()');
ROLLBACK;

-- Without a key there is no identity, not even an earlier one.
BEGIN;
SELECT count(*) FROM apikey_login('k-a');
SELECT apikey_pre_request();
SELECT apikey_current_id();
ROLLBACK;

-- A GET is a READ ONLY transaction.
BEGIN READ ONLY;
SET LOCAL "request.headers" = '{"x-api-key": "k-a"}';
SELECT apikey_pre_request();
SELECT apikey_current_user_id() = md5('a')::uuid AS is_a;
COMMIT;
SELECT apikey_current_user_id();
-- What the last request has left behind: an empty setting.
SELECT current_setting('request.headers') AS headers;
SELECT apikey_pre_request();

-- Another header, or none.
SET apikeys.request_header = 'X-Our-Key';
SELECT test.request('{"x-our-key": "k-a", "x-api-key": "k-b"}');
SELECT test.request('{"x-api-key": "k-b"}');
SET apikeys.request_header = '';
SELECT test.request('{"x-api-key": "k-a"}');
SELECT test.request('{"x-api-key": "k-a", "authorization": "Bearer k-b"}');
SET apikeys.request_header = 'authorization';
SET apikeys.request_header = 'x api key';
RESET apikeys.request_header;

-- The headers about limits: of an error in its DETAIL, else in response.headers.
SELECT name, count(apikey_update(test.id('postgrest ' || name), jsonb_build_object('rate_limits', limits, 'budget_id', budget)))
FROM (VALUES ('a', '{"requests_per_day": 2, "tokens_per_day": 1000}'::jsonb, NULL::uuid),
             ('b', '{}', apikey_budget_create(E'a "quoted"\\ budget', 0.5)),
             ('items', '{"max_concurrent_requests": 1}', NULL)) k(name, limits, budget)
GROUP BY name ORDER BY name;
-- What PostgREST would send: the body of an error, and the headers.
CREATE FUNCTION test.response(key text) RETURNS TABLE (body jsonb, headers text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('request.headers', json_build_object('x-api-key', key)::text, true),
          set_config('request.path', '/items', true), set_config('response.headers', '', true);
  PERFORM apikey_pre_request();
  body = 'null';
  headers = regexp_replace(current_setting('response.headers'), '"(8[0-9]{4}|[0-9]{6})"', '"N"', 'g');
  ASSERT headers = '' OR jsonb_typeof(headers::jsonb) = 'array', headers;
  RETURN NEXT;
EXCEPTION WHEN SQLSTATE 'PGRST' THEN
  GET STACKED DIAGNOSTICS headers = PG_EXCEPTION_DETAIL;
  body = regexp_replace(SQLERRM, '\d+ seconds', 'N seconds');
  headers = regexp_replace(headers::jsonb::text, '"(8[0-9]{4}|[0-9]{6})"', '"N"', 'g');
  RETURN NEXT;
END $$;
SELECT r.* FROM unnest('{k-a,k-a,k-a,k-b,k-items,k-poor}'::text[]) WITH ORDINALITY k(key, n), LATERAL test.response(key) r ORDER BY n;
SELECT apikey_record_usage(test.id('postgrest b'), cost => 0.4);
SELECT * FROM test.response('k-b');
SELECT apikey_record_usage(test.id('postgrest b'), cost => 0.1);
SELECT * FROM test.response('k-b');
-- They end with the transaction.
BEGIN;
SET LOCAL "request.headers" = '{"x-api-key": "k-b"}';
SELECT count(apikey_budget_update(id, '{"max_cost": 7}')) FROM apikeys_data.budget WHERE max_cost = 0.5;
SELECT apikey_pre_request();
SELECT current_setting('response.headers') AS headers;
ROLLBACK;
SELECT current_setting('response.headers') AS headers;
DROP FUNCTION test.response;
