-- Level own: a role acts on the keys of the user who is logged in, and under the
-- key with which he is.  And apikeys.restrict_to_user, for all other roles.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_apikeys_own, regress_apikeys_plain, regress_apikeys_reader, regress_apikeys_manager;
RESET client_min_messages;
CREATE ROLE regress_apikeys_own;
CREATE ROLE regress_apikeys_plain;
CREATE ROLE regress_apikeys_reader;
CREATE ROLE regress_apikeys_manager;
SELECT apikey_grant('regress_apikeys_own', 'own'), apikey_grant('regress_apikeys_manager', 'manage');
SELECT apikey_grant('regress_apikeys_reader', 'own'), apikey_grant('regress_apikeys_reader', 'read');
GRANT USAGE ON SCHEMA test TO PUBLIC;

-- Is a document within another one?
CREATE FUNCTION test.within(document text, cases text[]) RETURNS TABLE (new text, bound text, within boolean) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. array_length(cases, 1) LOOP
    new := cases[i][1];
    bound := cases[i][2];
    EXECUTE format('SELECT apikeys_data.%I_within($1::jsonb, $2::jsonb)', document) INTO within USING new, bound;
    RETURN NEXT;
  END LOOP;
END $$;
SELECT * FROM test.within('permissions', ARRAY[
  ['{}', '{}'],
  ['{}', '{"allowed_models": ["gpt-4"]}'],
  ['{}', '{"allowed_models": ["gpt-4", "*"]}'],
  ['{"allowed_models": []}', '{"allowed_models": ["gpt-4"]}'],
  ['{"allowed_models": null}', '{"allowed_models": ["gpt-4"]}'],
  ['{"allowed_models": ["gpt-4"]}', '{}'],
  ['{"allowed_models": ["gpt-4"]}', '{"allowed_models": []}'],
  ['{"allowed_models": ["gpt-4"]}', '{"allowed_models": ["gpt-4"]}'],
  ['{"allowed_models": ["gpt-4"]}', '{"allowed_models": ["gpt-3", "gpt*"]}'],
  ['{"allowed_models": ["gpt-4*"]}', '{"allowed_models": ["gpt-*"]}'],
  ['{"allowed_models": ["gpt-*"]}', '{"allowed_models": ["gpt-4*"]}'],
  ['{"allowed_models": ["gpt-4*"]}', '{"allowed_models": ["gpt-4"]}'],
  ['{"allowed_models": ["gpt-"]}', '{"allowed_models": ["gpt-4"]}'],
  ['{"allowed_models": ["*"]}', '{"allowed_models": ["gpt-*"]}'],
  ['{"allowed_models": ["*"]}', '{"allowed_models": ["*"]}'],
  ['{"allowed_models": ["gpt-4", "claude"]}', '{"allowed_models": ["gpt-*"]}'],
  ['{"allowed_endpoints": ["/v1/chat"]}', '{"allowed_endpoints": ["/v1/*"]}'],
  ['{"allowed_endpoints": ["/v2/chat"]}', '{"allowed_endpoints": ["/v1/*"]}'],
  ['{"max_tokens_per_request": 10}', '{"max_tokens_per_request": 10}'],
  ['{"max_tokens_per_request": 11}', '{"max_tokens_per_request": 10}'],
  ['{"max_tokens_per_request": 0}', '{"max_tokens_per_request": 10}'],
  ['{}', '{"max_tokens_per_request": 10}'],
  ['{"max_tokens_per_request": 11}', '{"max_tokens_per_request": 0}'],
  ['{"is_admin": true}', '{}'],
  ['{"is_admin": true}', '{"custom_permissions": ["*"]}'],
  ['{"is_admin": true}', '{"is_admin": true}'],
  ['{"is_admin": false}', '{"is_admin": true}'],
  ['{"custom_permissions": ["a"]}', '{}'],
  ['{"custom_permissions": ["a"]}', '{"custom_permissions": ["b"]}'],
  ['{"custom_permissions": ["a:b"]}', '{"custom_permissions": ["a:*"]}'],
  ['{"custom_permissions": ["a:*"]}', '{"custom_permissions": ["a:b"]}'],
  ['{"custom_permissions": ["a"]}', '{"is_admin": true}'],
  ['{"custom_permissions": []}', '{}']]);
