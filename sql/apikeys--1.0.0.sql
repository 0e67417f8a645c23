/* apikeys--1.0.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION apikeys CASCADE" to load this file. \quit

-- The tables and views are made under a pinned search_path: nothing that
-- somebody has put into the target schema may be found there.  The functions
-- that users call come after, under the path that CREATE EXTENSION has set,
-- which makes them in the target schema, whatever its name; there every name
-- and operator that needs to be looked up is qualified.
SELECT pg_catalog.set_config('apikeys_install.search_path',
                             pg_catalog.current_setting('search_path'), true);
SET LOCAL search_path = pg_catalog, pg_temp;

-- A plain CREATE: a schema that is there already may be somebody's trap.
CREATE SCHEMA apikeys;
COMMENT ON SCHEMA apikeys IS 'Tables, types and views of the apikeys extension.';

/* ---------------------------------------------------------------- tables */

CREATE TYPE apikeys.key_status AS ENUM ('active', 'disabled', 'expired', 'revoked');
COMMENT ON TYPE apikeys.key_status IS 'Effective status of a key.';

CREATE FUNCTION apikeys.check_key(
    name text, description text, external_id text, permissions jsonb,
    rate_limits jsonb, metadata jsonb, allowed_ips inet[], expires_at timestamptz,
    key_hash bytea, hash_secret text, key_prefix text, created_at timestamptz) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_key';
COMMENT ON FUNCTION apikeys.check_key(text, text, text, jsonb, jsonb, jsonb, inet[], timestamptz, bytea, text, text, timestamptz)
IS 'True for the values of a key that is sound; raises 22023 for any other.';

CREATE TABLE apikeys.key (
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
    CONSTRAINT key_is_sound CHECK (apikeys.check_key(
        name, description, external_id, permissions, rate_limits, metadata,
        allowed_ips, expires_at, key_hash, hash_secret, key_prefix, created_at))
);
COMMENT ON TABLE apikeys.key IS 'One row a key: what verify needs. Raw keys are not stored, only their hashes.';

