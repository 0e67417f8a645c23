-- SPDX-License-Identifier: PostgreSQL

-- What is called is written in C, where the role is known that calls.  It passes
-- on to a function in apikeys_data, which begins with the user to whose keys that
-- role is restricted; null for none.
--
-- Those are SECURITY DEFINER, so that EXECUTE is all a caller needs.  SQL bodies are
-- bound here and now, and the others have a path of their own, so that the
-- caller's search_path reaches none.

CREATE FUNCTION apikeys_data.restricted_get(restriction uuid, id uuid) RETURNS SETOF apikeys_data.key_info
LANGUAGE SQL STABLE SECURITY DEFINER ROWS 1
BEGIN ATOMIC
    SELECT i.*
    FROM apikeys_data.key_info i
    WHERE i.id OPERATOR(pg_catalog.=) $2
      AND ($1 IS NULL OR i.user_id OPERATOR(pg_catalog.=) $1);
END;
COMMENT ON FUNCTION apikeys_data.restricted_get(uuid, uuid) IS 'apikey_get, for the keys of a user.';

CREATE FUNCTION apikey_get(id uuid) RETURNS SETOF apikeys_data.key_info
LANGUAGE C STABLE ROWS 1
AS 'MODULE_PATHNAME', 'apikeys_restricted';
COMMENT ON FUNCTION apikey_get(uuid)
IS 'The row of apikeys.info of a key; no row for an unknown id.';

-- These are planned for each call, which a SQL function is not: their filters
-- decide which index is right.  The planner takes the look at a key's last use
-- for much more than it is, since few keys need it: so JIT would be used in vain.
CREATE FUNCTION apikeys_data.restricted_list(
    restriction uuid,
    status apikeys.key_status, user_id uuid, team_id uuid,
    external_id text, row_limit integer, row_offset integer,
    after uuid, expires_before timestamptz, unused_since timestamptz,
    name_like text, budget_id uuid, plan text, metadata jsonb,
    after_created_at timestamptz) RETURNS SETOF apikeys_data.key_info
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
DECLARE
    now CONSTANT timestamptz := clock_timestamp();
    statuses CONSTANT apikeys.key_status[] := CASE WHEN status IS NOT NULL THEN ARRAY[status] END;
    start_at timestamptz;
BEGIN
    PERFORM apikeys.check_filters(name_like, metadata);
    IF least(row_limit, row_offset) < 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s must not be negative', CASE WHEN row_limit < 0 THEN 'row_limit' ELSE 'row_offset' END);
    END IF;

    -- The row is right where it still exists: some drivers cut microseconds off
    -- the time that they pass back.
    IF after IS NOT NULL THEN
        SELECT k.created_at INTO start_at FROM apikeys_data.key k
        WHERE k.id = after AND (restriction IS NULL OR k.user_id = restriction);
        start_at := coalesce(start_at, after_created_at);
        IF start_at IS NULL THEN
            RAISE no_data_found USING
                MESSAGE = 'API key not found', DETAIL = format('There is no key with id %s.', after),
                HINT = 'To go on after a key that may be deleted, also pass its created_at as after_created_at.';
        END IF;
    ELSIF after_created_at IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'after_created_at needs after',
            HINT = 'Pass the id and the created_at of the last row of the previous page.';
    END IF;

    -- Usage is not read of the keys that are skipped.
    IF row_offset > 0 THEN
        RETURN QUERY
        SELECT i.*
        FROM (SELECT f.id, f.created_at
              FROM apikeys_data.find_keys(statuses, user_id, team_id, external_id, expires_before, unused_since,
                                          name_like, budget_id, plan, metadata, restriction, now) f
              WHERE after IS NULL OR (f.created_at, f.id) < (start_at, after)
              ORDER BY f.created_at DESC, f.id DESC
              LIMIT row_limit OFFSET row_offset) p
        JOIN apikeys_data.key_info i ON i.id = p.id
        ORDER BY p.created_at DESC, p.id DESC;
    ELSE
        RETURN QUERY
        SELECT f.id, f.root_id, f.rotated_from, f.key_prefix, f.name, f.description, f.user_id, f.team_id,
               f.budget_id, f.external_id, f.status, f.permissions, f.rate_limits, f.metadata, f.allowed_ips,
               f.expires_at, f.idle_timeout, f.created_at, f.updated_at, f.revoked_at, f.revoke_reason,
               f.last_used_at, f.last_used_ip, f.total_requests, f.total_tokens, f.total_cost, f.requests_today,
               f.tokens_today, f.cost_today, f.plan, f.parent_id
        FROM apikeys_data.find_keys(statuses, user_id, team_id, external_id, expires_before, unused_since,
                                    name_like, budget_id, plan, metadata, restriction, now) f
        WHERE after IS NULL OR (f.created_at, f.id) < (start_at, after)
        ORDER BY f.created_at DESC, f.id DESC
        LIMIT row_limit;
    END IF;
