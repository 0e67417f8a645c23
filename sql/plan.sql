-- Plans: what many keys have in common.

-- A key NAME is opened by NAME-key.
CREATE FUNCTION test.make_key(name text, plan text, permissions jsonb = '{}', rate_limits jsonb = '{}') RETURNS boolean LANGUAGE sql AS $$
  SELECT public.apikey_import(sha256(convert_to(name || '-key', 'UTF8')), name, '...', plan => plan,
                              permissions => permissions, rate_limits => rate_limits) IS NOT NULL
$$;
-- What holds for a key, twice: the second time it may be read from the cache.
CREATE FUNCTION test.effective(name text) RETURNS TABLE (permissions jsonb, again boolean) LANGUAGE sql AS $$
  SELECT v.permissions, v.permissions = w.permissions
  FROM public.apikey_verify(name || '-key') v, public.apikey_verify(name || '-key') w
$$;
CREATE FUNCTION test.last_event() RETURNS TABLE (action text, key_id uuid, details jsonb) LANGUAGE sql AS $$
  SELECT e.action, e.key_id, e.details FROM apikeys_data.event e WHERE e.action <> 'rehash' ORDER BY e.id DESC LIMIT 1
$$;

-- The presets are plans.
SELECT name, permissions, rate_limits, description, keys FROM apikeys.plan_info ORDER BY name;
SELECT bool_and(permissions = apikey_permissions_preset(name)) AS same FROM apikeys.plan_info WHERE name IN ('full_access', 'admin');
SELECT bool_and(rate_limits = apikey_rate_limits_preset(name)) AS same FROM apikeys.plan_info WHERE name IN ('unlimited', 'standard', 'premium');

-- Made and replaced.
SELECT apikey_plan_set('chat', '{"allowed_models": ["gpt-4*"], "max_tokens_per_request": 100, "custom_permissions": ["a", "b"]}');
SELECT name, permissions, rate_limits, description, created_at = updated_at AS new, keys FROM apikeys.plan_info WHERE name = 'chat';
SELECT * FROM test.last_event();
SELECT apikey_plan_set('chat', '{"allowed_models": ["gpt-4*"], "max_tokens_per_request": 200}', NULL, 'For chats.');
SELECT name, permissions, rate_limits, description, created_at < updated_at AS changed FROM apikeys.plan_info WHERE name = 'chat';
SELECT * FROM test.last_event();
-- What changes nothing does not touch it.
SELECT xmin AS before FROM apikeys_data.plan WHERE name = 'chat' \gset
SELECT apikey_plan_set('chat', '{"max_tokens_per_request": 200, "allowed_models": ["gpt-4*"]}', description => 'For chats.');
SELECT xmin = :'before' AS untouched FROM apikeys_data.plan WHERE name = 'chat';
SELECT * FROM test.last_event();
-- Nor does what leaves it without a description, as it was.
SELECT apikey_plan_set('bare', '{"max_tokens_per_request": 1}');
SELECT xmin AS before FROM apikeys_data.plan WHERE name = 'bare' \gset
SELECT apikey_plan_set('bare', '{"max_tokens_per_request": 1}');
SELECT xmin = :'before' AS untouched FROM apikeys_data.plan WHERE name = 'bare';
SELECT apikey_plan_delete('bare');

-- A key takes from its plan what its own documents don't say, member by member.
-- Null, 0 and an empty list say something: that there is no limit.
SELECT test.make_key('all', 'chat'), test.make_key('none', NULL, '{"max_tokens_per_request": 3}'),
       test.make_key('some', 'chat', '{"max_tokens_per_request": 3, "is_admin": true}'),
       test.make_key('nulls', 'chat', '{"max_tokens_per_request": null, "allowed_models": []}'),
       test.make_key('zero', 'chat', '{"max_tokens_per_request": 0}');
SELECT name, e.* FROM unnest('{all,none,some,nulls,zero}'::text[]) name, test.effective(name) e;
SELECT k, v.code, v.reason FROM unnest('{all,none,some,nulls,zero}'::text[]) k,
  apikey_verify(k || '-key', model => 'gpt-5', tokens => 1) v;
SELECT k, v.code, v.reason FROM unnest('{all,none,some,nulls,zero}'::text[]) k,
  apikey_verify(k || '-key', model => 'gpt-4o', tokens => 201) v;
-- It keeps its own.
SELECT name, plan, permissions FROM apikey_list() WHERE name IN ('all', 'none', 'some', 'nulls', 'zero') ORDER BY name;
SELECT name, keys FROM apikeys.plan_info WHERE keys > 0;