CREATE INDEX key_created_at_idx ON apikeys.key (created_at, id);
CREATE INDEX key_user_id_idx ON apikeys.key (user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX key_team_id_idx ON apikeys.key (team_id, created_at, id) WHERE team_id IS NOT NULL;
CREATE INDEX key_external_id_idx ON apikeys.key (external_id, created_at, id) WHERE external_id IS NOT NULL;
CREATE INDEX key_budget_id_idx ON apikeys.key (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX key_expires_at_idx ON apikeys.key (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX key_hash_secret_idx ON apikeys.key (hash_secret, expires_at)
    WHERE hash_secret IS NOT NULL AND revoked_at IS NULL;

-- Caches of keys depend on this: see src/cache/keycache.c.
CREATE TABLE apikeys.fence ();
COMMENT ON TABLE apikeys.fence IS 'Nobody reads it: its invalidation empties the caches of keys.';

CREATE FUNCTION apikeys.raise_fence() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_raise_fence';
COMMENT ON FUNCTION apikeys.raise_fence() IS 'Empties the caches of keys in all backends.';

CREATE TRIGGER fence_row BEFORE UPDATE OR DELETE ON apikeys.key
FOR EACH ROW EXECUTE FUNCTION apikeys.raise_fence();
COMMENT ON TRIGGER fence_row ON apikeys.key IS 'A changed key empties the caches.';

CREATE TRIGGER fence_truncate BEFORE TRUNCATE ON apikeys.key
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.raise_fence();
COMMENT ON TRIGGER fence_truncate ON apikeys.key IS 'Changed keys empty the caches.';

-- ALWAYS: also where rows come by logical replication.
ALTER TABLE apikeys.key ENABLE ALWAYS TRIGGER fence_row;
ALTER TABLE apikeys.key ENABLE ALWAYS TRIGGER fence_truncate;

CREATE FUNCTION apikeys.check_budget(
    name text, max_cost numeric, reset_every interval, created_at timestamptz) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_budget';
COMMENT ON FUNCTION apikeys.check_budget(text, numeric, interval, timestamptz)
IS 'True for the values of a budget that is sound; raises 22023 for any other.';

CREATE TABLE apikeys.budget (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    max_cost numeric NOT NULL,
    reset_every interval,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT budget_is_sound CHECK (apikeys.check_budget(name, max_cost, reset_every, created_at))
);
COMMENT ON TABLE apikeys.budget IS 'Spending pools that keys point to with budget_id.';

-- INSERT, too: that there is no budget with an id is kept as well.
CREATE TRIGGER fence_row BEFORE INSERT OR UPDATE OR DELETE ON apikeys.budget
FOR EACH ROW EXECUTE FUNCTION apikeys.raise_fence();
COMMENT ON TRIGGER fence_row ON apikeys.budget IS 'A changed budget empties the caches.';

CREATE TRIGGER fence_truncate BEFORE TRUNCATE ON apikeys.budget
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.raise_fence();
COMMENT ON TRIGGER fence_truncate ON apikeys.budget IS 'Changed budgets empty the caches.';

ALTER TABLE apikeys.budget ENABLE ALWAYS TRIGGER fence_row;
ALTER TABLE apikeys.budget ENABLE ALWAYS TRIGGER fence_truncate;

-- No foreign keys below: their checks would lock the row of a hot key.
CREATE TABLE apikeys.usage (
    key_id uuid PRIMARY KEY,
    last_used_at timestamptz,
    total_requests bigint NOT NULL DEFAULT 0 CHECK (total_requests >= 0),
    total_tokens bigint NOT NULL DEFAULT 0 CHECK (total_tokens >= 0),
    total_cost numeric NOT NULL DEFAULT 0 CHECK (total_cost >= 0)
);
COMMENT ON TABLE apikeys.usage IS 'One row a key that has been used: its last use, and what has been rolled up.';

CREATE FUNCTION apikeys.try_lock_use(key_id uuid) RETURNS boolean
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'apikeys_try_lock_use';
COMMENT ON FUNCTION apikeys.try_lock_use(uuid)
IS 'True when nobody else is about to make the row of usage of a key.';

CREATE TABLE apikeys.usage_day (
    key_id uuid,
    day date,
    requests bigint NOT NULL DEFAULT 0 CHECK (requests >= 0),
    tokens bigint NOT NULL DEFAULT 0 CHECK (tokens >= 0),
    cost numeric NOT NULL DEFAULT 0 CHECK (cost >= 0),
    PRIMARY KEY (key_id, day)
);
COMMENT ON TABLE apikeys.usage_day IS 'One row a key and UTC day: what has been rolled up.';

CREATE TABLE apikeys.usage_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    tokens bigint NOT NULL CHECK (tokens >= 0),
    cost numeric NOT NULL CHECK (cost >= 0 AND cost < 1e18),
    budget_id uuid,
    budget_period timestamptz,
    CHECK ((budget_id IS NULL) = (budget_period IS NULL))
);
COMMENT ON COLUMN apikeys.usage_entry.budget_id IS 'Budget of the key when it was recorded.';
COMMENT ON COLUMN apikeys.usage_entry.budget_period IS 'Start of the budget''s period in which it was recorded.';
COMMENT ON TABLE apikeys.usage_entry IS 'Append-only ledger of apikey_record_usage, until it is rolled up.';

CREATE INDEX usage_entry_key_id_idx ON apikeys.usage_entry (key_id);
CREATE INDEX usage_entry_budget_id_idx ON apikeys.usage_entry (budget_id) WHERE budget_id IS NOT NULL;

CREATE TABLE apikeys.budget_period (
    budget_id uuid,
    started_at timestamptz,
    spent numeric NOT NULL CHECK (spent >= 0),
    PRIMARY KEY (budget_id, started_at)
);
COMMENT ON TABLE apikeys.budget_period IS 'One row a budget and period: what has been rolled up.';

CREATE TABLE apikeys.event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    action text NOT NULL,
    key_id uuid,
    session_role name NOT NULL DEFAULT SESSION_USER,
    acting_role name NOT NULL DEFAULT CURRENT_USER,
    client_addr inet DEFAULT inet_client_addr(),
    application_name text DEFAULT current_setting('application_name'),
    details jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (at, id)
);
COMMENT ON TABLE apikeys.event IS 'Append-only audit log: every change of a key, written in the same transaction.';

CREATE INDEX event_key_id_idx ON apikeys.event (key_id);

CREATE FUNCTION apikeys.notify_event() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_notify_event';
COMMENT ON FUNCTION apikeys.notify_event() IS 'Sends a new event to apikeys.notify_channel, where that is set.';

CREATE TRIGGER notify AFTER INSERT ON apikeys.event
FOR EACH ROW EXECUTE FUNCTION apikeys.notify_event();
COMMENT ON TRIGGER notify ON apikeys.event IS 'Listeners hear of an event at its commit.';

-- ALWAYS: also what a flush writes.
ALTER TABLE apikeys.event ENABLE ALWAYS TRIGGER notify;

-- These are the user's data: pg_dump takes their rows along.
SELECT pg_extension_config_dump('apikeys.key', '');
SELECT pg_extension_config_dump('apikeys.usage', '');
SELECT pg_extension_config_dump('apikeys.usage_day', '');
SELECT pg_extension_config_dump('apikeys.usage_entry', '');
SELECT pg_extension_config_dump('apikeys.usage_entry_id_seq', '');
SELECT pg_extension_config_dump('apikeys.budget', '');
SELECT pg_extension_config_dump('apikeys.budget_period', '');
SELECT pg_extension_config_dump('apikeys.event', '');
SELECT pg_extension_config_dump('apikeys.event_id_seq', '');

/* ----------------------------------------------------------------- views */

CREATE FUNCTION apikeys.effective_status(revoked_at timestamptz, expires_at timestamptz,
                                         enabled boolean) RETURNS text
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_effective_status';
COMMENT ON FUNCTION apikeys.effective_status(timestamptz, timestamptz, boolean)
IS 'Status of a key by the wall clock, by the rule that verify uses.';

CREATE FUNCTION apikeys.last_use(id uuid) RETURNS timestamptz
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_last_use';
COMMENT ON FUNCTION apikeys.last_use(uuid)
IS 'Last use of a key that shared memory knows.';

CREATE FUNCTION apikeys.utc_today() RETURNS date
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_utc_today';
COMMENT ON FUNCTION apikeys.utc_today()
IS 'Day in UTC, by the wall clock.';

-- Usage is what has been rolled up and what has not: exact at any time,
-- since one statement sees both in one snapshot.
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
       greatest(u.last_used_at, apikeys.last_use(k.id)) AS last_used_at,
       coalesce(u.total_requests, 0) + e.requests AS total_requests,
       least(coalesce(u.total_tokens, 0) + e.tokens, 9223372036854775807)::bigint AS total_tokens,
       coalesce(u.total_cost, 0) + e.cost AS total_cost,
       coalesce(d.requests, 0) + e.requests_today AS requests_today,
       least(coalesce(d.tokens, 0) + e.tokens_today, 9223372036854775807)::bigint AS tokens_today,
       coalesce(d.cost, 0) + e.cost_today AS cost_today
FROM apikeys.key k
LEFT JOIN apikeys.usage u ON u.key_id = k.id
LEFT JOIN apikeys.usage_day d ON d.key_id = k.id AND d.day = apikeys.utc_today()
CROSS JOIN LATERAL (
    SELECT count(*) AS requests,
           coalesce(sum(p.tokens), 0) AS tokens,
           coalesce(sum(p.cost), 0) AS cost,
           count(*) FILTER (WHERE p.today) AS requests_today,
           coalesce(sum(p.tokens) FILTER (WHERE p.today), 0) AS tokens_today,
           coalesce(sum(p.cost) FILTER (WHERE p.today), 0) AS cost_today
    FROM (SELECT l.tokens, l.cost,
                 (l.recorded_at AT TIME ZONE 'UTC')::date = apikeys.utc_today() AS today
          FROM apikeys.usage_entry l
          WHERE l.key_id = k.id) p
) e;
COMMENT ON VIEW apikeys.info IS 'What people read about keys: no hash, effective status, live last use, usage.';

CREATE FUNCTION apikeys.period_at(
    origin timestamptz, every interval, at timestamptz,
    OUT started_at timestamptz, OUT ends_at timestamptz) RETURNS record
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_period_at';
COMMENT ON FUNCTION apikeys.period_at(timestamptz, interval, timestamptz)
IS 'Period in which a time lies, when they start at multiples of an interval from an origin, in UTC.';

-- What was spent in a period counts where that period started, so that this
-- also holds after a change of reset_every.
CREATE VIEW apikeys.budget_info AS
SELECT b.id,
       b.name,
       b.max_cost,
       s.spent,
       greatest(b.max_cost - s.spent, 0) AS remaining,
       b.reset_every,
       p.started_at AS period_started_at,
       nullif(p.ends_at, 'infinity') AS period_ends_at
FROM apikeys.budget b
CROSS JOIN LATERAL apikeys.period_at(b.created_at, b.reset_every, clock_timestamp()) p
CROSS JOIN LATERAL (
    SELECT coalesce(sum(c.cost), 0) AS spent
    FROM (SELECT r.spent AS cost
          FROM apikeys.budget_period r
          WHERE r.budget_id = b.id
            AND r.started_at >= p.started_at AND r.started_at < p.ends_at
          UNION ALL
          SELECT e.cost
          FROM apikeys.usage_entry e
          WHERE e.budget_id = b.id
            AND e.budget_period >= p.started_at AND e.budget_period < p.ends_at) c
) s;
COMMENT ON VIEW apikeys.budget_info IS 'What people read about budgets: limit, what is spent and left, and the present period.';

CREATE FUNCTION apikeys.read_stats(
    OUT since timestamptz, OUT shared_memory boolean, OUT valid bigint,
    OUT not_found bigint, OUT revoked bigint, OUT expired bigint, OUT disabled bigint,
    OUT forbidden bigint, OUT insufficient_permissions bigint, OUT rate_limited bigint,
    OUT budget_exceeded bigint, OUT cache_hits bigint, OUT cache_misses bigint,
    OUT cache_invalidations bigint, OUT entries_used bigint, OUT entries_free bigint,
    OUT pending bigint, OUT evictions bigint, OUT dropped bigint, OUT flushes bigint,
    OUT rows_flushed bigint, OUT flush_errors bigint, OUT workers_started bigint,
    OUT last_flush_at timestamptz) RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'apikeys_read_stats';
COMMENT ON FUNCTION apikeys.read_stats() IS 'Figures of the view apikeys.stats.';

CREATE VIEW apikeys.stats AS
SELECT s.since,
       s.shared_memory,
       s.valid,
       s.not_found,
       s.revoked,
       s.expired,
       s.disabled,
       s.forbidden,
       s.insufficient_permissions,
       s.rate_limited,
       s.budget_exceeded,
       s.cache_hits,
       s.cache_misses,
       s.cache_invalidations,
       s.entries_used,
       s.entries_free,
       s.pending,
       s.evictions,
       s.dropped,
       s.flushes,
       s.rows_flushed,
       s.flush_errors,
       s.last_flush_at,
       s.workers_started
FROM apikeys.read_stats() s;
COMMENT ON VIEW apikeys.stats IS 'What operators read: verifies by outcome, table fill, flushes, of the whole server.';

CREATE FUNCTION apikeys.loaded_secrets(OUT secret text, OUT signs boolean) RETURNS SETOF record
LANGUAGE C VOLATILE ROWS 3
AS 'MODULE_PATHNAME', 'apikeys_loaded_secrets';
COMMENT ON FUNCTION apikeys.loaded_secrets()
IS 'Names of the HMAC secrets that this session has loaded, and null for plain SHA-256.';

CREATE VIEW apikeys.secret_usage AS
SELECT u.secret,
       sum(u.live_keys)::bigint AS live_keys,
       bool_or(u.loaded) AS loaded,
       bool_or(u.signs) AS signs
FROM (SELECT l.secret, 0 AS live_keys, true AS loaded, l.signs
      FROM apikeys.loaded_secrets() l
      UNION ALL
      SELECT k.hash_secret, count(*), false, false
      FROM apikeys.key k
      WHERE apikeys.effective_status(k.revoked_at, k.expires_at, k.enabled) IN ('active', 'disabled')
      GROUP BY k.hash_secret) u
GROUP BY u.secret;
COMMENT ON VIEW apikeys.secret_usage IS 'How many keys that are neither revoked nor expired each HMAC secret still signs; null is plain SHA-256.';

SELECT set_config('search_path', current_setting('apikeys_install.search_path'), true);

/* ------------------------------------------------------------ life cycle */

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

CREATE FUNCTION apikey_update(id uuid, changes jsonb) RETURNS apikeys.info
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

/* ---------------------------------------------------------- verification */

CREATE FUNCTION apikey_verify(
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
COMMENT ON FUNCTION apikey_verify(text, text, text, text[], integer, inet, boolean)
IS 'Says whether a key is good now. Always one row; call it in FROM.';

CREATE FUNCTION apikey_release(slot bigint) RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_release(bigint)
IS 'Gives a slot of apikey_verify back. True if it was held.';

/* ------------------------------------------------ permissions and limits */

CREATE FUNCTION apikey_permissions_preset(preset text) RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_permissions_preset(text)
IS 'Permissions document by name: full_access, admin.';

CREATE FUNCTION apikey_rate_limits_preset(preset text) RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_rate_limits_preset(text)
IS 'Rate-limit document by name: unlimited, standard, premium.';

CREATE FUNCTION apikey_model_allowed(permissions jsonb, model text) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_model_allowed(jsonb, text)
IS 'True when a permissions document allows a model.';

CREATE FUNCTION apikey_endpoint_allowed(permissions jsonb, endpoint text) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_endpoint_allowed(jsonb, text)
IS 'True when a permissions document allows an endpoint.';

CREATE FUNCTION apikey_limits(
    id uuid, OUT name text, OUT max numeric, OUT used numeric, OUT remaining numeric,
    OUT resets_in interval) RETURNS SETOF record
LANGUAGE C VOLATILE ROWS 6
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_limits(uuid)
IS 'Gives the limits of a key and how much of each is used now.';

/* --------------------------------------------------------------- reading */

-- SECURITY DEFINER, so that EXECUTE is all a caller needs; the bodies are
-- bound here and now, so no search_path reaches them.

CREATE FUNCTION apikey_get(id uuid) RETURNS SETOF apikeys.info
LANGUAGE SQL STABLE SECURITY DEFINER ROWS 1
BEGIN ATOMIC
    SELECT i.* FROM apikeys.info i WHERE i.id OPERATOR(pg_catalog.=) $1;
END;
COMMENT ON FUNCTION apikey_get(uuid)
IS 'Gives the row of apikeys.info of a key, or none.';

CREATE FUNCTION apikey_list(
    status apikeys.key_status = NULL, user_id uuid = NULL, team_id uuid = NULL,
    external_id text = NULL, row_limit integer = NULL, row_offset integer = 0,
    after uuid = NULL) RETURNS SETOF apikeys.info
LANGUAGE C STABLE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_list(apikeys.key_status, uuid, uuid, text, integer, integer, uuid)
IS 'Gives rows of apikeys.info, newest first.';

CREATE FUNCTION apikey_count(status apikeys.key_status = NULL) RETURNS bigint
LANGUAGE SQL STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT pg_catalog.count(*)
    FROM apikeys.key k
    WHERE $1 IS NULL
       OR apikeys.effective_status(k.revoked_at, k.expires_at, k.enabled)
          OPERATOR(pg_catalog.=) $1::pg_catalog.text;
END;
COMMENT ON FUNCTION apikey_count(apikeys.key_status)
IS 'Counts keys, all or those of a status.';

/* ----------------------------------------------------------------- usage */

CREATE FUNCTION apikey_record_usage(id uuid, tokens bigint = 0, cost numeric = 0) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_record_usage(uuid, bigint, numeric)
IS 'Records one request of a key, in the caller''s transaction.';

CREATE FUNCTION apikey_usage(
    id uuid, OUT total_requests bigint, OUT total_tokens bigint, OUT total_cost numeric,
    OUT requests_today bigint, OUT tokens_today bigint, OUT cost_today numeric,
    OUT last_used_at timestamptz) RETURNS record
LANGUAGE C STABLE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_usage(uuid)
IS 'Gives what a key has used, exact to the last committed entry. Days are UTC.';

CREATE FUNCTION apikey_usage_history(
    id uuid, from_day date = NULL, to_day date = NULL,
    OUT day date, OUT requests bigint, OUT tokens bigint, OUT cost numeric) RETURNS SETOF record
LANGUAGE SQL STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT h.day,
           pg_catalog.sum(h.requests)::pg_catalog.int8,
           LEAST(pg_catalog.sum(h.tokens), 9223372036854775807)::pg_catalog.int8,
           pg_catalog.sum(h.cost)
    FROM (SELECT d.day, d.requests, d.tokens, d.cost
          FROM apikeys.usage_day d
          WHERE d.key_id OPERATOR(pg_catalog.=) $1
          UNION ALL
          SELECT pg_catalog.timezone('UTC', e.recorded_at)::pg_catalog.date,
                 1, e.tokens, e.cost
          FROM apikeys.usage_entry e
          WHERE e.key_id OPERATOR(pg_catalog.=) $1) h
    WHERE ($2 IS NULL OR h.day OPERATOR(pg_catalog.>=) $2)
      AND ($3 IS NULL OR h.day OPERATOR(pg_catalog.<=) $3)
    GROUP BY h.day
    ORDER BY h.day;
END;
COMMENT ON FUNCTION apikey_usage_history(uuid, date, date)
IS 'Gives what a key has used day by day (UTC).';

CREATE FUNCTION apikey_flush() RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_flush()
IS 'Persists what is pending now and returns how many rows it wrote.';

/* --------------------------------------------------------------- budgets */

CREATE FUNCTION apikey_budget_create(name text, max_cost numeric, reset_every interval = NULL) RETURNS uuid
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_create(text, numeric, interval)
IS 'Makes a budget, a pool of any unit that keys share.';

CREATE FUNCTION apikey_budget_update(id uuid, changes jsonb) RETURNS apikeys.budget_info
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_update(uuid, jsonb)
IS 'Changes the members of a budget that the document names.';

CREATE FUNCTION apikey_budget_delete(id uuid) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_delete(uuid)
IS 'Deletes a budget that no key points to.';

/* -------------------------------------------------------------- identity */

-- It is in this backend's memory alone, which no parallel worker sees: hence
-- PARALLEL RESTRICTED.

CREATE FUNCTION apikey_login(
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
COMMENT ON FUNCTION apikey_login(text, text, text, text[], integer, inet, boolean)
IS 'Makes a key the identity of the running transaction, and answers as apikey_verify does. Raises 28000 unless the key is good.';

CREATE FUNCTION apikey_logout() RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_logout()
IS 'Leaves the running transaction without an identity.';

CREATE FUNCTION apikey_current_id() RETURNS uuid
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_id()
IS 'Id of the key that the running transaction has logged in with, or null.';

CREATE FUNCTION apikey_current_root_id() RETURNS uuid
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_root_id()
IS 'Id of the first key of its line, the same after rotation, or null.';

CREATE FUNCTION apikey_current_user_id() RETURNS uuid
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_user_id()
IS 'user_id of the key that the running transaction has logged in with, or null.';

CREATE FUNCTION apikey_current_team_id() RETURNS uuid
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_team_id()
IS 'team_id of the key that the running transaction has logged in with, or null.';

CREATE FUNCTION apikey_current_external_id() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_external_id()
IS 'external_id of the key that the running transaction has logged in with, or null.';

CREATE FUNCTION apikey_current_has_permission(permission text) RETURNS boolean
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_has_permission(text)
IS 'True when the key that the running transaction has logged in with has a permission.';

CREATE FUNCTION apikey_pre_request() RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_pre_request()
IS 'For PostgREST''s db-pre-request: logs in with the key in the headers of the request, if there is one.';

/* ------------------------------------------------------ rights and audit */

CREATE FUNCTION apikey_grant(role regrole, access text) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_grant(regrole, text)
IS 'Gives a role a level of access and those below it: verify, read, manage.';

CREATE FUNCTION apikey_revoke_grant(role regrole, access text) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_revoke_grant(regrole, text)
IS 'Takes a level of access and those above it from a role.';

CREATE FUNCTION apikey_events(
    id uuid = NULL, since timestamptz = NULL, row_limit integer = 100,
    OUT event_id bigint, OUT at timestamptz, OUT action text, OUT key_id uuid,
    OUT session_role name, OUT acting_role name, OUT client_addr inet,
    OUT application_name text, OUT details jsonb) RETURNS SETOF record
LANGUAGE C STABLE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_events(uuid, timestamptz, integer)
IS 'Gives events, of all keys or of one, newest first.';

/* --------------------------------------------------- nobody, by default */

-- Each function has its level in src/api/rights.c.
REVOKE ALL ON FUNCTION
    apikeys.check_key(text, text, text, jsonb, jsonb, jsonb, inet[], timestamptz, bytea, text, text, timestamptz),
    apikeys.check_budget(text, numeric, interval, timestamptz),
    apikeys.period_at(timestamptz, interval, timestamptz),
    apikeys.effective_status(timestamptz, timestamptz, boolean),
    apikeys.raise_fence(),
    apikeys.notify_event(),
    apikeys.try_lock_use(uuid),
    apikeys.last_use(uuid),
    apikeys.utc_today(),
    apikeys.read_stats(),
    apikeys.loaded_secrets(),
    apikey_generate(text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text),
    apikey_rotate(uuid, interval, timestamptz),
    apikey_revoke(uuid),
    apikey_update(uuid, jsonb),
    apikey_delete(uuid),
    apikey_cleanup_expired(interval),
    apikey_import(bytea, text, text, text, uuid, uuid, uuid, jsonb, jsonb, timestamptz, jsonb, text, inet[], text, timestamptz),
    apikey_verify(text, text, text, text[], integer, inet, boolean),
    apikey_release(bigint),
    apikey_limits(uuid),
    apikey_permissions_preset(text),
    apikey_rate_limits_preset(text),
    apikey_model_allowed(jsonb, text),
    apikey_endpoint_allowed(jsonb, text),
    apikey_get(uuid),
    apikey_list(apikeys.key_status, uuid, uuid, text, integer, integer, uuid),
    apikey_count(apikeys.key_status),
    apikey_record_usage(uuid, bigint, numeric),
    apikey_usage(uuid),
    apikey_usage_history(uuid, date, date),
    apikey_flush(),
    apikey_budget_create(text, numeric, interval),
    apikey_budget_update(uuid, jsonb),
    apikey_budget_delete(uuid),
    apikey_login(text, text, text, text[], integer, inet, boolean),
    apikey_logout(),
    apikey_current_id(),
    apikey_current_root_id(),
    apikey_current_user_id(),
    apikey_current_team_id(),
    apikey_current_external_id(),
    apikey_current_has_permission(text),
    apikey_pre_request(),
    apikey_grant(regrole, text),
    apikey_revoke_grant(regrole, text),
    apikey_events(uuid, timestamptz, integer)
FROM PUBLIC;

-- Nor anybody to whom ALTER DEFAULT PRIVILEGES gives rights on what the owner
-- makes: it was not meant for keys.
SET LOCAL search_path = pg_catalog, pg_temp;
DO $$
DECLARE
    member record;
BEGIN
    FOR member IN
        WITH extension AS (
            SELECT d.classid, d.objid
            FROM pg_depend d
            JOIN pg_extension e ON e.oid = d.refobjid
            WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'apikeys'
        ), object AS (
            SELECT format('FUNCTION %s', p.oid::regprocedure) AS name, p.proowner AS owner, p.proacl AS acl
            FROM extension x
            JOIN pg_proc p ON x.classid = 'pg_proc'::regclass AND p.oid = x.objid
            UNION ALL
            SELECT format(CASE c.relkind WHEN 'S' THEN 'SEQUENCE %s' ELSE 'TABLE %s' END, c.oid::regclass), c.relowner, c.relacl
            FROM extension x
            JOIN pg_class c ON x.classid = 'pg_class'::regclass AND c.oid = x.objid
            UNION ALL
            SELECT format('SCHEMA %I', n.nspname), n.nspowner, n.nspacl
            FROM extension x
            JOIN pg_namespace n ON x.classid = 'pg_namespace'::regclass AND n.oid = x.objid
        )
        SELECT DISTINCT o.name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS grantee
        FROM object o
        CROSS JOIN aclexplode(o.acl) a
        LEFT JOIN pg_roles r ON r.oid = a.grantee
        WHERE a.grantee <> o.owner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', member.name, member.grantee);
    END LOOP;
END
$$;
