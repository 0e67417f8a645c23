/* apikeys--1.0.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION apikeys CASCADE" to load this file. \quit

-- Nothing that somebody has put into the target schema may be found below.
SET LOCAL search_path = pg_catalog, pg_temp;

-- A plain CREATE: a schema that is there already may be somebody's trap.
CREATE SCHEMA apikeys;
COMMENT ON SCHEMA apikeys IS 'Tables, types and views of the apikeys extension.';

/* ---------------------------------------------------------------- tables */

CREATE TYPE apikeys.key_status AS ENUM ('active', 'disabled', 'expired', 'revoked');
COMMENT ON TYPE apikeys.key_status IS 'Effective status of a key.';

CREATE FUNCTION apikeys.check_permissions(permissions jsonb) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_permissions';
COMMENT ON FUNCTION apikeys.check_permissions(jsonb)
IS 'True for a permissions document that is right; raises 22023 for any other.';

CREATE FUNCTION apikeys.check_rate_limits(rate_limits jsonb) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_rate_limits';
COMMENT ON FUNCTION apikeys.check_rate_limits(jsonb)
IS 'True for a rate-limit document that is right; raises 22023 for any other.';

CREATE TABLE apikeys.key (
    id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    rotated_from uuid,
    rotated_at timestamptz,
    key_hash bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    hash_secret text CHECK (char_length(hash_secret) BETWEEN 1 AND 63),
    key_prefix text NOT NULL CHECK (key_prefix COLLATE "C" ~ '^[ -~]{1,32}$'),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    description text CHECK (char_length(description) BETWEEN 1 AND 1000),
    user_id uuid,
    team_id uuid,
    budget_id uuid,
    external_id text CHECK (char_length(external_id) BETWEEN 1 AND 255),
    permissions jsonb NOT NULL DEFAULT '{}' CHECK (apikeys.check_permissions(permissions)),
    rate_limits jsonb NOT NULL DEFAULT '{}' CHECK (apikeys.check_rate_limits(rate_limits)),
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    allowed_ips inet[] CHECK (allowed_ips IS NULL
                              OR coalesce(array_ndims(allowed_ips), 0) = 1
                              AND array_position(allowed_ips, NULL) IS NULL),
    enabled boolean NOT NULL DEFAULT true,
    expires_at timestamptz CHECK (expires_at > '-infinity'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (isfinite(created_at)),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);
COMMENT ON TABLE apikeys.key IS 'One row a key: what verify needs. Raw keys are not stored, only their hashes.';

CREATE INDEX key_created_at_idx ON apikeys.key (created_at, id);
CREATE INDEX key_user_id_idx ON apikeys.key (user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX key_team_id_idx ON apikeys.key (team_id, created_at, id) WHERE team_id IS NOT NULL;
CREATE INDEX key_external_id_idx ON apikeys.key (external_id, created_at, id) WHERE external_id IS NOT NULL;
CREATE INDEX key_expires_at_idx ON apikeys.key (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE apikeys.usage (
    key_id uuid PRIMARY KEY,
    last_used_at timestamptz
);
COMMENT ON TABLE apikeys.usage IS 'One row a key that has been used: when it was used last.';

CREATE TABLE apikeys.event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    action text NOT NULL,
    key_id uuid,
    session_role name NOT NULL DEFAULT SESSION_USER,
    acting_role name NOT NULL DEFAULT CURRENT_USER,
    client_addr inet DEFAULT inet_client_addr(),
    application_name text DEFAULT current_setting('application_name'),
    details jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE apikeys.event IS 'Append-only audit log: every change of a key, written in the same transaction.';

-- These are the user's data: pg_dump takes their rows along.
SELECT pg_extension_config_dump('apikeys.key', '');
SELECT pg_extension_config_dump('apikeys.usage', '');
SELECT pg_extension_config_dump('apikeys.event', '');
SELECT pg_extension_config_dump('apikeys.event_id_seq', '');

/* ----------------------------------------------------------------- views */

CREATE FUNCTION apikeys.effective_status(revoked_at timestamptz, expires_at timestamptz,
                                         enabled boolean) RETURNS text
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_effective_status';
COMMENT ON FUNCTION apikeys.effective_status(timestamptz, timestamptz, boolean)
IS 'Status of a key by the wall clock, by the rule that verify uses.';

CREATE VIEW apikeys.info AS
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
       u.last_used_at,
       0::bigint AS total_requests,
       0::bigint AS total_tokens,
       0::numeric AS total_cost,
       0::bigint AS requests_today,
       0::bigint AS tokens_today,
       0::numeric AS cost_today
FROM apikeys.key k
LEFT JOIN apikeys.usage u ON u.key_id = k.id;
COMMENT ON VIEW apikeys.info IS 'What people read about keys: no hash, effective status, last use.';

/* ------------------------------------------------------------ life cycle */

CREATE FUNCTION @extschema@.apikey_generate(
    name text, description text = NULL, user_id uuid = NULL, team_id uuid = NULL,
    budget_id uuid = NULL, permissions jsonb = '{}', rate_limits jsonb = '{}',
    expires_at timestamptz = NULL, metadata jsonb = '{}', external_id text = NULL,
    allowed_ips inet[] = NULL, prefix text = NULL,
    OUT id uuid, OUT raw_key text) RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_generate(text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text)
IS 'Makes a key. The raw key is shown here and never again.';

CREATE FUNCTION @extschema@.apikey_rotate(
    id uuid, grace interval = '0', expires_at timestamptz = NULL,
    OUT id uuid, OUT raw_key text) RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_rotate(uuid, interval, timestamptz)
IS 'Replaces a key by a new one with the same configuration; the old one ends now or after the grace period.';

CREATE FUNCTION @extschema@.apikey_revoke(id uuid) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_revoke(uuid)
IS 'Ends a key for good.';

CREATE FUNCTION @extschema@.apikey_update(id uuid, changes jsonb) RETURNS apikeys.info
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_update(uuid, jsonb)
IS 'Changes the members of a key that the document names; null clears a member.';

CREATE FUNCTION @extschema@.apikey_delete(id uuid) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_delete(uuid)
IS 'Deletes a key and what is known of its use. Its events stay.';

CREATE FUNCTION @extschema@.apikey_cleanup_expired(older_than interval = '0') RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_cleanup_expired(interval)
IS 'Deletes the keys that expired at least this long ago, and returns how many.';

CREATE FUNCTION @extschema@.apikey_import(
    key_hash bytea, name text, key_prefix text, description text = NULL,
    user_id uuid = NULL, team_id uuid = NULL, budget_id uuid = NULL,
    permissions jsonb = '{}', rate_limits jsonb = '{}', expires_at timestamptz = NULL,
    metadata jsonb = '{}', external_id text = NULL, allowed_ips inet[] = NULL,
    hash_secret text = NULL, created_at timestamptz = NULL) RETURNS uuid
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_import(bytea, text, text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text, timestamptz)
IS 'Takes over a key that was made elsewhere, by its hash.';

/* ---------------------------------------------------------- verification */

CREATE FUNCTION @extschema@.apikey_verify(
    raw_key text, model text = NULL, endpoint text = NULL,
    required_permissions text[] = NULL, tokens integer = NULL,
    client_ip inet = NULL, acquire_slot boolean = false,
    OUT valid boolean, OUT code text, OUT reason text, OUT id uuid, OUT root_id uuid,
    OUT name text, OUT key_prefix text, OUT user_id uuid, OUT team_id uuid,
    OUT budget_id uuid, OUT external_id text, OUT permissions jsonb,
    OUT rate_limits jsonb, OUT metadata jsonb, OUT expires_at timestamptz,
    OUT retry_after interval, OUT slot bigint) RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_verify(text, text, text, text[], integer, inet, boolean)
IS 'Says whether a key is good now. Always one row; call it in FROM.';

/* ------------------------------------------------ permissions and limits */

CREATE FUNCTION @extschema@.apikey_permissions_preset(preset text) RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_permissions_preset(text)
IS 'Permissions document by name: full_access, admin.';

CREATE FUNCTION @extschema@.apikey_rate_limits_preset(preset text) RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_rate_limits_preset(text)
IS 'Rate-limit document by name: unlimited, standard, premium.';

CREATE FUNCTION @extschema@.apikey_model_allowed(permissions jsonb, model text) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_model_allowed(jsonb, text)
IS 'True when a permissions document allows a model.';

CREATE FUNCTION @extschema@.apikey_endpoint_allowed(permissions jsonb, endpoint text) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_endpoint_allowed(jsonb, text)
IS 'True when a permissions document allows an endpoint.';

/* --------------------------------------------------------------- reading */

-- SECURITY DEFINER, so that EXECUTE is all a caller needs; the bodies are
-- bound here and now, so no search_path reaches them.

CREATE FUNCTION @extschema@.apikey_get(id uuid) RETURNS SETOF apikeys.info
LANGUAGE SQL STABLE SECURITY DEFINER ROWS 1
BEGIN ATOMIC
    SELECT i.* FROM apikeys.info i WHERE i.id = $1;
END;
COMMENT ON FUNCTION @extschema@.apikey_get(uuid)
IS 'Gives the row of apikeys.info of a key, or none.';

CREATE FUNCTION @extschema@.apikey_list(
    status apikeys.key_status = NULL, user_id uuid = NULL, team_id uuid = NULL,
    external_id text = NULL, row_limit integer = NULL, row_offset integer = 0,
    after uuid = NULL) RETURNS SETOF apikeys.info
LANGUAGE C STABLE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_list(apikeys.key_status, uuid, uuid, text, integer, integer, uuid)
IS 'Gives rows of apikeys.info, newest first.';

CREATE FUNCTION @extschema@.apikey_count(status apikeys.key_status = NULL) RETURNS bigint
LANGUAGE SQL STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT count(*)
    FROM apikeys.key k
    WHERE $1 IS NULL
       OR apikeys.effective_status(k.revoked_at, k.expires_at, k.enabled) = $1::text;
END;
COMMENT ON FUNCTION @extschema@.apikey_count(apikeys.key_status)
IS 'Counts keys, all or those of a status.';

/* ---------------------------------------------------------------- rights */

-- Nobody gets in by default.
REVOKE ALL ON FUNCTION
    apikeys.check_permissions(jsonb),
    apikeys.check_rate_limits(jsonb),
    apikeys.effective_status(timestamptz, timestamptz, boolean),
    @extschema@.apikey_generate(text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text),
    @extschema@.apikey_rotate(uuid, interval, timestamptz),
    @extschema@.apikey_revoke(uuid),
    @extschema@.apikey_update(uuid, jsonb),
    @extschema@.apikey_delete(uuid),
    @extschema@.apikey_cleanup_expired(interval),
    @extschema@.apikey_import(bytea, text, text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text, timestamptz),
    @extschema@.apikey_verify(text, text, text, text[], integer, inet, boolean),
    @extschema@.apikey_permissions_preset(text),
    @extschema@.apikey_rate_limits_preset(text),
    @extschema@.apikey_model_allowed(jsonb, text),
    @extschema@.apikey_endpoint_allowed(jsonb, text),
    @extschema@.apikey_get(uuid),
    @extschema@.apikey_list(apikeys.key_status, uuid, uuid, text, integer, integer, uuid),
    @extschema@.apikey_count(apikeys.key_status)
FROM PUBLIC;