SELECT * FROM test.within('rate_limits', ARRAY[
  ['{}', '{}'],
  ['{"requests_per_minute": 1}', '{}'],
  ['{}', '{"requests_per_minute": 1}'],
  ['{"requests_per_minute": 0}', '{"requests_per_minute": 1}'],
  ['{"requests_per_minute": 2}', '{"requests_per_minute": 1}'],
  ['{"requests_per_minute": 1}', '{"requests_per_minute": 1}'],
  ['{"requests_per_day": 1}', '{"requests_per_minute": 1}'],
  ['{"tokens_per_minute": 1}', '{"requests_per_minute": 1}'],
  ['{"tokens_per_day": 5, "requests_per_minute": 1}', '{"tokens_per_day": 5}'],
  ['{"max_concurrent_requests": 2}', '{"max_concurrent_requests": 3}'],
  ['{"max_concurrent_requests": 4}', '{"max_concurrent_requests": 3}'],
  ['{"requests_per_minute": 1}', '{"max_concurrent_requests": 3}'],
  ['{"windows": [{"per": "1 hour", "cost": 1}]}', '{"windows": [{"per": "1 hour", "cost": 1.5}]}'],
  ['{"windows": [{"per": "1 hour", "cost": 2}]}', '{"windows": [{"per": "1 hour", "cost": 1.5}]}'],
  ['{"windows": [{"per": "2 hours", "cost": 1}]}', '{"windows": [{"per": "1 hour", "cost": 1.5}]}'],
  ['{"windows": [{"per": "1 minute", "requests": 5, "name": "mine"}]}', '{"requests_per_minute": 6}'],
  ['{"windows": [{"per": "1 hour", "cost": 1, "models": ["gpt-*"]}]}', '{"windows": [{"per": "1 hour", "cost": 1, "models": ["gpt-4"]}]}'],
  ['{"windows": [{"per": "1 hour", "cost": 1, "models": ["gpt-4"]}]}', '{"windows": [{"per": "1 hour", "cost": 1, "models": ["gpt-*"]}]}'],
  ['{"windows": [{"per": "1 hour", "cost": 1}]}', '{"windows": [{"per": "1 hour", "cost": 1, "models": ["gpt-4"]}]}'],
  ['{"windows": [{"per": "1 hour", "cost": 1, "models": ["*"]}]}', '{"windows": [{"per": "1 hour", "cost": 1}]}'],
  ['{"windows": [{"per": "1 hour", "cost": 1, "endpoints": ["/a"]}]}', '{"windows": [{"per": "1 hour", "cost": 1}]}'],
  ['{"windows": [{"per": "1 hour", "cost": 1}, {"per": "1 hour", "tokens": 9}]}', '{"windows": [{"per": "1 hour", "tokens": 9}, {"per": "1 hour", "cost": 1}]}'],
  ['{"windows": [{"per": "1 hour", "cost": 1}]}', '{"windows": [{"per": "1 hour", "tokens": 9}, {"per": "1 hour", "cost": 1}]}']]);
DROP FUNCTION test.within;

-- Without shared memory keys with limits are of no use, and there are warnings.
SET client_min_messages = error;

-- Ann has two keys, of which the strong one can do more; Bob has one, and one is nobody's.
SELECT apikey_budget_create('own', 100) AS budget, apikey_budget_create('own other', 100) AS other_budget \gset
SELECT apikey_plan_set('own gold', '{"allowed_models": ["gpt-*"], "custom_permissions": ["read:*"]}');
SELECT apikey_import(digest('own-' || k.name, 'sha256'), 'own ' || k.name, k.name, user_id => k.user_id, team_id => k.team_id,
  permissions => k.permissions, rate_limits => k.rate_limits, expires_at => k.expires_at, allowed_ips => k.allowed_ips,
  budget_id => k.budget_id, plan => k.plan) IS NOT NULL AS imported
