-- SPDX-License-Identifier: PostgreSQL

-- The rows that functions return.  A type with a name is cheaper than OUT
-- columns, of which the server makes a row type anew for each statement that
-- calls the function in FROM, and later versions can add columns to it.  Who
-- can name such a type can keep others waiting, as with a table: with CREATE
-- RULE beside an open transaction that has done CREATE TABLE OF the type.

CREATE TYPE apikeys_data.verify_result AS (
    valid boolean,
    code text,
    reason text,
    id uuid,
    root_id uuid,
    name text,
    key_prefix text,
    user_id uuid,
    team_id uuid,
    budget_id uuid,
    external_id text,
    permissions jsonb,
    rate_limits jsonb,
    metadata jsonb,
    expires_at timestamptz,
    retry_after integer,
    reservation uuid,
    limit_name text,
    limit_max numeric,
    limit_remaining numeric,
    limit_resets_in integer,
    budget_remaining numeric
);
COMMENT ON TYPE apikeys_data.verify_result IS 'What apikey_verify and apikey_login say of a key. The key''s own columns are null if there is none.';
COMMENT ON COLUMN apikeys_data.verify_result.valid IS 'Is the key valid now, for this request?';
COMMENT ON COLUMN apikeys_data.verify_result.code IS 'VALID, or the first reason why it is not: NOT_FOUND, REVOKED, EXPIRED, DISABLED, FORBIDDEN, INSUFFICIENT_PERMISSIONS, RATE_LIMITED, BUDGET_EXCEEDED.';
COMMENT ON COLUMN apikeys_data.verify_result.reason IS 'The same as a sentence; null if it is valid.';
COMMENT ON COLUMN apikeys_data.verify_result.id IS 'Id of the key.';
COMMENT ON COLUMN apikeys_data.verify_result.root_id IS 'Id of the first key of its family: the same after each rotation.';
COMMENT ON COLUMN apikeys_data.verify_result.name IS 'Name of the key.';
COMMENT ON COLUMN apikeys_data.verify_result.key_prefix IS 'Masked form of the raw key, to recognize it by.';
COMMENT ON COLUMN apikeys_data.verify_result.user_id IS 'Id of the user it belongs to, or null.';
COMMENT ON COLUMN apikeys_data.verify_result.team_id IS 'Id of the team it belongs to, or null.';
COMMENT ON COLUMN apikeys_data.verify_result.budget_id IS 'Id of the budget it spends from, or null.';
COMMENT ON COLUMN apikeys_data.verify_result.external_id IS 'Its id in another system, or null.';
COMMENT ON COLUMN apikeys_data.verify_result.permissions IS 'What it may do, with what it takes from its plan or parent.';
COMMENT ON COLUMN apikeys_data.verify_result.rate_limits IS 'Its limits, with what it takes from its plan or parent.';
COMMENT ON COLUMN apikeys_data.verify_result.metadata IS 'The JSON object that was given with it.';
COMMENT ON COLUMN apikeys_data.verify_result.expires_at IS 'From when on it is expired; null or infinity: never.';
COMMENT ON COLUMN apikeys_data.verify_result.retry_after IS 'Seconds until a request that is over a limit can be retried, at least 1; null: not known, or never.';
COMMENT ON COLUMN apikeys_data.verify_result.reservation IS 'What was reserved, for apikey_record_usage or apikey_release; null if nothing was.';
COMMENT ON COLUMN apikeys_data.verify_result.limit_name IS 'The limit that is nearest to its end; null if there is none.';
COMMENT ON COLUMN apikeys_data.verify_result.limit_max IS 'How much that limit allows.';
COMMENT ON COLUMN apikeys_data.verify_result.limit_remaining IS 'How much of it is left.';
COMMENT ON COLUMN apikeys_data.verify_result.limit_resets_in IS 'Seconds until it starts anew, at least 1; null if it does not.';
COMMENT ON COLUMN apikeys_data.verify_result.budget_remaining IS 'What is left of the budget that has least left; null if none is limited.';

CREATE TYPE apikeys_data.new_key AS (
    id uuid,
    raw_key text
);
COMMENT ON TYPE apikeys_data.new_key IS 'A key that was made just now.';
COMMENT ON COLUMN apikeys_data.new_key.id IS 'Id of the key.';
COMMENT ON COLUMN apikeys_data.new_key.raw_key IS 'The key itself: shown here, and never again.';

