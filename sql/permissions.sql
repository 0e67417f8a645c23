-- The permissions and rate-limit documents, and what decides by them.

-- No warning of limits where there is no shared memory.
SET client_min_messages = error;

-- Presets.
SELECT preset, apikey_permissions_preset(preset) FROM unnest('{full_access,admin}'::text[]) preset;
SELECT preset, apikey_rate_limits_preset(preset) FROM unnest('{unlimited,standard,premium}'::text[]) preset;
SELECT apikey_permissions_preset(NULL) IS NULL AS permissions, apikey_rate_limits_preset(NULL) IS NULL AS rate_limits;
SELECT count(*) AS usable FROM unnest('{full_access,admin}'::text[]) p, unnest('{unlimited,standard,premium}'::text[]) r,
  LATERAL apikey_generate(p || r, permissions => apikey_permissions_preset(p), rate_limits => apikey_rate_limits_preset(r));
SELECT * FROM test.errors(
  $$SELECT apikey_permissions_preset('root')$$,
  $$SELECT apikey_permissions_preset('Admin')$$,
  $$SELECT apikey_permissions_preset('')$$,
  $$SELECT apikey_permissions_preset('standard')$$,
  $$SELECT apikey_rate_limits_preset('free')$$,
  $$SELECT apikey_rate_limits_preset('full_access')$$,
  $$SELECT apikey_rate_limits_preset('standard ')$$
);

-- A pattern matches exactly, or by prefix when it ends in *.  Models and
-- endpoints are matched alike.
SELECT patterns, subject,
       apikey_model_allowed(jsonb_build_object('allowed_models', patterns), subject) AS model,
       apikey_endpoint_allowed(jsonb_build_object('allowed_endpoints', patterns), subject) AS endpoint
FROM (VALUES
  ('["gpt-4"]'::jsonb, 'gpt-4'),
  ('["gpt-4"]', 'gpt-4o'),
  ('["gpt-4"]', 'gpt-'),
  ('["gpt-4"]', 'GPT-4'),
  ('["gpt-4"]', 'gpt-4 '),
  ('["gpt-4"]', ''),
  ('["gpt-*"]', 'gpt-4'),
  ('["gpt-*"]', 'gpt-'),
  ('["gpt-*"]', 'gpt'),
  ('["gpt-*"]', 'xgpt-4'),
  ('["gpt-*"]', 'Gpt-4'),
  ('["*"]', 'anything'),
  ('["*"]', ''),
  ('["**"]', '*'),
  ('["**"]', 'a'),
  ('["a*b"]', 'a*b'),
  ('["a*b"]', 'axb'),
  ('["*b"]', 'ab'),
  ('["*b"]', '*b'),
  ('["a?"]', 'ab'),
  ('["a%"]', 'ab'),
  ('["a_"]', 'ab'),
  ('["a.*"]', 'ab'),
  ('["a\\*"]', 'a*'),
  ('["/v1/chat/*"]', '/v1/chat/completions'),
  ('["/v1/chat/*"]', '/v1/chat'),
  ('["/v1/chat/*"]', '/v1/../v1/chat/x'),
  ('["one", "two", "three-*"]', 'two'),
  ('["one", "two", "three-*"]', 'three-4'),
  ('["one", "two", "three-*"]', 'four'),
  ('["one", "*"]', 'four'),
  ('[]', 'anything'),
  ('[]', ''),
  ('null', 'anything')
) AS t(patterns, subject);

-- Bytes decide, not the collation.
SELECT apikey_model_allowed(jsonb_build_object('allowed_models', jsonb_build_array(chr(252) || '*')), chr(252) || 'ber') AS same,
       apikey_model_allowed(jsonb_build_object('allowed_models', jsonb_build_array(chr(252) || '*')), 'u' || chr(776) || 'ber') AS decomposed,
       apikey_model_allowed(jsonb_build_object('allowed_models', jsonb_build_array(repeat('x', 254) || '*')), repeat('x', 1000000)) AS long;

-- A list that is absent allows all; each list is about its own.
SELECT permissions, apikey_model_allowed(permissions, 'm') AS model, apikey_endpoint_allowed(permissions, 'e') AS endpoint
FROM (VALUES ('{}'::jsonb), ('{"allowed_models": ["x"]}'), ('{"allowed_endpoints": ["x"]}'),
             ('{"allowed_models": ["x"], "is_admin": true}'), ('{"custom_permissions": ["m", "e"]}'),
             ('{"allowed_models": ["e"], "allowed_endpoints": ["m"]}')) t(permissions);

-- What is not known is not allowed.
SELECT coalesce(apikey_model_allowed(NULL, 'm'), false) AS no_document, coalesce(apikey_model_allowed('{"allowed_models": ["*"]}', NULL), false) AS no_model,
       coalesce(apikey_endpoint_allowed(NULL, 'e'), false) AS no_document, coalesce(apikey_endpoint_allowed('{"allowed_endpoints": ["*"]}', NULL), false) AS no_endpoint;

-- They can be used in an index or a policy.
CREATE TEMPORARY TABLE grants (permissions jsonb);
CREATE INDEX ON grants (apikey_model_allowed(permissions, 'gpt-4'), apikey_endpoint_allowed(permissions, '/v1'));

