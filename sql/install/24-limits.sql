-- SPDX-License-Identifier: PostgreSQL

-- Limits, and how much of them is used.

CREATE FUNCTION apikey_rate_limits_preset(preset text) RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_rate_limits_preset(text)
IS 'Rate-limit document by name: unlimited, standard, premium.';

CREATE FUNCTION apikey_limits(
    id uuid, OUT name text, OUT max numeric, OUT used numeric, OUT remaining numeric,
    OUT resets_in interval) RETURNS SETOF record
LANGUAGE C VOLATILE ROWS 6
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_limits(uuid)
IS 'Gives the limits of a key and how much of each is used now.';
