-- SPDX-License-Identifier: PostgreSQL

-- For PostgREST.

CREATE FUNCTION apikey_pre_request() RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_pre_request()
IS 'For PostgREST''s db-pre-request: logs in with the key in the headers of the request, if there is one. For a key that is refused it raises PT401 or PT403, and for one that is over a limit PGRST, of which PostgREST makes 429.';
