-- SPDX-License-Identifier: PostgreSQL

-- What limits have counted, as far as flush workers have stored it: what is in
-- use is in shared memory.  No foreign keys, for an owner is a key family or a
-- budget; and no index but one, so that a row can be rewritten in its page.

CREATE FUNCTION apikeys.check_windows(windows bigint[]) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_windows';
COMMENT ON FUNCTION apikeys.check_windows(bigint[])
IS 'True for six numbers for each of up to 16 windows.';

CREATE TABLE apikeys_data.window_state (
    owner_id uuid PRIMARY KEY,
    windows bigint[] NOT NULL,
    ends_at timestamptz NOT NULL,
    CONSTRAINT window_state_is_valid CHECK (apikeys.check_windows(windows))
) WITH (fillfactor = 75);
COMMENT ON COLUMN apikeys_data.window_state.owner_id IS 'The root_id of a key family, or a budget, or a derived key with limits of its own.';
COMMENT ON COLUMN apikeys_data.window_state.windows IS 'Six numbers for each window: a hash of the name, unit and length of its limit; its length in seconds; 0 for requests, 1 for tokens, 2 for cost in billionths; the start of its current bucket in microseconds since 2000-01-01 UTC; what has passed in that, and in the bucket before.';
COMMENT ON COLUMN apikeys_data.window_state.ends_at IS 'When none of them counts anything any more.';
COMMENT ON TABLE apikeys_data.window_state IS 'One row per key family or budget with windows that count: what shared memory had counted when a flush worker stored it.';

-- A restored server goes on counting from here.
SELECT pg_extension_config_dump('apikeys_data.window_state', '');
