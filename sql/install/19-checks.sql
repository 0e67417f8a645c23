-- SPDX-License-Identifier: PostgreSQL

CREATE FUNCTION apikeys.check() RETURNS SETOF apikeys_data.problem
LANGUAGE SQL STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    SELECT p.level, p.object, p.problem FROM apikeys_data.object_problem p
    UNION ALL
    SELECT p.level, p.object, p.problem FROM apikeys_data.grant_problem p
    UNION ALL
    SELECT p.level, p.object, p.problem FROM apikeys_data.row_problem p
    UNION ALL
    SELECT p.level, p.object, p.problem FROM apikeys_data.sequence_problem p
    UNION ALL
    SELECT p.level, p.object, p.problem FROM apikeys_data.key_problem p
    UNION ALL
    SELECT p.level, p.object, p.problem FROM apikeys_data.notice_problem p
    UNION ALL
    SELECT p.level, p.object, p.problem FROM apikeys_data.event_problem p
    UNION ALL
    SELECT p.level, p.object, p.problem FROM apikeys_data.usage_problem p
    UNION ALL
    SELECT p.level, p.object, p.problem FROM apikeys_data.budget_problem p
    UNION ALL
    SELECT p.level, p.object, p.problem FROM apikeys_data.memory_problem p;
END;
COMMENT ON FUNCTION apikeys.check()
IS 'Compares all that must agree, in tables, catalogs and shared memory, and returns a row per problem; none where all is sound. Changes nothing, and keeps nobody waiting but who wants a table alone.';
