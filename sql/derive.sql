-- Derived keys: short-lived, and never more than their parent.

-- What becomes of a derivation: the code of the new key, or an error.
CREATE FUNCTION test.try_derive(raw_key text, expires_in interval = '1 hour', permissions jsonb = '{}',
                                name text = NULL, rate_limits jsonb = '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  RETURN (SELECT v.code FROM public.apikey_derive(raw_key, expires_in, name, permissions, rate_limits) d, public.apikey_verify(d.raw_key) v);
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' ', SQLSTATE, SQLERRM, CASE WHEN SQLSTATE = '28000' THEN detail END);
END $$;
-- Twice: the second time it may be read from the cache.
CREATE FUNCTION test.code(raw_key text, model text = NULL) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', v.code, nullif(w.code, v.code)) FROM public.apikey_verify($1, $2) v, public.apikey_verify($1, $2) w
$$;

SELECT id AS parent, raw_key AS parent_key
FROM apikey_generate('parent', user_id => '00000000-0000-0000-0000-000000000001', external_id => 'ext', metadata => '{"of": "parent"}',
                     permissions => '{"allowed_models": ["a*", "b"], "max_tokens_per_request": 100, "custom_permissions": ["x*"]}') \gset
SELECT id AS child, raw_key AS child_key FROM apikey_derive(:'parent_key', '1 hour', 'session', metadata => '{"of": "child"}') \gset
SELECT valid, code, id = :'child' AS id, root_id = :'parent' AS root_id, name, user_id, external_id, permissions, metadata,
       expires_at > now() + '59 minutes' AND expires_at < now() + '61 minutes' AS expires_at
FROM apikey_verify(:'child_key');
SELECT parent_id = :'parent' AS parent_id, root_id = :'parent' AS root_id, status, name, user_id FROM apikey_get(:'child');
SELECT action, key_id = :'child' AS key_id, details->>'name' AS name, details->>'parent_id' = :'parent' AS parent_id
FROM apikeys_data.event WHERE action <> 'rehash' ORDER BY id DESC LIMIT 1;
SELECT count(*) AS notices FROM apikeys_data.key_notice WHERE key_id = :'child';
-- By default it is named as its parent.
SELECT name FROM apikey_identify((SELECT raw_key FROM apikey_derive(:'parent_key', '1 hour')));

-- What it may do of its own.
SELECT id AS narrow, raw_key AS narrow_key
FROM apikey_derive(:'parent_key', '1 hour', permissions => '{"allowed_models": ["ab*", "ac"], "max_tokens_per_request": 50}') \gset
SELECT permissions FROM apikey_verify(:'narrow_key');
SELECT m, test.code(:'narrow_key', m), test.code(:'child_key', m) AS child FROM unnest('{abc,ac,a,b,c}'::text[]) m;
SELECT p, test.try_derive(:'parent_key', permissions => p) FROM unnest(ARRAY[
  '{"allowed_models": ["c"]}', '{"allowed_models": []}', '{"max_tokens_per_request": 101}', '{"max_tokens_per_request": 0}',
  '{"is_admin": true}', '{"custom_permissions": ["y"]}', '{"custom_permissions": ["xy"]}', '{"other": 1}', '[]', NULL]::jsonb[]) p;

