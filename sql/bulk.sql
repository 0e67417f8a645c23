-- Many keys at once.
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

-- Tests that look at all events need not look at these.
DELETE FROM apikeys_data.event WHERE id > :event_last;
DELETE FROM apikeys_data.key WHERE user_id IN (:'ann', :'bob');