FROM (VALUES
  ('ann', '00000000-0000-0000-0000-0000000000a1'::uuid, '00000000-0000-0000-0000-0000000000c1'::uuid, '{"custom_permissions": ["read:files", "read:mails"]}'::jsonb,
    '{}'::jsonb, '2100-01-01'::timestamptz, '{10.0.0.0/8,::1}'::inet[], :'budget'::uuid, 'own gold'),
  ('strong', '00000000-0000-0000-0000-0000000000a1', '00000000-0000-0000-0000-0000000000c1', '{"is_admin": true}', '{}', '2100-01-01', '{10.0.0.0/8}', :'budget', 'own gold'),
  ('bob', '00000000-0000-0000-0000-0000000000b0', NULL, '{}', '{}', NULL, NULL, NULL, NULL),
  ('nobody', NULL, NULL, '{}', '{}', NULL, NULL, NULL, NULL)) k(name, user_id, team_id, permissions, rate_limits, expires_at, allowed_ips, budget_id, plan);
SELECT apikey_record_usage(test.id('own bob'), 5, 1);
SELECT set_config('test.ann', test.id('own ann')::text, false), set_config('test.strong', test.id('own strong')::text, false),
  set_config('test.bob', test.id('own bob')::text, false), set_config('test.nobody', test.id('own nobody')::text, false),
  set_config('test.other_budget', :'other_budget', false) \gset ignored_

-- Every call that a role with own may make, with the id of a key.
CREATE FUNCTION test.calls(id uuid, raw_key text) RETURNS text[] LANGUAGE sql AS $$
  SELECT ARRAY[
    format('SELECT * FROM apikey_usage(%L)', id),
    format('SELECT * FROM apikey_limits(%L)', id),
    format('SELECT * FROM apikey_rotate(%L)', id),
    format('SELECT * FROM apikey_rotate(%L, ''1 day'')', id),
    format('SELECT apikey_update(%L, ''{}'')', id),
    format('SELECT apikey_update(%L, ''{"name": "mine"}'')', id),
    format('SELECT apikey_update(%L, ''{"user_id": "00000000-0000-0000-0000-0000000000a1"}'')', id),
    format('SELECT apikey_revoke(%L)', id),
    format('SELECT apikey_revoke(%L, ''why not'')', id),
    format('SELECT apikey_revoke_where(%L)', id),
    format('SELECT apikey_delete(%L)', id),
    format('SELECT * FROM apikey_list(after => %L)', id)]
$$;
CREATE FUNCTION test.seen(id uuid, raw_key text) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ',
    'get', (SELECT count(*) FROM public.apikey_get($1)),
    'history', (SELECT count(*) FROM public.apikey_usage_history($1)),
    'list', (SELECT count(*) FROM public.apikey_list() l WHERE l.id = $1),
    'identify', (SELECT count(*) FROM public.apikey_identify(raw_key)))
$$;

-- Without a login there is nothing to act on; nor with a key of nobody's.
SET ROLE regress_apikeys_own;
SELECT * FROM test.errors('SELECT apikey_count()', 'SELECT apikey_list()', $$SELECT apikey_get(gen_random_uuid())$$, $$SELECT apikey_generate('x')$$,
  $$SELECT apikey_identify('own-ann')$$, $$SELECT apikey_scan('own-ann')$$, $$SELECT apikey_usage_history(gen_random_uuid())$$);
