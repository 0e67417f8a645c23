CREATE EXTENSION apikeys CASCADE;

-- 1. Generate.  The raw key is shown this once; the table keeps its hash.

SELECT id, raw_key FROM apikey_generate('billing service', expires_at => now() + interval '90 days') \gset
\echo :raw_key

-- 2. Verify.  An application asks this with the text that a client sent.

SELECT valid, code, name, key_prefix FROM apikey_verify(:'raw_key');

SELECT valid, code, reason FROM apikey_verify('gw-thisIsNoKeyOfOurs');

-- 3. List.  Nobody can read a raw key or a hash here.

SELECT key_prefix, name, status, last_used_at IS NOT NULL AS used FROM apikey_list();

-- 4. Update.  Members that are absent stay as they are.

SELECT name, description, permissions
  FROM apikey_update(:'id', '{"description": "invoices", "permissions": {"allowed_models": ["gpt-4*"]}}');

-- 5. Rotate.  The new key works at once, the old one for another hour.

SELECT id AS new_id, raw_key AS new_raw_key FROM apikey_rotate(:'id', grace => '1 hour') \gset

SELECT code, name, expires_at < now() + interval '61 minutes' AS ends_soon FROM apikey_verify(:'raw_key');

SELECT code, name, expires_at < now() + interval '61 minutes' AS ends_soon FROM apikey_verify(:'new_raw_key');

-- 6. Revoke.  From here on the old key is refused everywhere.

SELECT apikey_revoke(:'id');

SELECT valid, code, reason FROM apikey_verify(:'raw_key');

SELECT valid, code, name FROM apikey_verify(:'new_raw_key');

-- 7. Import a key that another system made and hashed: its clients keep it.

SELECT apikey_import(digest('sk-made-elsewhere-0123456789', 'sha256'), 'partner', 'sk-m...6789') AS partner \gset

SELECT valid, code, name, key_prefix FROM apikey_verify('sk-made-elsewhere-0123456789');

-- 8. Count.

SELECT apikey_count() AS keys, apikey_count('active') AS active, apikey_count('revoked') AS revoked;

-- 9. Clean up: a key that lives for a moment, and then goes with the expired ones.

SELECT id, raw_key FROM apikey_generate('one-off job', expires_at => clock_timestamp() + interval '0.2 seconds') \gset

SELECT pg_sleep_until(expires_at) FROM apikey_get(:'id') \gset

SELECT valid, code, reason FROM apikey_verify(:'raw_key');

SELECT apikey_cleanup_expired() AS deleted;

SELECT valid, code, reason FROM apikey_verify(:'raw_key');

-- 10. All of it was written down.

SELECT action, count(*) FROM apikeys_data.event GROUP BY action ORDER BY min(id);
