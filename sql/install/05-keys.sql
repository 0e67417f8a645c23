-- SPDX-License-Identifier: PostgreSQL

-- Keys.  DROP EXTENSION locks the tables in the order in which they were made,
-- and store_lock_keys_first() this one: so it comes first.

CREATE TYPE apikeys.key_status AS ENUM ('active', 'disabled', 'expired', 'revoked');
COMMENT ON TYPE apikeys.key_status IS 'Effective status of a key: the first of revoked, expired, disabled that applies, else active.';

CREATE FUNCTION apikeys.check_key(
    name text, description text, external_id text, permissions jsonb,
    rate_limits jsonb, metadata jsonb, allowed_ips inet[], expires_at timestamptz,
    idle_timeout interval, key_hash bytea, hash_secret text, key_prefix text,
    created_at timestamptz, plan text, revoke_reason text) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_key';
COMMENT ON FUNCTION apikeys.check_key(text, text, text, jsonb, jsonb, jsonb, inet[], timestamptz, interval, bytea, text, text, timestamptz, text, text)
IS 'True for the values of a valid key; raises 22023 for any other.';

CREATE FUNCTION apikeys.key_hash_start(key_hash bytea) RETURNS uuid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_key_hash_start';
COMMENT ON FUNCTION apikeys.key_hash_start(bytea)
IS 'The first 16 bytes of the hash of a key, by which it is found.';

CREATE FUNCTION apikeys_data.ten_minutes(at timestamptz) RETURNS timestamptz
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_ten_minutes';
COMMENT ON FUNCTION apikeys_data.ten_minutes(timestamptz)
IS 'The start of the ten minutes in which a time lies.';

-- Columns of a fixed length come first, those that need to be aligned before the
-- others: so there are no gaps.
CREATE TABLE apikeys_data.key (
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    rotated_at timestamptz,
    idle_since timestamptz,
    idle_timeout interval,
    id uuid PRIMARY KEY,
    root_id uuid,
    parent_id uuid,
    rotated_from uuid,
    user_id uuid,
    team_id uuid,
    budget_id uuid,
    enabled boolean NOT NULL DEFAULT true,
    key_hash bytea NOT NULL,
    hash_secret text COLLATE "C",
    key_prefix text NOT NULL,
    name text NOT NULL,
    description text,
    external_id text COLLATE "C",
    plan text COLLATE "C",
    permissions jsonb NOT NULL DEFAULT '{}',
    rate_limits jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    allowed_ips inet[],
    revoke_reason text,
    -- One constraint for all: the server parses each of them in each statement.
    CONSTRAINT key_is_valid CHECK (apikeys.check_key(
        name, description, external_id, permissions, rate_limits, metadata,
        allowed_ips, expires_at, idle_timeout, key_hash, hash_secret, key_prefix, created_at,
        plan, revoke_reason))
);
COMMENT ON COLUMN apikeys_data.key.root_id IS 'The first key of its family; null: itself.';
COMMENT ON COLUMN apikeys_data.key.updated_at IS 'When its row was last changed; null: it has not been since created_at.';
COMMENT ON COLUMN apikeys_data.key.idle_since IS 'From when on idle_timeout counts if the key was not used later; null: from created_at.';
COMMENT ON COLUMN apikeys_data.key.parent_id IS 'The key it was derived from, from which it has whatever is not its own; null: it is not derived.';
COMMENT ON TABLE apikeys_data.key IS 'One row per key, with what apikey_verify reads. Raw keys are not stored, only their hashes.';

-- Half of the hash, which takes half of the space.  That two keys have the same is as
-- unlikely as that somebody guesses one.
CREATE UNIQUE INDEX key_hash_start_idx ON apikeys_data.key (apikeys.key_hash_start(key_hash));
CREATE INDEX key_created_at_idx ON apikeys_data.key (created_at, id);
CREATE INDEX key_user_id_idx ON apikeys_data.key (user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX key_team_id_idx ON apikeys_data.key (team_id, created_at, id) WHERE team_id IS NOT NULL;
CREATE INDEX key_external_id_idx ON apikeys_data.key (external_id, created_at, id) WHERE external_id IS NOT NULL;
CREATE INDEX key_budget_id_idx ON apikeys_data.key (budget_id, created_at, id) WHERE budget_id IS NOT NULL;
-- For LIKE, in any locale.
CREATE INDEX key_name_idx ON apikeys_data.key (name text_pattern_ops);
CREATE INDEX key_metadata_idx ON apikeys_data.key USING gin (metadata jsonb_path_ops) WHERE metadata <> '{}';
-- Keys that expire together share an entry, a third in size.
CREATE INDEX key_expires_at_idx ON apikeys_data.key (apikeys_data.ten_minutes(expires_at)) WHERE expires_at IS NOT NULL;
CREATE INDEX key_idle_timeout_idx ON apikeys_data.key (created_at) WHERE idle_timeout IS NOT NULL;
-- Only successors by rotation: others are found by id.
CREATE INDEX key_root_id_idx ON apikeys_data.key (root_id) WHERE root_id <> id AND parent_id IS NULL;
CREATE INDEX key_parent_id_idx ON apikeys_data.key (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX key_hash_secret_idx ON apikeys_data.key (hash_secret, expires_at)
    WHERE hash_secret IS NOT NULL AND revoked_at IS NULL;

-- The user's data: pg_dump takes the rows along.
SELECT pg_extension_config_dump('apikeys_data.key', '');

CREATE FUNCTION apikeys.ends_at(expires_at timestamptz, idle_timeout interval,
                                idle_since timestamptz) RETURNS timestamptz
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_ends_at';
COMMENT ON FUNCTION apikeys.ends_at(timestamptz, interval, timestamptz)
IS 'When a key expires that is not used any more: at expires_at, or when it has been idle since idle_since for idle_timeout; null: never.';

CREATE FUNCTION apikeys.effective_status(revoked_at timestamptz, expires_at timestamptz,
                                         enabled boolean) RETURNS text
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_effective_status';
COMMENT ON FUNCTION apikeys.effective_status(timestamptz, timestamptz, boolean)
IS 'Effective status of a key now, as apikey_verify sees it: active, disabled, expired or revoked.';