SELECT regexp_replace(e, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID', 'g') AS errors FROM test.errors(VARIADIC test.calls(current_setting('test.ann')::uuid, 'own-ann')) e;
BEGIN;
SELECT code FROM apikey_login('own-nobody');
SELECT * FROM test.errors('SELECT apikey_count()', $$SELECT apikey_generate('x')$$);
ROLLBACK;

-- Other keys are as if they were not there.
BEGIN;
SELECT code FROM apikey_login('own-ann', client_ip => '10.1.1.1');
SELECT apikey_count(), apikey_count('active'), apikey_count(user_id => '00000000-0000-0000-0000-0000000000b0') AS of_bob;
SELECT name, status FROM apikey_list() ORDER BY name;
SELECT name FROM apikey_list(user_id => '00000000-0000-0000-0000-0000000000b0');
SELECT key, test.seen(current_setting('test.' || key)::uuid, 'own-' || key) FROM unnest('{ann,strong,bob,nobody}'::text[]) key;
SELECT test.seen('00000000-0000-0000-0000-00000000dead', 'own-none');
SELECT (SELECT array_agg(e) FROM test.errors(VARIADIC test.calls(current_setting('test.bob')::uuid, 'own-bob')) e) AS bob \gset
SELECT (SELECT array_agg(e) FROM test.errors(VARIADIC test.calls('00000000-0000-0000-0000-00000000dead', 'own-none')) e) AS none \gset
SELECT replace(:'bob', current_setting('test.bob'), 'ID') = replace(:'none', '00000000-0000-0000-0000-00000000dead', 'ID') AS same;
SELECT regexp_replace(e, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID', 'g') AS errors FROM test.errors(VARIADIC test.calls(current_setting('test.bob')::uuid, 'own-bob')) e;
SELECT name FROM apikey_list(after => current_setting('test.bob')::uuid, after_created_at => 'infinity') ORDER BY name;

-- What it may not call at all.
SELECT * FROM test.errors(
  'SELECT apikey_events()', 'SELECT apikey_cleanup_expired()', $$SELECT apikey_import_many(ARRAY[sha256('x')], '{n}', '{p}')$$, 'SELECT apikey_flush()', $$SELECT apikey_revoke_raw('own-ann')$$,
  $$SELECT apikey_import('\x00', 'x', 'x')$$, $$SELECT apikey_record_usage(gen_random_uuid())$$, $$SELECT apikey_void_usage(gen_random_uuid(), 'x')$$,
  $$SELECT apikey_plan_set('own gold')$$, $$SELECT apikey_plan_delete('own gold')$$, $$SELECT apikey_budget_create('x')$$,
  $$SELECT apikey_budget_update(gen_random_uuid(), '{}')$$, $$SELECT apikey_budget_add(gen_random_uuid(), 1)$$, $$SELECT apikey_budget_delete(gen_random_uuid())$$,
  $$SELECT apikey_grant('regress_apikeys_own', 'manage')$$, 'SELECT FROM apikeys.info', 'SELECT FROM apikeys.plan_info',
  $$SELECT apikeys_data.restricted_count(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$, 'SELECT apikeys.changes_all_keys()',
  'SET apikeys.max_own_keys = 1000');

-- What is left out of a new key is that of the login.
RESET ROLE;
UPDATE apikeys_data.plan SET rate_limits = '{"requests_per_minute": 1000}' WHERE name = 'own gold';
UPDATE apikeys_data.key SET rate_limits = '{"max_concurrent_requests": 5}' WHERE name = 'own ann';
SET ROLE regress_apikeys_own;
SELECT id FROM apikey_generate('own new') \gset
SELECT user_id, team_id, plan, permissions, rate_limits, expires_at = '2100-01-01' AS expires, allowed_ips FROM apikey_get(:'id');
SELECT id FROM apikey_generate('own narrow', permissions => '{"allowed_models": ["gpt-4*"], "custom_permissions": ["read:files"]}', rate_limits => '{"requests_per_minute": 10}',
  expires_at => '2099-01-01', allowed_ips => '{10.2.0.0/16,10.0.0.1}', metadata => '{"a": 1}', description => 'd', prefix => 'mine-', plan => 'own gold',
  user_id => '00000000-0000-0000-0000-0000000000a1', team_id => '00000000-0000-0000-0000-0000000000c1') \gset narrow_
SELECT permissions, rate_limits, allowed_ips, key_prefix LIKE 'mine-%' AS prefix FROM apikey_get(:'narrow_id');
SELECT count(*) AS keys, count(DISTINCT budget_id) AS budgets FROM apikey_list() WHERE name LIKE 'own n%';

-- No more than that.
SELECT * FROM test.errors(
  $$SELECT apikey_generate('x', user_id => '00000000-0000-0000-0000-0000000000b0')$$,
  $$SELECT apikey_generate('x', team_id => '00000000-0000-0000-0000-0000000000b0')$$,
  $$SELECT apikey_generate('x', external_id => 'theirs')$$,
  $$SELECT apikey_generate('x', budget_id => current_setting('test.other_budget')::uuid)$$,
  $$SELECT apikey_generate('x', plan => 'unlimited')$$,
  $$SELECT apikey_generate('x', plan => 'no such plan')$$,
  $$SELECT apikey_generate('x', permissions => '{"is_admin": true}')$$,
  $$SELECT apikey_generate('x', permissions => '{"allowed_models": ["claude"]}')$$,
  $$SELECT apikey_generate('x', permissions => '{"allowed_models": []}')$$,
  $$SELECT apikey_generate('x', permissions => '{"allowed_models": null}')$$,
  $$SELECT apikey_generate('x', permissions => '{"custom_permissions": ["read:*"]}')$$,
  $$SELECT apikey_generate('x', rate_limits => '{"requests_per_minute": 1001}')$$,
  $$SELECT apikey_generate('x', rate_limits => '{"requests_per_minute": null}')$$,
  $$SELECT apikey_generate('x', rate_limits => '{"max_concurrent_requests": 0}')$$,
  $$SELECT apikey_generate('x', expires_at => 'infinity')$$,
  $$SELECT apikey_generate('x', expires_at => '2100-01-02')$$,
  $$SELECT apikey_generate('x', allowed_ips => '{10.0.0.0/8,11.0.0.1}')$$,
  $$SELECT apikey_generate('x', allowed_ips => '{0.0.0.0/0}')$$,
  $$SELECT apikey_generate('x', allowed_ips => '{::/0}')$$,
  $$SELECT apikey_generate('x', permissions => '{"unknown": 1}')$$,
  $$SELECT apikey_generate_many(2, 'x', permissions => '{"is_admin": true}')$$,
  $$SELECT apikey_generate_many(2, 'x', user_id => '00000000-0000-0000-0000-0000000000b0')$$,
  $$SELECT apikey_generate_many(99, 'x')$$);

-- Many: within the same bounds, all of them.
SAVEPOINT many;
SELECT count(*), count(DISTINCT raw_key) FROM apikey_generate_many(3, 'own many');
SELECT l.user_id, l.external_id, l.plan, count(*) FROM apikey_list() l WHERE l.name = 'own many' GROUP BY 1, 2, 3;
SELECT apikey_revoke_where(plan => (SELECT min(l.plan) FROM apikey_list() l WHERE l.name = 'own many')) >= 3 AS revoked;
SELECT l.status, count(*) FROM apikey_list() l WHERE l.name = 'own many' GROUP BY 1;
ROLLBACK TO many;

-- Nor by a change.
SET test.narrow = :'narrow_id';
SELECT name, permissions FROM apikey_update(:'narrow_id', '{"name": "own wider", "permissions": {"allowed_models": ["gpt-*"], "custom_permissions": ["read:files", "read:mails"]}, "expires_at": "2100-01-01"}');
SELECT * FROM test.errors(
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"user_id": "00000000-0000-0000-0000-0000000000b0"}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"user_id": null}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"team_id": null}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"external_id": "x"}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"budget_id": null}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"plan": null}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"plan": "unlimited"}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"permissions": {}}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"permissions": {"is_admin": true}}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"rate_limits": {}}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"rate_limits": {"max_concurrent_requests": 6}}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"expires_at": null}')$$,
  $$SELECT apikey_update(current_setting('test.narrow')::uuid, '{"allowed_ips": null}')$$);