-- A change holds from the next verify on, however it is made.
SELECT apikey_plan_set('chat', '{"max_tokens_per_request": 300}');
SELECT name, e.* FROM unnest('{all,none,some,nulls,zero}'::text[]) name, test.effective(name) e;
UPDATE apikeys_data.plan SET permissions = '{"max_tokens_per_request": 400}' WHERE name = 'chat';
SELECT * FROM test.effective('all');
BEGIN;
SELECT apikey_plan_set('chat', '{"max_tokens_per_request": 500}');
SELECT * FROM test.effective('all');
SAVEPOINT s;
SELECT apikey_plan_set('chat');
SELECT * FROM test.effective('all');
ROLLBACK TO s;
SELECT * FROM test.effective('all');
ROLLBACK;
SELECT * FROM test.effective('all');
-- Also where nothing tells of it.
BEGIN;
DROP TRIGGER replace_installed ON apikeys_data.plan;
DROP TRIGGER invalidate_row ON apikeys_data.plan;
DROP TRIGGER invalidate_truncate ON apikeys_data.plan;
SELECT * FROM test.effective('all');
UPDATE apikeys_data.plan SET permissions = '{"max_tokens_per_request": 450}' WHERE name = 'chat';
SELECT * FROM test.effective('all');
ROLLBACK;
SELECT * FROM test.effective('all');
-- Also in a transaction whose snapshot is older.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT apikey_plan_set('chat', '{"max_tokens_per_request": 600}');
SELECT * FROM test.effective('all');
COMMIT;
SELECT * FROM test.effective('all');

-- Another plan, and none.
SELECT apikey_plan_set('other', '{"custom_permissions": ["other"]}');
SELECT name, plan, permissions FROM apikey_update(test.id('all'), '{"plan": "other"}');
SELECT * FROM test.effective('all');
SELECT details FROM test.last_event();
SELECT plan FROM apikey_update(test.id('all'), '{"plan": null}');
SELECT * FROM test.effective('all');
SELECT plan FROM apikey_update(test.id('all'), '{"plan": "chat"}');
SELECT plan FROM apikey_update(test.id('all'), '{"name": "all"}');

-- Its own document over it.
SELECT permissions FROM apikey_update(test.id('all'), '{"permissions": {"max_tokens_per_request": 7}}');
SELECT * FROM test.effective('all');
SELECT permissions FROM apikey_update(test.id('all'), '{"permissions": null}');
SELECT * FROM test.effective('all');

-- A new key, and a successor.
SELECT id, raw_key FROM apikey_generate('generated', plan => 'other') \gset
SELECT code, permissions FROM apikey_verify(:'raw_key');
SELECT id AS successor_id, raw_key AS successor FROM apikey_rotate(:'id', '1 hour') \gset
SELECT code, permissions FROM apikey_verify(:'successor');
SELECT name, plan, permissions FROM apikey_get(:'successor_id');

-- A login has what the plan gives at that time.
BEGIN;
SELECT code FROM apikey_login(:'successor', required_permissions => '{other}');
SELECT apikey_current_has_permission('other'), apikey_current_has_permission('more');
ROLLBACK;

-- Bad input changes nothing.
SELECT * FROM test.errors(
  $$SELECT apikey_plan_set(NULL)$$,
  $$SELECT apikey_plan_set('')$$,
  $$SELECT length(apikey_plan_set(repeat('x', 256))::text)$$,
  $$SELECT apikey_plan_set('bad', '{"allowed_model": []}')$$,
  $$SELECT apikey_plan_set('bad', '[]')$$,
  $$SELECT apikey_plan_set('bad', rate_limits => '{"requests_per_minute": -1}')$$,
  $$SELECT apikey_plan_set('bad', description => '')$$,
  $$SELECT apikey_plan_set('chat', '{"is_admin": 1}')$$,
  $$SELECT apikey_plan_delete(NULL)$$,
  $$SELECT apikey_plan_delete('')$$,
  $$SELECT apikey_plan_delete('bad')$$,
  $$SELECT apikey_plan_delete('chat')$$,
  $$SELECT apikey_generate('k', plan => 'bad')$$,
  $$SELECT apikey_generate('k', plan => '')$$,
  $$SELECT apikey_generate('k', plan => 'Chat')$$,
  $$SELECT apikey_import(sha256('k'), 'k', '...', plan => 'bad')$$,
  $$SELECT apikey_update(test.id('all'), '{"plan": "bad"}')$$,
  $$SELECT apikey_update(test.id('all'), '{"plan": 1}')$$,
  $$INSERT INTO apikeys_data.plan (name) VALUES ('')$$,
  $$INSERT INTO apikeys_data.plan (name, permissions) VALUES ('bad', '{"is_admin": 1}')$$,
  $$INSERT INTO apikeys_data.plan (name) VALUES ('chat')$$,
  $$UPDATE apikeys_data.plan SET rate_limits = '{"x": 1}' WHERE name = 'chat'$$,
  $$UPDATE apikeys_data.key SET plan = '' WHERE name = 'all'$$
);
SELECT name, permissions, rate_limits, keys FROM apikeys.plan_info WHERE name IN ('bad', 'chat', '', repeat('x', 256));
SELECT plan FROM apikey_get(test.id('all'));