-- Narrowing the parent narrows it at once; widening the parent does not widen what is its own.
SELECT FROM apikey_update(:'parent', '{"permissions": {"allowed_models": ["abc*", "b"], "max_tokens_per_request": 60}}');
SELECT permissions FROM apikey_verify(:'child_key');
SELECT permissions FROM apikey_verify(:'narrow_key');
SELECT m, test.code(:'narrow_key', m), test.code(:'child_key', m) AS child FROM unnest('{abc,ab,ac,b}'::text[]) m;
SELECT FROM apikey_update(:'parent', '{"permissions": {"allowed_models": ["b"]}}');
SELECT test.code(:'narrow_key'), status, test.code(:'child_key', 'b') AS child FROM apikey_get(:'narrow');
SELECT FROM apikey_update(:'parent', '{"permissions": {}}');
SELECT permissions FROM apikey_verify(:'narrow_key');
SELECT test.code(:'narrow_key', 'b'), test.code(:'child_key', 'c') AS child;
-- So does its plan.
SELECT apikey_plan_set('narrow', '{"allowed_models": ["ab"]}');
SELECT FROM apikey_update(:'parent', '{"plan": "narrow"}');
SELECT permissions FROM apikey_verify(:'narrow_key');
SELECT test.try_derive(:'parent_key', permissions => '{"allowed_models": ["ab"]}'), test.try_derive(:'parent_key', permissions => '{"allowed_models": ["ac"]}') AS more;
SELECT apikey_plan_set('narrow', '{"allowed_models": ["ac"]}');
SELECT permissions FROM apikey_verify(:'narrow_key');
SELECT test.code(:'narrow_key', 'ab'), test.code(:'narrow_key', 'ac');
SELECT FROM apikey_update(:'parent', '{"plan": null}');
SELECT apikey_plan_delete('narrow');
-- Whose it is, and from where it is used.  It is found as its parent is.
SELECT FROM apikey_update(:'parent', '{"external_id": "other", "allowed_ips": ["10.0.0.1"], "team_id": "00000000-0000-0000-0000-00000000000a"}');
SELECT code, external_id, team_id FROM apikey_verify(:'child_key', client_ip => '10.0.0.1');
SELECT name FROM apikey_list(external_id => 'other', team_id => '00000000-0000-0000-0000-00000000000a') ORDER BY name;
SELECT count(*) FROM apikey_list(external_id => 'ext');
SELECT FROM apikey_update(:'parent', '{"external_id": null, "team_id": null}');
SELECT DISTINCT user_id, team_id, external_id FROM apikeys.info WHERE :'parent' IN (id, parent_id);
SELECT test.code(:'child_key');
SELECT FROM apikey_update(:'parent', '{"allowed_ips": null}');
-- Permissions in common.
SELECT a, b, apikeys_data.common_permissions(a, b), apikeys_data.common_permissions(b, a)
FROM (VALUES ('{}'::jsonb, '{}'::jsonb), ('{"allowed_models": ["a*", "b"]}', '{"allowed_models": ["ab", "*"]}'),
             ('{"allowed_models": ["a"]}', '{"allowed_endpoints": ["/a"]}'), ('{"allowed_models": ["a"]}', '{"allowed_models": ["b"]}'),
             ('{"allowed_models": null, "max_tokens_per_request": 0}', '{"allowed_models": [], "max_tokens_per_request": null}'),
             ('{"is_admin": true, "max_tokens_per_request": 2}', '{"custom_permissions": ["a"], "max_tokens_per_request": 3}'),
             ('{"custom_permissions": ["a"]}', '{}'), ('{"custom_permissions": ["a*", "b"]}', '{"custom_permissions": ["aa", "c"]}'),
             ('{"is_admin": true}', '{"is_admin": true}'), ('{"is_admin": true, "custom_permissions": ["a"]}', '{"is_admin": true, "custom_permissions": ["b"]}'),
             ('{"is_admin": true, "allowed_models": ["a*"]}', '{"is_admin": true, "allowed_models": ["ab", "b"]}'),
             ('{"is_admin": true}', '{"is_admin": false}'), ('{"allowed_endpoints": ["/a"]}', '{"allowed_endpoints": ["/b"]}'),
             ('{"allowed_models": ["a"], "allowed_endpoints": ["/a"]}', '{"allowed_models": ["a"], "allowed_endpoints": ["/b"]}')) v(a, b);

WITH pattern(p) AS (VALUES ('a'), ('b'), ('ab'), ('a*'), ('b*'), ('ab*'), ('*')),
     list(d) AS (SELECT jsonb_build_object('allowed_models', jsonb_build_array(x.p, y.p)) FROM pattern x, pattern y UNION SELECT '{}')
SELECT count(*), count(*) FILTER (WHERE coalesce(apikey_model_allowed(c, m), false) <> (apikey_model_allowed(a.d, m) AND apikey_model_allowed(b.d, m))) AS wrong
FROM list a, list b, apikeys_data.common_permissions(a.d, b.d) c, unnest('{a,b,ab,abc,ba,c}'::text[]) m;
-- Of very many patterns, some are left out.
SELECT jsonb_array_length(apikeys_data.common_permissions(jsonb_build_object('allowed_models', jsonb_agg('a' || i) || '["b*"]'),
                                                          jsonb_build_object('allowed_models', jsonb_agg('b' || i) || '["a*"]'))->'allowed_models')
FROM generate_series(1, 999) i;