-- The strong key may become weaker, but never anybody's who has not its raw key.
SELECT name, permissions FROM apikey_update(current_setting('test.strong')::uuid, '{"name": "own strong", "description": "by Ann", "permissions": {"is_admin": true, "allowed_models": ["gpt-x"]}}');
SELECT status FROM apikey_update(current_setting('test.strong')::uuid, '{"enabled": false}');
SELECT status, description FROM apikey_update(current_setting('test.strong')::uuid, '{"description": "off"}');
SELECT * FROM test.errors(
  $$SELECT apikey_update(current_setting('test.strong')::uuid, '{"permissions": {}}')$$,
  $$SELECT apikey_update(current_setting('test.strong')::uuid, '{"permissions": {"is_admin": true}}')$$,
  $$SELECT apikey_update(current_setting('test.strong')::uuid, '{"enabled": true}')$$,
  $$SELECT apikey_rotate(current_setting('test.strong')::uuid)$$,
  $$SELECT apikey_rotate(current_setting('test.narrow')::uuid, expires_at => 'infinity')$$);
SELECT idle_timeout FROM apikey_update(:'narrow_id', '{"idle_timeout": "20 days"}');
SELECT status FROM apikey_update(:'narrow_id', '{"enabled": false}');
SELECT status FROM apikey_update(:'narrow_id', '{"enabled": true}');
SELECT id FROM apikey_rotate(:'narrow_id') \gset rotated_
SELECT name, user_id FROM apikey_get(:'rotated_id');
SELECT apikey_revoke(:'rotated_id', 'no use');
SELECT apikey_delete(:'narrow_id');
SELECT name, status FROM apikey_list() ORDER BY name;

