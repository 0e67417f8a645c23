-- Many keys at once.
SELECT apikey_cleanup_expired() >= 0 AS done;
SELECT coalesce(max(id), 0) AS last FROM apikeys_data.event \gset event_
\set ann '00000000-0000-0000-0000-00000000a11c'
\set bob '00000000-0000-0000-0000-00000000b0b0'
\set team '00000000-0000-0000-0000-0000000000ea'

-- apikey_revoke_where: what meets all conditions, whatever its status.
SELECT apikey_budget_create('bulk', 1) AS budget \gset
SELECT apikey_plan_set('bulk');
SELECT count(*) FROM (VALUES
    ('ann', :'ann', NULL, NULL, NULL), ('ann in team', :'ann', :'team', NULL, NULL), ('ann disabled', :'ann', NULL, NULL, NULL),
    ('ann expired', :'ann', NULL, NULL, NULL), ('ann revoked', :'ann', NULL, NULL, NULL), ('bob in team', :'bob', :'team', NULL, NULL),
    ('budget', NULL, NULL, :'budget', NULL), ('plan', NULL, NULL, NULL, 'bulk'), ('budget and plan', NULL, NULL, :'budget', 'bulk'))
  k(name, user_id, team_id, budget_id, plan),
  LATERAL apikey_generate(k.name, user_id => k.user_id::uuid, team_id => k.team_id::uuid, budget_id => k.budget_id::uuid, plan => k.plan,
                          expires_at => '2999-01-01', idle_timeout => '1 year');
SELECT status FROM apikey_update(test.id('ann disabled'), '{"enabled": false}');
UPDATE apikeys_data.key SET created_at = created_at - interval '1 day', expires_at = clock_timestamp() WHERE id = test.id('ann expired');
SELECT apikey_revoke(test.id('ann revoked'), 'before');

SELECT apikey_revoke_where(:'ann', :'team', reason => 'left the team');
SELECT apikey_revoke_where(user_id => :'ann');
SELECT apikey_revoke_where(user_id => :'ann');
SELECT apikey_revoke_where(team_id => :'team', reason => 'team dissolved');
SELECT apikey_revoke_where(budget_id => :'budget', plan => 'bulk');
SELECT apikey_revoke_where(plan => 'bulk');
SELECT apikey_revoke_where(budget_id => :'budget');
SELECT apikey_revoke_where(plan => 'no such plan'), apikey_revoke_where(:'budget');
SELECT name, status, revoke_reason, revoked_at = updated_at AS updated_as_revoked FROM apikeys.info
WHERE name ~ '^(ann|bob in|budget|plan)' AND plan IS NOT DISTINCT FROM NULLIF(plan, 'x') AND created_at > now() - interval '2 days'
  AND id IN (SELECT key_id FROM apikeys_data.event WHERE id > :event_last) ORDER BY name COLLATE "C";

-- An event for each; nothing is left of their notices.
SELECT k.name, e.action, e.details FROM apikeys_data.event e JOIN apikeys_data.key k ON k.id = e.key_id
WHERE e.id > :event_last AND e.action = 'revoke' ORDER BY k.name COLLATE "C";
SELECT count(*) FROM apikeys_data.key_notice n JOIN apikeys_data.key k ON k.id = n.key_id WHERE k.revoked_at IS NOT NULL;

-- More than a batch; caches forget them.
INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name, user_id)
SELECT i, i, sha256(('bulk-' || n)::bytea), 'bulk', 'bulk ' || n, :'bob'
FROM generate_series(1, 10100) n, LATERAL (SELECT md5('bulk ' || n)::uuid AS i) i;
SELECT code FROM generate_series(1, 10100, 2500) n, LATERAL apikey_verify('bulk-' || n);
BEGIN;
SELECT apikey_revoke_where(user_id => :'bob');
SELECT code FROM apikey_verify('bulk-1');
ROLLBACK;
SELECT code FROM apikey_verify('bulk-1');
SELECT apikey_revoke_where(user_id => :'bob');
SELECT code FROM generate_series(1, 10100, 2500) n, LATERAL apikey_verify('bulk-' || n);
SELECT count(*), count(DISTINCT key_id) FROM apikeys_data.event e WHERE action = 'revoke' AND key_id IN (SELECT id FROM apikeys_data.key WHERE user_id = :'bob');
UPDATE apikeys_data.key SET created_at = now() - interval '1 day', expires_at = clock_timestamp() WHERE user_id = :'bob';
SELECT apikey_cleanup_expired();
SELECT count(*) FROM apikeys_data.event WHERE id > :event_last AND action = 'cleanup';

