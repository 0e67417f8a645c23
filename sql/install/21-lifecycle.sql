-- SPDX-License-Identifier: PostgreSQL

-- From the making of a key to its end.

CREATE FUNCTION apikey_generate(
    name text, description text = NULL, user_id uuid = NULL, team_id uuid = NULL,
    budget_id uuid = NULL, permissions jsonb = '{}', rate_limits jsonb = '{}',
    expires_at timestamptz = NULL, metadata jsonb = '{}', external_id text = NULL,
    allowed_ips inet[] = NULL, prefix text = NULL,
    OUT id uuid, OUT raw_key text) RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_generate(text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text)
IS 'Makes a key. The raw key is shown here and never again.';

CREATE FUNCTION apikey_rotate(
    id uuid, grace interval = '0', expires_at timestamptz = NULL,
    OUT id uuid, OUT raw_key text) RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_rotate(uuid, interval, timestamptz)
IS 'Replaces a key by a new one with the same configuration; the old one ends now or after the grace period.';

CREATE FUNCTION apikey_revoke(id uuid) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_revoke(uuid)
IS 'Ends a key for good.';

CREATE FUNCTION apikey_update(id uuid, changes jsonb) RETURNS apikeys_data.key_info
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_update(uuid, jsonb)
IS 'Changes the members of a key that the document names; null clears a member.';

CREATE FUNCTION apikey_delete(id uuid) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_delete(uuid)
IS 'Deletes a key and what is known of its use. Its events stay.';

CREATE FUNCTION apikey_cleanup_expired(older_than interval = '0') RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_cleanup_expired(interval)
IS 'Deletes the keys that expired at least this long ago, and returns how many.';

CREATE FUNCTION apikey_import(
    key_hash bytea, name text, key_prefix text, description text = NULL,
    user_id uuid = NULL, team_id uuid = NULL, budget_id uuid = NULL,
    permissions jsonb = '{}', rate_limits jsonb = '{}', expires_at timestamptz = NULL,
    metadata jsonb = '{}', external_id text = NULL, allowed_ips inet[] = NULL,
    hash_secret text = NULL, created_at timestamptz = NULL) RETURNS uuid
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_import(bytea, text, text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text, timestamptz)
IS 'Takes over a key that was made elsewhere, by its hash.';