-- An expired key stays so.
RESET ROLE;
UPDATE apikeys_data.key SET created_at = '2000-01-01', expires_at = '2001-01-01' WHERE id = :'id';
SET ROLE regress_apikeys_own;
SET test.expired = :'id';
SELECT * FROM test.errors($$SELECT apikey_update(current_setting('test.expired')::uuid, '{"expires_at": "2099-01-01"}')$$, $$SELECT apikey_rotate(current_setting('test.expired')::uuid)$$);
SELECT apikey_delete(:'id');
SELECT id FROM apikey_generate('own new') \gset

-- How long a key may be idle, and how long it may live.
SAVEPOINT ages;
RESET ROLE;
UPDATE apikeys_data.key SET idle_timeout = '30 days' WHERE name IN ('own ann', 'own strong');
UPDATE apikeys_data.key SET enabled = true WHERE name = 'own strong';
SELECT set_config('apikeys.max_lifetime', '90d', true) AS max_lifetime;
SET ROLE regress_apikeys_own;
SELECT g.id FROM apikey_generate('own idle') g \gset idle_
SELECT idle_timeout, expires_at < now() + interval '91 days' AS shortened FROM apikey_get(:'idle_id');
SELECT g.id FROM apikey_generate('own idle', idle_timeout => '20 days', expires_at => now() + interval '80 days') g \gset idle_
SELECT idle_timeout FROM apikey_get(:'idle_id');
SET test.idle = :'idle_id';
SELECT * FROM test.errors(
  $$SELECT apikey_generate('x', idle_timeout => '31 days')$$,
  $$SELECT apikey_generate('x', expires_at => now() + interval '91 days')$$,
  $$SELECT apikey_update(current_setting('test.idle')::uuid, '{"idle_timeout": null}')$$,
  $$SELECT apikey_update(current_setting('test.idle')::uuid, '{"idle_timeout": "31 days"}')$$,
  $$SELECT apikey_update(current_setting('test.strong')::uuid, '{"idle_timeout": "30 days"}')$$,
  $$SELECT apikey_update(current_setting('test.strong')::uuid, '{"enabled": true}')$$);
SELECT idle_timeout FROM apikey_update(:'idle_id', '{"idle_timeout": "30 days"}');
RESET ROLE;
UPDATE apikeys_data.key SET created_at = now() - interval '60 days', idle_since = now() - interval '60 days' WHERE id = :'idle_id';
SET ROLE regress_apikeys_own;
SELECT * FROM test.errors($$SELECT apikey_update(current_setting('test.idle')::uuid, '{"idle_timeout": "29 days"}')$$);
ROLLBACK TO ages;

-- The login key is as it is now: what is taken from it cannot be given to others.
SAVEPOINT before;
SELECT name FROM apikey_update(current_setting('test.ann')::uuid, '{"permissions": {"custom_permissions": ["read:files"]}}');
SELECT * FROM test.errors($$SELECT apikey_generate('x', permissions => '{"custom_permissions": ["read:mails"]}')$$);
SELECT apikey_revoke(current_setting('test.ann')::uuid);
SELECT * FROM test.errors($$SELECT apikey_generate('x')$$);
ROLLBACK TO before;

-- Savepoints: each login with its keys.
SAVEPOINT other;
SELECT code FROM apikey_login('own-bob');
SELECT name FROM apikey_list();
ROLLBACK TO other;
SELECT count(*) > 1 AS ann FROM apikey_list();
SELECT apikey_logout();
SELECT * FROM test.errors('SELECT apikey_count()');
ROLLBACK TO other;

