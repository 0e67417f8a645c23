-- HMAC secrets where no file is set; with one: test/t/401_secrets.pl.  Where
-- the server has one, secrets_1.out ends before the first question.
LOAD 'apikeys';
SELECT current_setting('apikeys.hmac_secret_file') = '' AS plain \gset
\if :plain
\else
\quit
\endif
\set VERBOSITY sqlstate
SHOW apikeys.hmac_secret_file;
SET apikeys.hmac_secret_file = '/nowhere';
SELECT context, setting FROM pg_settings WHERE name = 'apikeys.hmac_secret_file';
CREATE ROLE regress_apikeys_nosy;
SET ROLE regress_apikeys_nosy;
SHOW apikeys.hmac_secret_file;
SELECT * FROM apikeys.secret_usage;
SELECT * FROM apikeys.loaded_secrets();
RESET ROLE;
DROP ROLE regress_apikeys_nosy;

-- Keys are hashed plain.
SELECT raw_key FROM apikey_generate('secrets plain') \gset
SELECT hash_secret IS NULL AS plain, key_hash = digest(:'raw_key', 'sha256') AS hash FROM apikeys_data.key WHERE name = 'secrets plain';

-- A key that is signed is not found, and apikeys.secret_usage says why.
SELECT count(apikey_import(hmac('secrets ' || n, 'their secret', 'sha256'), 'secrets ' || n, 'x', hash_secret => 'theirs_2'))
FROM generate_series(1, 5) n;
SELECT code, name FROM apikey_verify('secrets 1');
SELECT secret, live_keys, loaded, is_current FROM apikeys.secret_usage WHERE secret = 'theirs_2';
SELECT live_keys > 0 AS live_keys, loaded, is_current FROM apikeys.secret_usage WHERE secret IS NULL;

-- Those that are revoked or expired do not count; those that are switched off do.
SELECT count(apikey_revoke(id)) FROM apikeys_data.key WHERE name = 'secrets 1';
SELECT count(apikey_update(id, '{"enabled": false}')) FROM apikeys_data.key WHERE name = 'secrets 2';
UPDATE apikeys_data.key SET expires_at = now() - interval '1 second' WHERE name = 'secrets 3';
UPDATE apikeys_data.key SET expires_at = now() + interval '1 day' WHERE name = 'secrets 4';
SELECT live_keys FROM apikeys.secret_usage WHERE secret = 'theirs_2';

-- A secret that only keys of the past were signed with is no longer used.
SELECT count(apikey_delete(id)) FROM apikeys_data.key WHERE name IN ('secrets 2', 'secrets 4', 'secrets 5');
SELECT * FROM apikeys.secret_usage WHERE secret = 'theirs_2';
SELECT count(apikey_delete(id)) FROM apikeys_data.key WHERE name LIKE 'secrets %';