-- Good documents.
SELECT count(*) AS good FROM (VALUES
  ('{}'::jsonb),
  ('{"allowed_models": null, "allowed_endpoints": null, "max_tokens_per_request": null, "is_admin": null, "custom_permissions": null}'),
  ('{"allowed_models": [], "allowed_endpoints": [], "custom_permissions": []}'),
  ('{"max_tokens_per_request": 0}'),
  ('{"max_tokens_per_request": 9007199254740991}'),
  ('{"max_tokens_per_request": 1e3}'),
  (jsonb_build_object('custom_permissions', jsonb_build_array(repeat('x', 255)))),
  (jsonb_build_object('allowed_models', (SELECT jsonb_agg('m' || n) FROM generate_series(1, 1000) n)))
) t(document), LATERAL apikey_generate('good', permissions => document);
SELECT count(*) AS good FROM (VALUES
  ('{}'::jsonb),
  ('{"requests_per_minute": null, "tokens_per_minute": null, "requests_per_day": null, "tokens_per_day": null, "max_concurrent_requests": null}'),
  ('{"requests_per_minute": 0, "tokens_per_minute": 0, "requests_per_day": 0, "tokens_per_day": 0, "max_concurrent_requests": 0}'),
  ('{"requests_per_minute": 1, "tokens_per_minute": 9007199254740991}')
) t(document), LATERAL apikey_generate('good', rate_limits => document);

-- Bad documents: the argument of apikey_generate, of the matchers, and the
-- CHECK of the table say the same.
CREATE FUNCTION test.bad(member text, document jsonb) RETURNS TABLE (error text, others_say_so boolean)
LANGUAGE plpgsql AS $$
DECLARE
  errors text[];
  others text[] := ARRAY[format('UPDATE apikeys_data.key SET %I = %L WHERE name = ''good''', member, document)];
  other text;
BEGIN
  errors := ARRAY(SELECT test.errors(format('SELECT apikey_generate(''bad'', %I => %L)', member, document)));
  IF member = 'permissions' THEN
    others := others || format('SELECT apikey_model_allowed(%L, ''m'')', document)
      || format('SELECT apikey_endpoint_allowed(%L, ''e'')', document);
  END IF;
  error := btrim(errors[2]) || E'\n' || coalesce(btrim(errors[3]), '');
  others_say_so := true;
  FOREACH other IN ARRAY others LOOP
    others_say_so := others_say_so AND errors[2:] = (ARRAY(SELECT test.errors(other)))[2:];
  END LOOP;
  RETURN NEXT;
END $$;
SELECT left(document::text, 60) AS document, b.* FROM (VALUES
  ('null'::jsonb), ('1'), ('"full_access"'), ('true'), ('[]'), ('[{"is_admin": true}]'),
  ('{"is_admn": true}'), ('{"IS_ADMIN": true}'), ('{"": 1}'), ('{"is_admin ": true}'), ('{"requests_per_minute": 1}'),
  ('{"is_admin": true, "extra": null}'),
  (jsonb_build_object(repeat('x', 200), 1)),
  ('{"is_admin": 1}'), ('{"is_admin": "true"}'), ('{"is_admin": []}'), ('{"is_admin": {}}'),
  ('{"max_tokens_per_request": -1}'), ('{"max_tokens_per_request": 1.5}'), ('{"max_tokens_per_request": "1"}'),
  ('{"max_tokens_per_request": true}'), ('{"max_tokens_per_request": [1]}'), ('{"max_tokens_per_request": {}}'),
  ('{"max_tokens_per_request": 9007199254740992}'), ('{"max_tokens_per_request": 9223372036854775808}'),
  ('{"max_tokens_per_request": 1e400}'), ('{"max_tokens_per_request": 1e-400}'),
  ('{"allowed_models": "*"}'), ('{"allowed_models": {"0": "*"}}'), ('{"allowed_models": true}'), ('{"allowed_models": 1}'),
  ('{"allowed_models": [1]}'), ('{"allowed_models": ["a", null]}'), ('{"allowed_models": [["a"]]}'), ('{"allowed_models": [{}]}'),
  ('{"allowed_models": [""]}'), ('{"allowed_models": ["a", ""]}'), (jsonb_build_object('allowed_models', jsonb_build_array(repeat('x', 256)))),
  ('{"allowed_endpoints": "*"}'), ('{"allowed_endpoints": [1]}'), ('{"allowed_endpoints": [""]}'),
  ('{"custom_permissions": "*"}'), ('{"custom_permissions": [true]}'), ('{"custom_permissions": [""]}')
) t(document), LATERAL test.bad('permissions', document) b;
SELECT left(document::text, 60) AS document, b.* FROM (VALUES
  ('null'::jsonb), ('1'), ('"standard"'), ('[]'),
  ('{"requests_per_second": 1}'), ('{"Requests_per_minute": 1}'), ('{"is_admin": true}'),
  ('{"requests_per_minute": -1}'), ('{"requests_per_minute": -0.5}'), ('{"requests_per_minute": 0.5}'),
  ('{"requests_per_minute": "60"}'), ('{"requests_per_minute": true}'), ('{"requests_per_minute": []}'), ('{"requests_per_minute": {"max": 1}}'),
  ('{"tokens_per_minute": -1}'), ('{"tokens_per_minute": "many"}'), ('{"tokens_per_minute": 9007199254740992}'),
  ('{"requests_per_day": -1}'), ('{"requests_per_day": 1e30}'), ('{"requests_per_day": false}'),
  ('{"tokens_per_day": -9223372036854775809}'), ('{"tokens_per_day": 18446744073709551617}'),
  ('{"max_concurrent_requests": -1}'), ('{"max_concurrent_requests": "NaN"}'), ('{"max_concurrent_requests": [5]}')
) t(document), LATERAL test.bad('rate_limits', document) b;
\set VERBOSITY sqlstate
UPDATE apikeys_data.key SET permissions = '{"is_root": true}' WHERE name = 'good';
UPDATE apikeys_data.key SET rate_limits = '{"requests_per_day": -1}' WHERE name = 'good';
\set VERBOSITY default
SELECT count(*) FROM apikeys_data.key WHERE name = 'bad';
DROP FUNCTION test.bad;