-- No more than so many keys; those that are revoked do not count.
RESET ROLE;
SELECT set_config('apikeys.max_own_keys', count(*)::text, true) IS NOT NULL AS set FROM apikeys_data.key
WHERE user_id = '00000000-0000-0000-0000-0000000000a1' AND revoked_at IS NULL AND (expires_at > now() OR expires_at IS NULL);
SET ROLE regress_apikeys_own;
SELECT * FROM test.errors($$SELECT apikey_generate('x')$$, $$SELECT apikey_rotate(current_setting('test.ann')::uuid, '1 day')$$);
SELECT count(*) FROM apikey_rotate(:'id');
SELECT apikey_revoke(id) FROM apikey_list('active') WHERE name = 'own new (rotated)';
SELECT count(*) FROM apikey_generate('own again');
SELECT * FROM test.errors($$SELECT apikey_generate('x')$$);
RESET ROLE;
UPDATE apikeys_data.plan SET rate_limits = '{}' WHERE name = 'own gold';
UPDATE apikeys_data.key SET rate_limits = '{}' WHERE name = 'own ann';
COMMIT;

-- A function of a role with own has its level, whoever calls it; one that the owner has made is the owner's affair.
RESET ROLE;
GRANT CREATE ON SCHEMA test TO regress_apikeys_own;
SET ROLE regress_apikeys_own;
CREATE FUNCTION test.lend() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT public.apikey_count()';
CREATE FUNCTION test.invoke() RETURNS bigint LANGUAGE sql AS 'SELECT public.apikey_count()';
CREATE VIEW test.lent AS SELECT name FROM public.apikey_list();
GRANT SELECT ON test.lent TO PUBLIC;
SET ROLE regress_apikeys_plain;
SELECT * FROM test.errors('SELECT test.lend()', 'SELECT test.invoke()', 'SELECT * FROM test.lent');
RESET ROLE;
BEGIN;
SELECT code FROM apikey_login('own-bob');
SELECT apikey_count() > 1 AS owner, test.invoke() > 1 AS invoked, test.lend() AS lent, (SELECT count(*) > 1 FROM test.lent) AS view;
PREPARE counted AS SELECT apikey_count();
SET ROLE regress_apikeys_own;
EXECUTE counted;
SELECT count(*) FROM test.lent;
DO $$ BEGIN PERFORM set_config('test.counted', public.apikey_count()::text, true); END $$;
SELECT current_setting('test.counted') AS counted;
SET ROLE regress_apikeys_manager;
SELECT apikey_count() > 1 AS manager, test.lend() AS lent;
RESET ROLE;
DEALLOCATE counted;
-- own beside read: reads all, changes one's own
SET ROLE regress_apikeys_reader;
SELECT apikey_count() > 1 AS reads_all;
SELECT * FROM test.errors($$SELECT apikey_update(current_setting('test.ann')::uuid, '{"name": "x"}')$$, $$SELECT apikey_revoke(current_setting('test.nobody')::uuid)$$);
SELECT name FROM apikey_update(current_setting('test.bob')::uuid, '{"description": "Bob''s"}');
RESET ROLE;
COMMIT;

-- A query that logs in as another while rows are returned: they are those of the first.
BEGIN;
SET LOCAL ROLE regress_apikeys_own;
SELECT code FROM apikey_login('own-bob');
SELECT (apikey_list(row_limit => 2)).user_id AS user_id, (apikey_login('own-ann', client_ip => '10.0.0.1')).name AS login;
SELECT count(DISTINCT user_id) FROM apikey_list();
ROLLBACK;

-- The setting: a UUID or nothing.
SELECT * FROM test.errors(
  $$SET apikeys.restrict_to_user = 'me'$$, $$SET apikeys.restrict_to_user = '00000000-0000-0000-0000-0000000000a'$$, $$SET apikeys.restrict_to_user = '00000000-0000-0000-0000-0000000000a10'$$,
  $$SET apikeys.restrict_to_user = '0000000-00000-0000-0000-0000000000a1'$$, $$SET apikeys.restrict_to_user = '00000000--0000-0000-0000-0000000000a1'$$,
  $$SET apikeys.restrict_to_user = '-'$$, $$SET apikeys.restrict_to_user = ' '$$, $$SET apikeys.restrict_to_user = '00000000-0000-0000-0000-0000000000a1 '$$);
SET apikeys.restrict_to_user = '0000000000000000000000000000ABCD';
RESET apikeys.restrict_to_user;