-- A snapshot from before: what was made since is not overlooked.
SELECT count(*) FROM apikey_generate('bulk seen', user_id => :'ann');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT apikey_revoke_where(:'ann');
COMMIT;

-- What others do in triggers meanwhile is as ever: a key that one makes has its
-- notice, and one that keeps a key from being revoked is an error.
CREATE FUNCTION test.make_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM apikey_generate('bulk by trigger', expires_at => '2999-01-01');
  RETURN NULL;
END $$;
CREATE TRIGGER make_key AFTER UPDATE ON apikeys_data.key FOR EACH ROW EXECUTE FUNCTION test.make_key();
SELECT count(*) FROM apikey_generate('bulk trigger', user_id => :'ann', expires_at => '2999-01-01');
SELECT apikey_revoke_where(:'ann');
DROP TRIGGER make_key ON apikeys_data.key;
SELECT count(n) FROM apikeys_data.key k LEFT JOIN apikeys_data.key_notice n ON n.key_id = k.id WHERE k.name = 'bulk by trigger';
CREATE FUNCTION test.prevent() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER prevent BEFORE UPDATE ON apikeys_data.key FOR EACH ROW EXECUTE FUNCTION test.prevent();
SELECT count(*) FROM apikey_generate('bulk prevented', user_id => :'ann');
SELECT * FROM test.errors(format('SELECT apikey_revoke_where(%L)', :'ann'));
DROP TRIGGER prevent ON apikeys_data.key;
DROP FUNCTION test.make_key, test.prevent;

-- Errors.
SELECT apikey_import(digest('sk-bulk-abcdefghijklmnop', 'sha256'), 'bulk raw', 'sk-...', user_id => :'ann') IS NOT NULL AS imported;
SELECT id FROM apikey_list('active', user_id => :'ann') WHERE name = 'bulk raw' \gset
SELECT set_config('test.key', raw_key, false) FROM apikey_generate('bulk other') \gset ignored_
SELECT * FROM test.errors(
  $$SELECT apikey_revoke_where()$$,
  $$SELECT apikey_revoke_where(NULL, NULL, NULL, NULL, 'reason')$$,
  $$SELECT apikey_revoke_where(plan => '')$$,
  $$SELECT apikey_revoke_where(plan => repeat('x', 256))$$,
  $$SELECT apikey_revoke_where('00000000-0000-0000-0000-00000000a11c', reason => '')$$,
  $$SELECT apikey_revoke_where('00000000-0000-0000-0000-00000000a11c', reason => repeat('x', 1001))$$,
  $$SELECT apikey_revoke_where('00000000-0000-0000-0000-00000000a11c', reason => 'found: sk-bulk-abcdefghijklmnop')$$,
  $$SELECT apikey_revoke_where('00000000-0000-0000-0000-00000000a11c', reason => current_setting('test.key'))$$
);
\set VERBOSITY sqlstate
SELECT apikey_revoke_where();
BEGIN TRANSACTION READ ONLY;
SELECT apikey_revoke_where(:'ann');
ROLLBACK;
\set VERBOSITY default
SELECT status FROM apikey_get(:'id');

-- Restricted to a user: his alone.
SELECT count(*) FROM apikey_generate('bulk restricted', user_id => :'bob', team_id => :'team');
SELECT count(*) FROM apikey_generate('bulk of ann', user_id => :'ann', team_id => :'team');
BEGIN;
SET LOCAL apikeys.restrict_to_user = :'bob';
SELECT apikey_revoke_where(:'ann');
SELECT apikey_revoke_where(team_id => :'team');
COMMIT;
SELECT name, status FROM apikeys.info WHERE name IN ('bulk restricted', 'bulk of ann') ORDER BY 1;