-- A raw key is no name for a plan, nor part of a description.
SELECT raw_key FROM apikey_generate('to be named') \gset
SELECT replace(e, :'raw_key', 'RAW KEY') AS error FROM test.errors(
  format('SELECT apikey_plan_set(%L)', :'raw_key'),
  format('SELECT apikey_plan_set(%L, description => %L)', 'x', 'the key ' || :'raw_key'),
  format('SELECT apikey_plan_delete(%L)', :'raw_key'),
  format('SELECT apikey_generate(%L, plan => %L)', 'x', :'raw_key')) e;

-- The longest name, and any character.
SELECT apikey_plan_set(repeat('x', 255), description => repeat('x', 1000));
SELECT apikey_plan_set(E'a "quoted"\n''plan''');
SELECT test.make_key('quoted', E'a "quoted"\n''plan''');
SELECT plan FROM apikey_get(test.id('quoted'));
SELECT apikey_plan_delete(repeat('x', 255));

-- Deleted when no key has it any more, of whatever status.
SELECT apikey_revoke(test.id('quoted'));
SELECT * FROM test.errors($$SELECT apikey_plan_delete(E'a "quoted"\n''plan''')$$);
SELECT apikey_delete(test.id('quoted'));
SELECT apikey_plan_delete(E'a "quoted"\n''plan''');
SELECT count(apikey_delete(id)) FROM apikeys_data.key WHERE plan = 'other';
SELECT apikey_plan_delete('other');
SELECT * FROM test.last_event();
SELECT count(*) FROM apikeys.plan_info WHERE name = 'other';

-- The presets can be changed, copied and deleted.
SELECT apikey_plan_set('my ' || name, permissions, rate_limits, description) FROM apikeys.plan_info WHERE name = 'standard';
SELECT rate_limits, description FROM apikeys.plan_info WHERE name = 'my standard';
BEGIN;
SELECT apikey_plan_set('standard', rate_limits => '{"requests_per_minute": 1}');
SELECT rate_limits FROM apikeys.plan_info WHERE name = 'standard';
SELECT rate_limits FROM apikeys.plan_info WHERE name = 'my standard';
SELECT apikey_plan_delete('premium');
ROLLBACK;
-- A row that is inserted replaces one that nobody has changed, as a restore does.
BEGIN;
INSERT INTO apikeys_data.plan (name, description) VALUES ('standard', 'restored');
SELECT rate_limits, description, installed FROM apikeys_data.plan WHERE name = 'standard';
INSERT INTO apikeys_data.plan (name, description) VALUES ('standard', 'again');
ROLLBACK;

-- A key whose plan is missing, which takes the owner's hand, is none until the
-- plan is there.
BEGIN;
DELETE FROM apikeys_data.plan WHERE name = 'chat';
SELECT code FROM apikey_verify('all-key');
SELECT code FROM apikey_verify('none-key');
INSERT INTO apikeys_data.plan (name, permissions) VALUES ('chat', '{"is_admin": true}');
SELECT * FROM test.effective('all');
ROLLBACK;
SELECT * FROM test.effective('all');

-- Limits
SELECT apikey_plan_set('limited', rate_limits => '{"requests_per_day": 2, "requests_per_minute": 1000, "tokens_per_day": 100}');
SELECT test.make_key('limited', 'limited', rate_limits => '{"requests_per_minute": 0}'), test.make_key('free', 'limited', rate_limits => '{"requests_per_day": null, "requests_per_minute": 0, "tokens_per_day": 0}');
SELECT code, rate_limits FROM apikey_verify('free-key');
SELECT shared_memory FROM apikeys.stats \gset
\if :shared_memory
SELECT name, max, used FROM apikey_limits(test.id('limited'));
SELECT name, max, used FROM apikey_limits(test.id('free'));
SELECT code, rate_limits, limit_name, limit_remaining FROM apikey_verify('limited-key');
SELECT apikey_record_usage(test.id('limited'), 60);
SELECT code, reason FROM apikey_verify('limited-key', tokens => 50);
SELECT name, max, used FROM apikey_limits(test.id('limited'));
-- A larger plan
SELECT apikey_plan_set('limited', rate_limits => '{"requests_per_day": 2, "tokens_per_day": 200}');
SELECT code, limit_name, limit_remaining FROM apikey_verify('limited-key', tokens => 50);
SELECT code, reason FROM apikey_verify('limited-key');
SELECT name, max, used FROM apikey_limits(test.id('limited'));
\else
SELECT * FROM test.errors($$SELECT * FROM apikey_verify('limited-key')$$);
SELECT test.make_key('warned', 'standard');
SELECT count(*) FROM apikey_update(test.id('none'), '{"plan": "standard"}');
SELECT count(*) FROM apikey_update(test.id('free'), '{"plan": "standard"}');
\endif

-- Nobody may call these who may not.
SELECT p.proname, count(*) FILTER (WHERE a.grantee <> p.proowner) AS others
FROM pg_proc p LEFT JOIN LATERAL aclexplode(p.proacl) a ON true
WHERE p.proname LIKE 'apikey_plan%' OR p.proname LIKE '%_plan' GROUP BY 1 ORDER BY 1;

DROP FUNCTION test.make_key, test.effective, test.last_event;
