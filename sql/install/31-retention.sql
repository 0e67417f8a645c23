-- SPDX-License-Identifier: PostgreSQL

-- For the owner alone: what they delete is what levels are watched by.

CREATE FUNCTION apikey_cleanup_events(older_than interval) RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_cleanup_events(interval)
IS 'Deletes the oldest events that are at least this old, 10,000 at most, and returns how many.';

CREATE FUNCTION apikey_cleanup_usage(older_than interval) RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_cleanup_usage(interval)
IS 'Deletes days of usage that ended at least this long ago, 10,000 rows at most, and returns how many. Totals stay.';
