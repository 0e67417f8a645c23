-- SPDX-License-Identifier: PostgreSQL

-- Recording and reading what keys use.

CREATE FUNCTION apikey_record_usage(
    id uuid, tokens bigint = 0, cost numeric = 0, reservation uuid = NULL,
    request_id text = NULL, model text = NULL, budget_id uuid = NULL) RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_record_usage(uuid, bigint, numeric, uuid, text, text, uuid)
IS 'Records one request of a key, for its parent if it is derived, in the caller''s transaction; false if it is recorded already under its request_id. The cost is spent from the key''s budget and from budget_id, and from all budgets above them.';

CREATE FUNCTION apikey_void_usage(id uuid, request_id text) RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_void_usage(uuid, text)
IS 'Takes back what was recorded under a request_id; false if nothing is to be taken back, or not any more.';

CREATE FUNCTION apikey_usage(id uuid) RETURNS apikeys_data.key_usage
LANGUAGE C STABLE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_usage(uuid)
IS 'What a key has used in total and today (UTC), exact to the last committed entry. Raises P0002 for an unknown id.';

-- As in the part of lists.
CREATE FUNCTION apikeys_data.restricted_usage_history(
    restriction uuid, id uuid, from_day date, to_day date) RETURNS SETOF apikeys_data.daily_usage
LANGUAGE SQL STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT h.day,
           pg_catalog.sum(h.requests)::pg_catalog.int8,
           GREATEST(LEAST(pg_catalog.sum(h.tokens), 9223372036854775807), 0)::pg_catalog.int8,
           pg_catalog.sum(h.cost)
    FROM (SELECT d.day, d.requests, d.tokens, d.cost
          FROM apikeys_data.usage_day d
          WHERE d.key_id OPERATOR(pg_catalog.=) $2
          UNION ALL
          SELECT pg_catalog.timezone('UTC', e.recorded_at)::pg_catalog.date,
                 e.requests, e.tokens, e.cost
          FROM apikeys_data.open_entry e
          WHERE e.key_id OPERATOR(pg_catalog.=) $2) h
    WHERE ($3 IS NULL OR h.day OPERATOR(pg_catalog.>=) $3)
      AND ($4 IS NULL OR h.day OPERATOR(pg_catalog.<=) $4)
      AND ($1 IS NULL OR EXISTS (SELECT FROM apikeys_data.key k
                                 WHERE k.id OPERATOR(pg_catalog.=) $2
                                   AND k.user_id OPERATOR(pg_catalog.=) $1))
    GROUP BY h.day
    ORDER BY h.day;
END;
COMMENT ON FUNCTION apikeys_data.restricted_usage_history(uuid, uuid, date, date)
IS 'apikey_usage_history, for the keys of a user.';

CREATE FUNCTION apikey_usage_history(
    id uuid, from_day date = NULL, to_day date = NULL) RETURNS SETOF apikeys_data.daily_usage
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'apikeys_restricted';
COMMENT ON FUNCTION apikey_usage_history(uuid, date, date)
IS 'What a key has used, one row per day (UTC) with usage, from from_day to to_day inclusive; no row for an unknown id.';

CREATE FUNCTION apikey_flush() RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_flush()
IS 'Writes pending usage, last uses and new hashes of this database to the tables, in the caller''s transaction, and returns how many rows it wrote.';

CREATE FUNCTION apikey_flush_node(node integer) RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_flush_node(integer)
IS 'For a server that is lost, or has another number now: rolls up the usage that it has recorded under this number, and returns how many entries. Last uses and windows are not its affair. Raises 22023 for the number of this server.';