-- It restricts every role, the owner too, to the keys of one user.
SET ROLE regress_apikeys_manager;
BEGIN;
SET LOCAL apikeys.restrict_to_user = '00000000-0000-0000-0000-0000000000b0';
SELECT apikey_count(), (SELECT count(*) FROM apikey_events() WHERE key_id <> current_setting('test.bob')::uuid) AS events_of_others, (SELECT count(*) > 0 FROM apikey_events()) AS events;
SELECT key, test.seen(current_setting('test.' || key)::uuid, 'own-' || key) FROM unnest('{ann,bob,nobody}'::text[]) key;
SELECT regexp_replace(e, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID', 'g') AS errors FROM test.errors(VARIADIC test.calls(current_setting('test.ann')::uuid, 'own-ann')) e;
SELECT * FROM test.errors($$SELECT apikey_record_usage(current_setting('test.ann')::uuid)$$, $$SELECT apikey_void_usage(current_setting('test.ann')::uuid, 'x')$$,
  $$SELECT apikey_generate('x', user_id => '00000000-0000-0000-0000-0000000000a1')$$,
  $$SELECT apikey_import(digest('x', 'sha256'), 'x', 'x', user_id => '00000000-0000-0000-0000-0000000000a1')$$,
  $$SELECT apikey_update(current_setting('test.bob')::uuid, '{"user_id": "00000000-0000-0000-0000-0000000000a1"}')$$);
SELECT apikey_revoke_raw('own-ann');
SELECT apikey_record_usage(current_setting('test.bob')::uuid);
SELECT apikey_import(digest('own-import', 'sha256'), 'own imported', 'x') AS id \gset
SELECT user_id FROM apikey_get(:'id');
-- but to nothing else: not the key's powers
SELECT g.id FROM apikey_generate('own generated', permissions => '{"is_admin": true}') g \gset
SELECT user_id, permissions FROM apikey_get(:'id');
-- savepoints, as for any setting
SAVEPOINT s;
SET LOCAL apikeys.restrict_to_user = '00000000-0000-0000-0000-0000000000a1';
SELECT count(*) FROM apikey_get(current_setting('test.ann')::uuid);
ROLLBACK TO s;
SELECT count(*) FROM apikey_get(current_setting('test.ann')::uuid);
RESET ROLE;
SELECT apikey_count(), (SELECT count(*) FROM apikey_get(current_setting('test.ann')::uuid)) AS anns;
UPDATE apikeys_data.key SET expires_at = '2001-01-01', created_at = '2000-01-01' WHERE name IN ('own again', 'own imported');
SELECT apikey_cleanup_expired();
SELECT name FROM apikeys_data.key WHERE name IN ('own again', 'own imported');
-- with own it can only narrow
SET ROLE regress_apikeys_own;
SELECT code FROM apikey_login('own-ann', client_ip => '10.0.0.1');
SELECT * FROM test.errors('SELECT apikey_count()', $$SELECT apikey_generate('x')$$);
SET LOCAL apikeys.restrict_to_user = '00000000-0000-0000-0000-0000000000a1';
SELECT apikey_count() > 1 AS own;
ROLLBACK;
RESET ROLE;
SELECT apikey_count() > 3 AS all_again;

-- A document with the keys of several: those of others look like those that are gone.
SELECT raw_key AS bobs FROM apikey_generate('own scan bob', user_id => '00000000-0000-0000-0000-0000000000b0') \gset
SELECT raw_key AS anns FROM apikey_generate('own scan ann', user_id => '00000000-0000-0000-0000-0000000000a1') \gset
BEGIN;
SET LOCAL ROLE regress_apikeys_own;
SELECT code FROM apikey_login('own-bob');
SELECT at_character, id IS NOT NULL AS id, status FROM apikey_scan(:'bobs' || ' ' || :'anns');
SELECT count(*) FROM apikey_identify(:'anns');
ROLLBACK;

DROP VIEW test.lent;
DROP FUNCTION test.lend, test.invoke, test.calls, test.seen;
SELECT count(apikey_delete(id)) > 0 AS deleted FROM apikeys_data.key WHERE name LIKE 'own %';
SELECT apikey_plan_delete('own gold'), apikey_budget_delete(:'budget'), apikey_budget_delete(:'other_budget');
REVOKE ALL ON SCHEMA test FROM PUBLIC;
DROP OWNED BY regress_apikeys_own, regress_apikeys_plain, regress_apikeys_reader, regress_apikeys_manager;
DROP ROLE regress_apikeys_own, regress_apikeys_plain, regress_apikeys_reader, regress_apikeys_manager;
RESET client_min_messages;
