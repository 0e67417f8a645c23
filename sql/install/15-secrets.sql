-- SPDX-License-Identifier: PostgreSQL

-- Which HMAC secrets are loaded, and which are needed.

CREATE TYPE apikeys_data.loaded_secret AS (
    secret text COLLATE "C",
    is_current boolean
);
COMMENT ON TYPE apikeys_data.loaded_secret IS 'Columns of the view apikeys.secret_usage: what is loaded.';

CREATE FUNCTION apikeys.loaded_secrets() RETURNS SETOF apikeys_data.loaded_secret
LANGUAGE C VOLATILE ROWS 3
AS 'MODULE_PATHNAME', 'apikeys_loaded_secrets';
COMMENT ON FUNCTION apikeys.loaded_secrets()
IS 'One row per HMAC secret that this session has loaded, by name, and one for plain SHA-256 (null); is_current marks the one that new keys get.';

CREATE VIEW apikeys.secret_usage AS
SELECT u.secret,
       sum(u.live_keys)::bigint AS live_keys,
       bool_or(u.loaded) AS loaded,
       bool_or(u.is_current) AS is_current
FROM (SELECT l.secret, 0 AS live_keys, true AS loaded, l.is_current
      FROM apikeys.loaded_secrets() l
      UNION ALL
      SELECT k.hash_secret, count(*), false, false
      FROM apikeys_data.key k
      WHERE apikeys.effective_status(
                k.revoked_at,
                CASE WHEN k.idle_timeout IS NULL THEN k.expires_at
                     ELSE apikeys.ends_at(k.expires_at, k.idle_timeout,
                                          greatest(k.idle_since, k.created_at, apikeys.last_use(k.id),
                                                   (SELECT max(u.last_used_at) FROM apikeys_data.usage u
                                                    WHERE u.key_id = k.id))) END,
                k.enabled) IN ('active', 'disabled')
      GROUP BY k.hash_secret) u
GROUP BY u.secret;
COMMENT ON VIEW apikeys.secret_usage IS 'How many keys that are neither revoked nor expired are hashed under each HMAC secret; null is plain SHA-256.';

COMMENT ON COLUMN apikeys.secret_usage.secret IS 'Name of the secret; null for plain SHA-256.';
COMMENT ON COLUMN apikeys.secret_usage.live_keys IS 'Keys hashed under it that are neither revoked nor expired.';
COMMENT ON COLUMN apikeys.secret_usage.loaded IS 'True if this session has the secret: keys under it can be verified.';
COMMENT ON COLUMN apikeys.secret_usage.is_current IS 'True for the one under which new keys are hashed.';
