-- SPDX-License-Identifier: PostgreSQL

-- Keys.

CREATE TYPE apikeys.key_status AS ENUM ('active', 'disabled', 'expired', 'revoked');
COMMENT ON TYPE apikeys.key_status IS 'Effective status of a key.';

CREATE FUNCTION apikeys.check_key(
    name text, description text, external_id text, permissions jsonb,
    rate_limits jsonb, metadata jsonb, allowed_ips inet[], expires_at timestamptz,
    key_hash bytea, hash_secret text, key_prefix text, created_at timestamptz) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_key';
COMMENT ON FUNCTION apikeys.check_key(text, text, text, jsonb, jsonb, jsonb, inet[], timestamptz, bytea, text, text, timestamptz)
IS 'True for the values of a valid key; raises 22023 for any other.';

CREATE TABLE apikeys_data.key (
    id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    rotated_from uuid,
    rotated_at timestamptz,
    key_hash bytea NOT NULL UNIQUE,
    hash_secret text,
    key_prefix text NOT NULL,
    name text NOT NULL,
    description text,
    user_id uuid,
    team_id uuid,
    budget_id uuid,
    external_id text,
    permissions jsonb NOT NULL DEFAULT '{}',
    rate_limits jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    allowed_ips inet[],
    enabled boolean NOT NULL DEFAULT true,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    -- One constraint for all: the server parses each anew in each statement.
    CONSTRAINT key_is_valid CHECK (apikeys.check_key(
        name, description, external_id, permissions, rate_limits, metadata,
        allowed_ips, expires_at, key_hash, hash_secret, key_prefix, created_at))
);
COMMENT ON TABLE apikeys_data.key IS 'One row per key, with what apikey_verify reads. Raw keys are not stored, only their hashes.';

CREATE INDEX key_created_at_idx ON apikeys_data.key (created_at, id);
CREATE INDEX key_user_id_idx ON apikeys_data.key (user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX key_team_id_idx ON apikeys_data.key (team_id, created_at, id) WHERE team_id IS NOT NULL;
CREATE INDEX key_external_id_idx ON apikeys_data.key (external_id, created_at, id) WHERE external_id IS NOT NULL;
CREATE INDEX key_budget_id_idx ON apikeys_data.key (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX key_expires_at_idx ON apikeys_data.key (expires_at) WHERE expires_at IS NOT NULL;
-- Successors by rotation alone: others are found by id.
CREATE INDEX key_root_id_idx ON apikeys_data.key (root_id) WHERE root_id <> id;
CREATE INDEX key_hash_secret_idx ON apikeys_data.key (hash_secret, expires_at)
    WHERE hash_secret IS NOT NULL AND revoked_at IS NULL;

-- The user's data: pg_dump takes the rows along.
SELECT pg_extension_config_dump('apikeys_data.key', '');

CREATE FUNCTION apikeys.effective_status(revoked_at timestamptz, expires_at timestamptz,
                                         enabled boolean) RETURNS text
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_effective_status';
COMMENT ON FUNCTION apikeys.effective_status(timestamptz, timestamptz, boolean)
IS 'Status of a key by the wall clock, by the rule that verify uses.';

-- Usage is what has been rolled up and what has not: exact at any time,
-- since one statement sees both in one snapshot.
CREATE VIEW apikeys_data.key_info AS
SELECT k.id,
       k.root_id,
       k.rotated_from,
       k.key_prefix,
       k.name,
       k.description,
       k.user_id,
       k.team_id,
       k.budget_id,
       k.external_id,
       apikeys.effective_status(k.revoked_at, k.expires_at, k.enabled)::apikeys.key_status AS status,
       k.permissions,
       k.rate_limits,
       k.metadata,
       k.allowed_ips,
       k.expires_at,
       k.created_at,
       k.updated_at,
       k.revoked_at,
       greatest(u.last_used_at, apikeys.last_use(k.id)) AS last_used_at,
       coalesce(u.total_requests, 0) + e.requests AS total_requests,
       least(coalesce(u.total_tokens, 0) + e.tokens, 9223372036854775807)::bigint AS total_tokens,
       coalesce(u.total_cost, 0) + e.cost AS total_cost,
       coalesce(d.requests, 0) + e.requests_today AS requests_today,
       least(coalesce(d.tokens, 0) + e.tokens_today, 9223372036854775807)::bigint AS tokens_today,
       coalesce(d.cost, 0) + e.cost_today AS cost_today
FROM apikeys_data.key k
LEFT JOIN apikeys_data.usage u ON u.key_id = k.id
LEFT JOIN apikeys_data.usage_day d ON d.key_id = k.id AND d.day = apikeys.utc_today()
CROSS JOIN LATERAL (
    SELECT count(*) AS requests,
           coalesce(sum(p.tokens), 0) AS tokens,
           coalesce(sum(p.cost), 0) AS cost,
           count(*) FILTER (WHERE p.today) AS requests_today,
           coalesce(sum(p.tokens) FILTER (WHERE p.today), 0) AS tokens_today,
           coalesce(sum(p.cost) FILTER (WHERE p.today), 0) AS cost_today
    FROM (SELECT l.tokens, l.cost,
                 (l.recorded_at AT TIME ZONE 'UTC')::date = apikeys.utc_today() AS today
          FROM apikeys_data.usage_entry l
          WHERE l.key_id = k.id) p
) e;
COMMENT ON VIEW apikeys_data.key_info IS 'What apikeys.info shows; read by the functions of the extension.';

-- For people.  No function reads it or returns its type: whoever can name a
-- view can keep its readers waiting, with CREATE RULE beside an open
-- transaction that has read it.
CREATE VIEW apikeys.info AS SELECT i.* FROM apikeys_data.key_info i;
COMMENT ON VIEW apikeys.info IS 'Keys for administrators: no hashes; effective status, latest use and usage.';