-- It dies with its parent.
BEGIN;
SELECT FROM apikey_update(:'parent', '{"enabled": false}');
SELECT test.code(:'child_key'), status, test.try_derive(:'parent_key') FROM apikey_get(:'child');
ROLLBACK;
SELECT test.code(:'child_key');
SELECT FROM apikey_update(:'parent', jsonb_build_object('expires_at', now() + '10 minutes'));
SELECT code, expires_at < now() + '11 minutes' AS with_parent FROM apikey_verify(:'child_key');
SELECT expires_at < now() + '11 minutes' AS with_parent FROM apikey_verify((SELECT raw_key FROM apikey_derive(:'parent_key', '30 days')));
UPDATE apikeys_data.key SET expires_at = now() - interval '1 second' WHERE id = :'parent';
SELECT test.code(:'child_key'), status, test.try_derive(:'parent_key') FROM apikey_get(:'child');
UPDATE apikeys_data.key SET expires_at = NULL WHERE id = :'parent';
SELECT test.code(:'child_key');
-- What other tests have left.
SELECT apikey_cleanup_expired() >= 0 AS cleaned;
-- Both were never used, so this one is made by hand: deriving is a use.
SELECT id AS idle, raw_key AS idle_key FROM apikey_generate('idle', idle_timeout => '1 minute') \gset
SELECT id AS of_idle, raw_key AS of_idle_key FROM apikey_generate('of idle') \gset
UPDATE apikeys_data.key SET created_at = now() - interval '1 hour', parent_id = CASE WHEN id = :'of_idle' THEN :'idle'::uuid END
WHERE id IN (:'idle', :'of_idle');
SELECT test.code(:'of_idle_key'), status, test.try_derive(:'idle_key') FROM apikey_get(:'of_idle');
SELECT status FROM apikey_update(:'idle', '{"enabled": true}');
SELECT last_used_at FROM apikey_get(:'idle');
-- Its use is one of its parent.
SELECT code FROM apikey_verify(:'of_idle_key', client_ip => '10.1.2.3');
SELECT p.last_used_at = c.last_used_at AS used, p.last_used_ip FROM apikey_get(:'idle') p, apikey_get(:'of_idle') c;
SELECT apikey_cleanup_expired();
UPDATE apikeys_data.key SET expires_at = now() - interval '1 second' WHERE id = :'idle';
SELECT apikey_cleanup_expired();
SELECT test.code(:'of_idle_key');
SELECT action, details->>'name' AS name FROM apikeys_data.event WHERE key_id IN (:'idle', :'of_idle') AND action = 'cleanup' ORDER BY 2;
SELECT id AS idle, raw_key AS idle_key FROM apikey_generate('idle', idle_timeout => '1 minute') \gset
SELECT FROM apikey_derive(:'idle_key', '1 hour');
SELECT last_used_at IS NOT NULL AS used FROM apikey_get(:'idle');
SELECT apikey_delete(:'idle');
BEGIN;
SELECT FROM apikey_rotate(:'parent');
SELECT test.code(:'child_key'), status FROM apikey_get(:'child');
ROLLBACK;
BEGIN;
SELECT apikey_delete(:'parent');
SELECT test.code(:'child_key');
SELECT count(*) FROM apikey_get(:'child');
SELECT action, count(*), count(*) FILTER (WHERE key_id = :'child') AS child FROM apikeys_data.event WHERE at >= now() GROUP BY 1;
ROLLBACK;
-- Nor does it outlive one that was deleted by hand.
BEGIN;
DELETE FROM apikeys_data.key WHERE id = :'parent';
SELECT test.code(:'child_key'), status FROM apikey_get(:'child');
\set VERBOSITY terse
SELECT apikey_record_usage(:'child');
\set VERBOSITY default
ROLLBACK;
SELECT apikey_revoke(:'narrow');
SELECT id, raw_key FROM apikey_generate('derive revoked') \gset revoked_
SELECT apikey_revoke(:'revoked_id');
SELECT test.try_derive(:'revoked_raw_key');
SELECT test.code(:'narrow_key'), test.code(:'child_key') AS child;

-- One level, and nothing of it is changed.
SELECT test.try_derive(:'child_key');
SELECT apikey_rotate(:'child');
SELECT apikey_update(:'child', '{"expires_at": null}');
-- Who makes such a row by hand gets no further.
BEGIN;
UPDATE apikeys_data.key SET parent_id = :'child' WHERE id = :'narrow';
SELECT test.code(:'narrow_key');
ROLLBACK;
-- What it has used is its parent's, also when it is gone.
SELECT apikey_record_usage(:'child', 7, request_id => 'r');
SELECT apikey_record_usage(:'parent', 7, request_id => 'r') AS once;
SELECT c.total_tokens, p.total_tokens AS of_parent FROM apikey_get(:'child') c, apikey_get(:'parent') p;
SELECT apikey_record_usage(:'child', 5, 0.5, model => 'm');
SELECT apikey_void_usage(:'child', 'r'), apikey_void_usage(:'parent', 'r') AS again;
SELECT key_id = :'parent' AS parent, model, requests, tokens, cost FROM apikeys.usage_report WHERE root_id = :'parent' ORDER BY model;

-- Bad arguments.
SELECT coalesce(not_found, 0) AS not_found FROM apikeys.stats \gset
SELECT k, test.try_derive(k) FROM unnest('{"",x,NULL,gw-0000}'::text[]) k;
SELECT coalesce(not_found - :not_found, 4) AS counted FROM apikeys.stats;
SELECT i, test.try_derive(:'parent_key', i) FROM unnest('{0,-1 day,1 millisecond,30 days 1 second,1001 years,NULL,30 days}'::interval[]) i;
SELECT test.try_derive(:'parent_key', name => repeat('x', 256)), test.try_derive(:'parent_key', name => :'parent_key'),
       test.try_derive(:'parent_key', rate_limits => '{"x": 1}');
