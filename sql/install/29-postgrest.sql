-- SPDX-License-Identifier: PostgreSQL

-- For PostgREST.

CREATE FUNCTION apikey_pre_request() RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_pre_request()
IS 'For PostgREST''s db-pre-request: logs in with the key in the headers of the request, if there is one. Raises PT401, PT403 or PT429 for a key that is refused.';