-- apikey_generate_many: as apikey_generate, but many.
BEGIN;
CREATE TEMPORARY TABLE made AS
SELECT * FROM apikey_generate_many(10100, 'bulk many', 'one of many', :'ann', :'team', permissions => '{"is_admin": true}', metadata => '{"n": 1}',
  external_id => 'bulk ext', prefix => 'bulk_', expires_at => '2999-01-01', idle_timeout => '1 year');
SELECT count(*), count(DISTINCT id) AS ids, count(DISTINCT raw_key) AS raw_keys, bool_and(raw_key ~ '^bulk_[0-9A-Za-z]{32}$') AS are_keys FROM made;
SELECT v.code, v.id = m.id AS same, v.root_id = m.id AS root, v.name, v.user_id, v.team_id, v.external_id, v.permissions, v.metadata, count(*)
FROM (SELECT * FROM made LIMIT 500) m, apikey_verify(m.raw_key) v GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;
SELECT k.description, k.idle_timeout, k.key_prefix = left(m.raw_key, 6) || '...' || right(m.raw_key, 4) AS masked, k.updated_at IS NULL AS new, count(*)
FROM made m JOIN apikeys_data.key k USING (id) GROUP BY 1, 2, 3, 4;
SELECT e.action, e.details = jsonb_build_object('name', 'bulk many', 'key_prefix', k.key_prefix) AS details, count(*)
FROM apikeys_data.event e JOIN apikeys_data.key k ON k.id = e.key_id WHERE k.name = 'bulk many' GROUP BY 1, 2;
SELECT n.by_idleness, count(*) FROM apikeys_data.key_notice n JOIN made ON id = key_id GROUP BY 1 ORDER BY 1;
ROLLBACK;
SELECT count(*) FROM apikey_generate_many(1, 'bulk plain');
SELECT count(*) FROM (SELECT apikey_generate_many(3, 'bulk in the list')) l;
-- A command that tells its own progress goes on to do so.
COPY (SELECT count(*), (SELECT count(*) FROM pg_stat_progress_copy WHERE pid = pg_backend_pid()) FROM apikey_generate_many(3, 'bulk copied')) TO STDOUT;
COPY (SELECT count(*), (SELECT count(*) FROM pg_stat_progress_copy WHERE pid = pg_backend_pid()) FROM apikey_import_many(ARRAY[sha256('bulk copied')], '{bulk copied}', '{b}')) TO STDOUT;

