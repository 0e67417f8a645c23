-- SPDX-License-Identifier: PostgreSQL

-- From the making of a key to its end.

CREATE FUNCTION apikey_generate(
    name text, description text = NULL, user_id uuid = NULL, team_id uuid = NULL,
    budget_id uuid = NULL, permissions jsonb = '{}', rate_limits jsonb = '{}',
    expires_at timestamptz = NULL, metadata jsonb = '{}', external_id text = NULL,
    allowed_ips inet[] = NULL, prefix text = NULL, plan text = NULL,
    idle_timeout interval = NULL) RETURNS apikeys_data.new_key
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_generate(text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text, text, interval)
IS 'Makes a key and returns its id and the raw key, which is never shown again. Raises 22023 for an invalid argument, 23503 for an unknown budget_id or plan, 55000 if the HMAC secrets are not loaded.';

CREATE FUNCTION apikey_generate_many(
    count integer, name text, description text = NULL, user_id uuid = NULL, team_id uuid = NULL,
    budget_id uuid = NULL, permissions jsonb = '{}', rate_limits jsonb = '{}',
    expires_at timestamptz = NULL, metadata jsonb = '{}', external_id text = NULL,
    allowed_ips inet[] = NULL, prefix text = NULL, plan text = NULL,
    idle_timeout interval = NULL) RETURNS SETOF apikeys_data.new_key
LANGUAGE C VOLATILE ROWS 1000
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_generate_many(integer, text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text, text, interval)
IS 'Makes up to 1,000,000 keys that are alike, and returns a row as apikey_generate for each. Raises what apikey_generate raises.';

CREATE FUNCTION apikey_rotate(
    id uuid, grace interval = '0', expires_at timestamptz = NULL) RETURNS apikeys_data.new_key
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_rotate(uuid, interval, timestamptz)
IS 'Replaces a key by a new one with the same configuration, and returns the new id and raw key. The old key ends now or after the grace period. Raises P0002 for an unknown id, 55000 for a key that is revoked, expired or already rotated.';

CREATE FUNCTION apikey_revoke(id uuid, reason text = NULL) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_revoke(uuid, text)
IS 'Revokes a key for good. The reason stays with the key and in its event. Raises P0002 for an unknown id, 55000 for a key that is revoked already, 22023 for an invalid reason.';

CREATE FUNCTION apikey_revoke_where(
    user_id uuid = NULL, team_id uuid = NULL, budget_id uuid = NULL, plan text = NULL,
    reason text = NULL) RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_revoke_where(uuid, uuid, uuid, text, text)
IS 'Revokes all keys that meet all conditions, of which there must be one, and returns how many it has revoked. The reason stays with each key and in its event. Raises 22023 without a condition, and for an invalid reason.';

CREATE FUNCTION apikey_update(id uuid, changes jsonb) RETURNS apikeys_data.key_info
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_update(uuid, jsonb)
IS 'Sets the members of a key that the JSON object names, and returns its row of apikeys.info; null clears a member. Raises P0002 for an unknown id, 22023 for an unknown or invalid member, 23503 for an unknown budget_id or plan, 55000 for a revoked key.';

CREATE FUNCTION apikey_delete(id uuid) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_delete(uuid)
IS 'Deletes a key, those that are derived from it, and their usage; their events stay. Raises P0002 for an unknown id.';

CREATE FUNCTION apikey_cleanup_expired(older_than interval = '0') RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_cleanup_expired(interval)
IS 'Deletes the keys that expired at least this long ago, with those derived from them, and returns how many. Keys that somebody is changing are left for the next call.';

CREATE FUNCTION apikey_import(
    key_hash bytea, name text, key_prefix text, description text = NULL,
    user_id uuid = NULL, team_id uuid = NULL, budget_id uuid = NULL,
    permissions jsonb = '{}', rate_limits jsonb = '{}', expires_at timestamptz = NULL,
    metadata jsonb = '{}', external_id text = NULL, allowed_ips inet[] = NULL,
    hash_secret text = NULL, created_at timestamptz = NULL, plan text = NULL,
    idle_timeout interval = NULL) RETURNS uuid
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_import(bytea, text, text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text, timestamptz, text, interval)
IS 'Takes over a key from another system by its 32-byte hash (SHA-256, or HMAC-SHA-256 under hash_secret), and returns its id. key_prefix is its masked form. Raises 22023 for an invalid argument, 23503 for an unknown budget_id or plan, 23505 for a hash that exists.';

CREATE FUNCTION apikey_import_many(
    key_hashes bytea[], names text[], key_prefixes text[], description text = NULL,
    user_id uuid = NULL, team_id uuid = NULL, budget_id uuid = NULL,
    permissions jsonb = '{}', rate_limits jsonb = '{}', expires_at timestamptz = NULL,
    metadata jsonb = '{}', external_id text = NULL, allowed_ips inet[] = NULL,
    hash_secret text = NULL, created_at timestamptz = NULL, plan text = NULL,
    idle_timeout interval = NULL) RETURNS SETOF apikeys_data.imported_key
LANGUAGE C VOLATILE ROWS 1000
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_import_many(bytea[], text[], text[], text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text, timestamptz, text, interval)
IS 'Takes over up to 1,000,000 keys, one for each element of the first three arguments; the others are those of apikey_import, for all. Returns a row for each key. Raises what apikey_import raises.';

CREATE FUNCTION apikey_derive(
    raw_key text, expires_in interval, name text = NULL, permissions jsonb = '{}',
    rate_limits jsonb = '{}', metadata jsonb = '{}') RETURNS apikeys_data.new_key
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_derive(text, interval, text, jsonb, jsonb, jsonb)
IS 'Derives from a valid key another one that lives for at most 30 days and never longer than its parent, may do no more than that at any time, and counts in its limits and budgets, and in rate_limits of its own. Returns its id and raw key. Raises 28000 for a key that is not valid, 55000 for a derived one, 22023 for an invalid argument, 53400 for too many derived keys.';
