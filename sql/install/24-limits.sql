-- SPDX-License-Identifier: PostgreSQL

-- Limits, and how much of them is used.

CREATE FUNCTION apikey_rate_limits_preset(preset text) RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_rate_limits_preset(text)
IS 'A rate-limit document by name: unlimited, standard, premium. Raises 22023 for another name.';

CREATE FUNCTION apikey_limits(id uuid) RETURNS SETOF apikeys_data.key_limit
LANGUAGE C VOLATILE ROWS 6
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_limits(uuid)
IS 'One row per limit of a key, of its parent if it is derived, of its budget and of those above: how much of it is used now, and how much of that is reserved. Raises P0002 for an unknown id, 55000 if rate limits cannot be counted.';