-- All or nothing.
BEGIN;
SELECT count(*) FROM apikey_generate_many(5, 'bulk undone');
ROLLBACK;
SELECT count(*) FROM apikeys_data.key WHERE name = 'bulk undone';
SELECT * FROM test.errors(
  $$SELECT apikey_generate_many(NULL, 'bulk undone')$$,
  $$SELECT apikey_generate_many(0, 'bulk undone')$$,
  $$SELECT apikey_generate_many(-1, 'bulk undone')$$,
  $$SELECT apikey_generate_many(1000001, 'bulk undone')$$,
  $$SELECT apikey_generate_many(2, NULL)$$,
  $$SELECT apikey_generate_many(2, '')$$,
  $$SELECT apikey_generate_many(2, 'bulk undone', prefix => 'no good')$$,
  $$SELECT apikey_generate_many(2, 'bulk undone', permissions => '[]')$$,
  $$SELECT apikey_generate_many(2, 'bulk undone', expires_at => '2000-01-01')$$,
  $$SELECT apikey_generate_many(2, 'bulk undone', plan => 'no such plan')$$,
  $$SELECT apikey_generate_many(2, 'bulk undone', budget_id => '00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_generate_many(2, current_setting('test.key'))$$
);

-- Restricted to a user.
BEGIN;
SET LOCAL apikeys.restrict_to_user = :'bob';
SELECT count(*) FROM apikey_generate_many(2, 'bulk of bob');
SAVEPOINT s;
SELECT count(*) FROM apikey_generate_many(2, 'bulk of bob', user_id => :'ann');
ROLLBACK TO s;
SELECT count(*) FROM apikey_import_many(ARRAY[sha256('bulk of bob 1'), sha256('bulk of bob 2')], '{bulk of bob,bulk of bob}', '{a,b}');
COMMIT;
SELECT user_id, count(*) FROM apikeys_data.key WHERE name = 'bulk of bob' GROUP BY 1;

-- apikey_import_many: as apikey_import, but many.
BEGIN;
CREATE TEMPORARY TABLE taken AS
SELECT m.* FROM (SELECT array_agg(sha256(('bulk-key-' || n)::bytea) ORDER BY n) AS hashes, array_agg('bulk name ' || n ORDER BY n) AS names,
                        array_agg('bulk...' || n ORDER BY n) AS prefixes FROM generate_series(1, 10100) n) a,
  apikey_import_many(a.hashes, a.names, a.prefixes, 'from elsewhere', :'ann', metadata => '{"old": true}', created_at => now() - interval '1 year',
    idle_timeout => '2 years') m;
SELECT count(*), count(DISTINCT id) AS ids FROM taken;
SELECT v.code, v.id = t.id AS same, v.name = 'bulk name ' || n AS named, v.key_prefix = 'bulk...' || n AS masked, v.metadata, count(*)
FROM generate_series(1, 10100, 100) n, LATERAL apikey_verify('bulk-key-' || n) v, taken t
WHERE t.key_hash = sha256(('bulk-key-' || n)::bytea) GROUP BY 1, 2, 3, 4, 5;
SELECT k.description, k.user_id, k.created_at < now() - interval '364 days' AS old, k.idle_since > now() - interval '1 day' AS idle_from_now, e.action,
  e.details = jsonb_build_object('name', k.name, 'key_prefix', k.key_prefix) AS details, count(*)
FROM taken t JOIN apikeys_data.key k USING (id) JOIN apikeys_data.event e ON e.key_id = k.id GROUP BY 1, 2, 3, 4, 5, 6;
SELECT n.by_idleness, count(*) FROM apikeys_data.key_notice n JOIN taken ON id = key_id GROUP BY 1 ORDER BY 1;

-- Each argument; what is there already, or twice; the keys themselves.
SELECT * FROM test.errors(
  $$SELECT apikey_import_many(NULL, '{n}', '{p}')$$,
  $$SELECT apikey_import_many('{}', '{}', '{}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a')], '{}', '{p}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a')], '{n}', '{p,q}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a')], '{NULL}', '{p}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a')], '{n}', NULL)$$,
  $$SELECT apikey_import_many(ARRAY[[sha256('a')]], '{n}', '{p}')$$,
  $$SELECT apikey_import_many(array_fill('\x00'::bytea, ARRAY[1000001]), '{n}', '{p}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a'), '\x00'], '{n,m}', '{p,q}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a'), sha256('b')], '{n,""}', '{p,q}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a'), sha256('b')], ARRAY['n', repeat('x', 256)], '{p,q}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a'), sha256('b')], '{n,m}', ARRAY['p', repeat('q', 33)])$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a'), sha256('b'), sha256('c'), sha256('b')], '{n,m,n,m}', '{p,q,p,q}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a'), sha256('bulk-key-7'), sha256('c')], '{n,m,n}', '{p,q,p}')$$,
  $$SELECT apikey_import_many(array_agg(sha256((CASE n WHEN 10050 THEN 'bulk-key-1' ELSE 'bulk-other-' || n END)::bytea) ORDER BY n), array_agg('n'::text), array_agg('p'::text)) FROM generate_series(1, 10100) n$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a'), sha256('sk-bulk-0123456789')], '{n,is sk-bulk-0123456789}', '{p,q}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a'), sha256('sk-bulk-0123456789')], '{n,m}', '{p,sk-bulk-0123456789}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a'), sha256('sk-bulk-0123456789')], '{n,m}', '{p,q}', metadata => '{"key": "sk-bulk-0123456789"}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a')], ARRAY[current_setting('test.key')], '{p}')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a')], '{n}', '{p}', hash_secret => 'no secret!')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a')], '{n}', '{p}', created_at => 'infinity')$$,
  $$SELECT apikey_import_many(ARRAY[sha256('a')], '{n}', '{p}', plan => 'no such plan')$$
);
SELECT count(*) FROM apikeys_data.key WHERE key_hash = sha256('a') OR name IN ('n', 'm');
ROLLBACK;

-- Tests that look at all events need not look at these.
DELETE FROM apikeys_data.event WHERE id > :event_last;
DELETE FROM apikeys_data.key WHERE user_id IN (:'ann', :'bob') OR name ~ '^bulk';
