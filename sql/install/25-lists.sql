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

CREATE FUNCTION apikey_events(
    id uuid = NULL, since timestamptz = NULL, row_limit integer = 100,
    OUT event_id bigint, OUT at timestamptz, OUT action text, OUT key_id uuid,
    OUT session_role name, OUT acting_role name, OUT client_addr inet,
    OUT application_name text, OUT details jsonb) RETURNS SETOF record
LANGUAGE C STABLE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_events(uuid, timestamptz, integer)
IS 'Gives events, of all keys or of one, newest first.';
