-- SPDX-License-Identifier: PostgreSQL

-- One query after the other, each of which gives back its memory; with the
-- snapshot of the statement that calls it, as it is stable.
CREATE FUNCTION apikeys.check() RETURNS SETOF apikeys_data.problem
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.object_problem p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.grant_problem p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.row_problems() p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.sequence_problem p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.key_problem p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.notice_problem p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.event_problem p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.usage_problem p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.budget_problem p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.window_problem p;
    RETURN QUERY SELECT p.level, p.object, p.problem FROM apikeys_data.memory_problem p;
END
$$;
COMMENT ON FUNCTION apikeys.check()
IS 'Compares all that must agree, in tables, catalogs and shared memory, and returns a row per problem; none where all is sound. Changes nothing, and keeps nobody waiting but who wants a table alone.';