END
$$;
COMMENT ON FUNCTION apikeys_data.restricted_list(uuid, apikeys.key_status, uuid, uuid, text, integer, integer, uuid, timestamptz, timestamptz, text, uuid, text, jsonb, timestamptz)
IS 'apikey_list, for the keys of a user.';

CREATE FUNCTION apikey_list(
    status apikeys.key_status = NULL, user_id uuid = NULL, team_id uuid = NULL,
    external_id text = NULL, row_limit integer = NULL, row_offset integer = 0,
    after uuid = NULL, expires_before timestamptz = NULL, unused_since timestamptz = NULL,
    name_like text = NULL, budget_id uuid = NULL, plan text = NULL, metadata jsonb = NULL,
    after_created_at timestamptz = NULL) RETURNS SETOF apikeys_data.key_info
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'apikeys_restricted';
COMMENT ON FUNCTION apikey_list(apikeys.key_status, uuid, uuid, text, integer, integer, uuid, timestamptz, timestamptz, text, uuid, text, jsonb, timestamptz)
IS 'Rows of apikeys.info, newest first, that pass all filters: expires_before a time, neither made nor used since (unused_since), name_like a pattern of LIKE, metadata that contains a JSON object; null filters nothing. For the next page pass the id and the created_at of the last row as after and after_created_at. Raises P0002 for an unknown after without after_created_at, 22023 for a negative number or an invalid filter, 22025 for a pattern that ends in its escape character.';

CREATE FUNCTION apikeys_data.restricted_count(
    restriction uuid,
    status apikeys.key_status, user_id uuid, team_id uuid,
    external_id text, expires_before timestamptz, unused_since timestamptz,
    name_like text, budget_id uuid, plan text, metadata jsonb) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
DECLARE
    now CONSTANT timestamptz := clock_timestamp();
    statuses CONSTANT apikeys.key_status[] := CASE WHEN status IS NOT NULL THEN ARRAY[status] END;
BEGIN
    PERFORM apikeys.check_filters(name_like, metadata);

    -- Most keys are active.  Indexes know how many there are, and which are not.
    IF status = 'active' AND num_nonnulls(user_id, team_id, external_id, expires_before, unused_since,
                                          name_like, budget_id, plan, metadata, restriction) = 0 THEN
        RETURN (SELECT count(*) FROM apikeys_data.key)
             - (SELECT count(*)
                FROM apikeys_data.find_keys('{revoked,expired,disabled}', NULL, NULL, NULL, NULL, NULL,
                                            NULL, NULL, NULL, NULL, NULL, now));
    END IF;

    RETURN (SELECT count(*)
            FROM apikeys_data.find_keys(statuses, user_id, team_id, external_id, expires_before, unused_since,
                                        name_like, budget_id, plan, metadata, restriction, now));
END
$$;
COMMENT ON FUNCTION apikeys_data.restricted_count(uuid, apikeys.key_status, uuid, uuid, text, timestamptz, timestamptz, text, uuid, text, jsonb)
IS 'apikey_count, for the keys of a user.';

CREATE FUNCTION apikey_count(
    status apikeys.key_status = NULL, user_id uuid = NULL, team_id uuid = NULL,
    external_id text = NULL, expires_before timestamptz = NULL, unused_since timestamptz = NULL,
    name_like text = NULL, budget_id uuid = NULL, plan text = NULL, metadata jsonb = NULL) RETURNS bigint
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'apikeys_restricted';
COMMENT ON FUNCTION apikey_count(apikeys.key_status, uuid, uuid, text, timestamptz, timestamptz, text, uuid, text, jsonb)
IS 'Counts the keys that pass all filters, which are those of apikey_list; without one, all keys.';

CREATE FUNCTION apikeys_data.restricted_events(
    restriction uuid,
    id uuid, since timestamptz, row_limit integer) RETURNS SETOF apikeys_data.key_event
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    IF row_limit < 0 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'row_limit must not be negative';
    END IF;

    RETURN QUERY
    SELECT e.id, e.at, e.action, e.key_id, e.session_role::name, e.acting_role::name,
           e.client_addr, e.application_name, e.details
    FROM apikeys_data.event e
    WHERE (restricted_events.id IS NULL OR e.key_id = restricted_events.id)
      AND (since IS NULL OR e.at >= since)
      AND (restriction IS NULL
           OR e.key_id IN (SELECT k.id FROM apikeys_data.key k WHERE k.user_id = restriction))
    ORDER BY e.at DESC, e.id DESC
    LIMIT row_limit;
END
$$;
COMMENT ON FUNCTION apikeys_data.restricted_events(uuid, uuid, timestamptz, integer)
IS 'apikey_events, for the keys of a user that exist.';

CREATE FUNCTION apikey_events(
    id uuid = NULL, since timestamptz = NULL, row_limit integer = 100) RETURNS SETOF apikeys_data.key_event
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'apikeys_restricted';
COMMENT ON FUNCTION apikey_events(uuid, timestamptz, integer)
IS 'Events, newest first: all of them, or those of one key; from since on; row_limit at most (null: no limit). Raises 22023 for a negative row_limit.';
