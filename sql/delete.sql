-- apikey_delete
SELECT id, raw_key FROM apikey_generate('delete') \gset
SELECT id AS other_id, raw_key AS other_raw_key FROM apikey_generate('delete not') \gset
SELECT code FROM apikey_verify(:'raw_key');
-- A flush that is under way may store that use after the delete; a clean-up finds it.
SELECT apikey_flush() >= 0 AS flushed;
SELECT apikey_delete(:'id');
SELECT code, id, name FROM apikey_verify(:'raw_key');
SELECT count(*) FROM apikey_get(:'id');
SELECT (SELECT count(*) FROM apikeys_data.key WHERE id = :'id') AS keys,
       (SELECT count(*) FROM apikeys_data.usage WHERE key_id = :'id') AS usage;
SELECT code FROM apikey_verify(:'other_raw_key');

-- Its events stay.
SELECT action FROM apikeys_data.event WHERE key_id = :'id' ORDER BY id;

-- A revoked key, a disabled one, and one that expires can be deleted.
SELECT id FROM apikey_generate('delete revoked') \gset
SELECT apikey_revoke(:'id');
SELECT apikey_delete(id => :'id');
SELECT id FROM apikey_generate('delete disabled', expires_at => 'infinity') \gset
SELECT status FROM apikey_update(:'id', '{"enabled": false}');
SELECT apikey_delete(:'id');
SELECT count(*) FROM apikeys_data.key WHERE name LIKE 'delete %abled' OR name = 'delete revoked';

-- Both ends of a rotation.
SELECT id, raw_key FROM apikey_generate('delete rotated') \gset old_
SELECT id, raw_key FROM apikey_rotate(:'old_id', '1 hour') \gset new_
SELECT apikey_delete(:'new_id');
SELECT o.code AS old, n.code AS new FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;

-- The hash of a deleted key is free again.
SELECT apikey_import(digest('delete-imported', 'sha256'), 'delete imported', 'del') AS id \gset
SELECT apikey_delete(:'id');
SELECT apikey_import(digest('delete-imported', 'sha256'), 'delete imported', 'del') <> :'id' AS imported_again;

-- Errors.
SELECT count(*) AS events FROM apikeys_data.event WHERE action <> 'rehash' \gset before_
SELECT * FROM test.errors(
  $$SELECT apikey_delete(NULL)$$,
  $$SELECT apikey_delete('00000000-0000-0000-0000-00000000dead')$$
);
\set VERBOSITY sqlstate
SELECT apikey_delete(:'id');
BEGIN TRANSACTION READ ONLY;
SELECT apikey_delete(:'other_id');
ROLLBACK;
\set VERBOSITY default
SELECT count(*) = :before_events AS no_event FROM apikeys_data.event WHERE action <> 'rehash';
SELECT code FROM apikey_verify(:'other_raw_key');
