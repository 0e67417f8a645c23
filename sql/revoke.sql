-- apikey_revoke
SELECT id, raw_key FROM apikey_generate('revoke', external_id => 'revoke 1') \gset
SELECT code FROM apikey_verify(:'raw_key');
SELECT apikey_revoke(:'id');
SELECT valid, code, reason, name, external_id FROM apikey_verify(:'raw_key');

-- The row stays, and says when.
SELECT status, revoked_at = updated_at AS updated_as_revoked, revoked_at BETWEEN created_at AND clock_timestamp() AS just_now
FROM apikey_get(:'id');
SELECT action FROM apikeys_data.event WHERE key_id = :'id' ORDER BY id;

-- A disabled key, and one that has expired, can be revoked.
SELECT id, raw_key FROM apikey_generate('revoke disabled') \gset
SELECT status FROM apikey_update(:'id', '{"enabled": false}');
SELECT apikey_revoke(id => :'id');
SELECT code FROM apikey_verify(:'raw_key');
SELECT id, raw_key FROM apikey_generate('revoke expired') \gset
UPDATE apikeys_data.key SET created_at = created_at - interval '1 day', expires_at = clock_timestamp() WHERE id = :'id';
SELECT apikey_revoke(:'id');
SELECT code FROM apikey_verify(:'raw_key');

-- In the grace period of a rotation: it ends the old key, not the new one.
SELECT id, raw_key FROM apikey_generate('revoke grace') \gset old_
SELECT id, raw_key FROM apikey_rotate(:'old_id', '1 hour') \gset new_
SELECT apikey_revoke(:'old_id');
SELECT o.code AS old, n.code AS new FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;

-- Errors.
SELECT count(*) AS events FROM apikeys_data.event WHERE action <> 'rehash' \gset before_
SELECT revoked_at FROM apikeys_data.key WHERE name = 'revoke' \gset before_
SELECT * FROM test.errors(
  $$SELECT apikey_revoke(NULL)$$,
  $$SELECT apikey_revoke('00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_revoke(test.id('revoke'))$$,
  $$SELECT apikey_revoke('not a uuid')$$
);
\set VERBOSITY sqlstate
SELECT apikey_revoke('00000000-0000-0000-0000-00000000dead');
SELECT apikey_revoke(test.id('revoke'));
BEGIN TRANSACTION READ ONLY;
SELECT apikey_revoke(test.id('revoke grace (rotated)'));
ROLLBACK;
\set VERBOSITY default
SELECT count(*) = :before_events AS no_event FROM apikeys_data.event WHERE action <> 'rehash';
SELECT revoked_at = :'before_revoked_at' AS unchanged FROM apikeys_data.key WHERE name = 'revoke';