-- Of somebody else.
SET apikeys.restrict_to_user = '00000000-0000-0000-0000-000000000002';
SELECT test.try_derive(:'parent_key');
RESET apikeys.restrict_to_user;

-- There are only so many.  Those that have ended make room.
SELECT 1000 - count(*) AS left FROM apikeys_data.key WHERE parent_id = :'parent' \gset
SELECT count(*) = :left AS made FROM generate_series(1, :left) i, apikey_derive(:'parent_key', '1 hour', i::text);
SELECT count(*), count(*) FILTER (WHERE revoked_at IS NOT NULL) AS revoked FROM apikeys_data.key WHERE parent_id = :'parent';
SELECT test.try_derive(:'parent_key');
SELECT count(*), count(*) FILTER (WHERE revoked_at IS NOT NULL) AS revoked FROM apikeys_data.key WHERE parent_id = :'parent';
SELECT test.try_derive(:'parent_key');
UPDATE apikeys_data.key SET expires_at = now() - interval '1 second' WHERE parent_id = :'parent' AND name IN ('10', '11');
SELECT test.try_derive(:'parent_key'), test.try_derive(:'parent_key') AS second, test.try_derive(:'parent_key') AS third;
SELECT action, details->>'name' AS name FROM apikeys_data.event WHERE details->>'name' IN ('10', '11') ORDER BY 1 DESC, 2;
UPDATE apikeys_data.key SET expires_at = now() - interval '1 second' WHERE parent_id = :'parent';
SELECT apikey_cleanup_expired();
SELECT count(*) FROM apikeys_data.key WHERE parent_id = :'parent';
SELECT test.try_derive(:'parent_key');

-- Whoever may verify may derive.
CREATE ROLE regress_derive;
GRANT USAGE ON SCHEMA test TO regress_derive;
SET ROLE regress_derive;
SELECT test.try_derive(:'parent_key');
RESET ROLE;
SELECT apikey_grant('regress_derive', 'verify');
SET ROLE regress_derive;
SELECT test.try_derive(:'parent_key');
RESET ROLE;
-- A session makes no keys of its owner's.
SELECT apikey_grant('regress_derive', 'own');
SELECT raw_key AS child_key FROM apikey_derive(:'parent_key', '1 hour') \gset
SET ROLE regress_derive;
BEGIN;
SELECT valid, apikey_current_id() = id AS id, apikey_current_root_id() = :'parent' AS root_id, apikey_current_user_id() AS user_id FROM apikey_login(:'child_key');
SELECT apikey_generate('mine');
ROLLBACK;
-- Its owner finds and ends them, and nobody else does.
BEGIN;
SELECT valid FROM apikey_login(:'parent_key');
SELECT count(*) FROM apikey_list() WHERE parent_id = :'parent';
SELECT test.try_derive(:'child_key'), apikey_revoke((apikey_identify(:'child_key')).id);
SELECT code FROM apikey_verify(:'child_key');
ROLLBACK;
RESET ROLE;
SELECT (apikey_identify(:'child_key')).id AS child \gset
SELECT raw_key AS foreign_key FROM apikey_generate('foreign', user_id => '00000000-0000-0000-0000-000000000002') \gset
SET ROLE regress_derive;
BEGIN;
SELECT valid FROM apikey_login(:'foreign_key');
SELECT count(*) FROM apikey_list() WHERE parent_id IS NOT NULL;
SELECT count(*) FROM apikey_identify(:'child_key');
\set VERBOSITY sqlstate
SELECT apikey_revoke(:'child');
\set VERBOSITY default
ROLLBACK;
RESET ROLE;
-- Who reads the view sees what has nothing in common with its parent.
SELECT FROM apikey_update(:'parent', '{"permissions": {"allowed_models": ["a*"]}}');
SELECT raw_key AS narrow_key FROM apikey_derive(:'parent_key', '1 hour', 'narrow', '{"allowed_models": ["ab"]}') \gset
SELECT FROM apikey_update(:'parent', '{"permissions": {"allowed_models": ["b"], "custom_permissions": ["x"]}}');
SELECT apikey_grant('regress_derive', 'read');
SET ROLE regress_derive;
SELECT status, permissions, parent_id = :'parent' AS parent_id FROM apikeys.info WHERE name = 'narrow';
SELECT code FROM apikey_verify(:'narrow_key');
RESET ROLE;
DROP OWNED BY regress_derive;
DROP ROLE regress_derive;
SELECT apikey_delete(id) FROM apikeys_data.key WHERE parent_id = :'parent';
SELECT apikey_delete(:'parent');