CREATE TYPE apikeys_data.imported_key AS (
    id uuid,
    key_hash bytea
);
COMMENT ON TYPE apikeys_data.imported_key IS 'A key that was taken over just now.';
COMMENT ON COLUMN apikeys_data.imported_key.id IS 'Id of the key.';
COMMENT ON COLUMN apikeys_data.imported_key.key_hash IS 'Its hash, by which the caller knows it.';

CREATE TYPE apikeys_data.key_limit AS (
    name text,
    max numeric,
    used numeric,
    remaining numeric,
    resets_in interval,
    reserved numeric
);
COMMENT ON TYPE apikeys_data.key_limit IS 'A limit of a key, and how much of it is used.';
COMMENT ON COLUMN apikeys_data.key_limit.name IS 'Name of the limit, as in rate_limits; budget:NAME for a budget.';
COMMENT ON COLUMN apikeys_data.key_limit.max IS 'How much it allows.';
COMMENT ON COLUMN apikeys_data.key_limit.used IS 'How much is used now, with what is reserved.';
COMMENT ON COLUMN apikeys_data.key_limit.remaining IS 'How much is left.';
COMMENT ON COLUMN apikeys_data.key_limit.resets_in IS 'When it starts anew, or null.';
COMMENT ON COLUMN apikeys_data.key_limit.reserved IS 'How much of what is used is reserved.';

CREATE TYPE apikeys_data.key_event AS (
    event_id bigint,
    at timestamptz,
    action text,
    key_id uuid,
    session_role name,
    acting_role name,
    client_addr inet,
    application_name text,
    details jsonb
);
COMMENT ON TYPE apikeys_data.key_event IS 'A change that was made, with who made it.';
COMMENT ON COLUMN apikeys_data.key_event.event_id IS 'Number of the event.';
COMMENT ON COLUMN apikeys_data.key_event.at IS 'When it happened.';
COMMENT ON COLUMN apikeys_data.key_event.action IS 'What was done.';
COMMENT ON COLUMN apikeys_data.key_event.key_id IS 'Id of the key; null if it was not done to a key.';
COMMENT ON COLUMN apikeys_data.key_event.session_role IS 'The role that was logged in.';
COMMENT ON COLUMN apikeys_data.key_event.acting_role IS 'The role whose rights it was done with.';
COMMENT ON COLUMN apikeys_data.key_event.client_addr IS 'Address of its client; null for a unix socket.';
COMMENT ON COLUMN apikeys_data.key_event.application_name IS 'What the client called itself.';
COMMENT ON COLUMN apikeys_data.key_event.details IS 'What was changed.';

CREATE TYPE apikeys_data.key_usage AS (
    total_requests bigint,
    total_tokens bigint,
    total_cost numeric,
    requests_today bigint,
    tokens_today bigint,
    cost_today numeric,
    last_used_at timestamptz
);
COMMENT ON TYPE apikeys_data.key_usage IS 'What a key has used.';
COMMENT ON COLUMN apikeys_data.key_usage.total_requests IS 'Requests in total.';
COMMENT ON COLUMN apikeys_data.key_usage.total_tokens IS 'Tokens in total; at most 9223372036854775807.';
COMMENT ON COLUMN apikeys_data.key_usage.total_cost IS 'Cost in total, in the unit that the application uses.';
COMMENT ON COLUMN apikeys_data.key_usage.requests_today IS 'Requests today (UTC).';
COMMENT ON COLUMN apikeys_data.key_usage.tokens_today IS 'Tokens today (UTC).';
COMMENT ON COLUMN apikeys_data.key_usage.cost_today IS 'Cost today (UTC).';
COMMENT ON COLUMN apikeys_data.key_usage.last_used_at IS 'Its latest use; null if it was never used.';

CREATE TYPE apikeys_data.daily_usage AS (
    day date,
    requests bigint,
    tokens bigint,
    cost numeric
);
COMMENT ON TYPE apikeys_data.daily_usage IS 'What a key has used on a day.';
COMMENT ON COLUMN apikeys_data.daily_usage.day IS 'The day, in UTC.';
COMMENT ON COLUMN apikeys_data.daily_usage.requests IS 'Requests of that day.';
COMMENT ON COLUMN apikeys_data.daily_usage.tokens IS 'Tokens of that day; at most 9223372036854775807.';
COMMENT ON COLUMN apikeys_data.daily_usage.cost IS 'Cost of that day.';
