-- SPDX-License-Identifier: PostgreSQL

-- The filters of apikey_list and apikey_count.  Their plans take this function
-- in, so that a filter that is null costs nothing, and others find an index.

CREATE FUNCTION apikeys_data.find_keys(
    status apikeys.key_status, user_id uuid, team_id uuid, external_id text,
    expires_before timestamptz, unused_since timestamptz, name_like text,
    budget_id uuid, plan text, metadata jsonb, restriction uuid) RETURNS SETOF apikeys_data.key_info
LANGUAGE SQL STABLE
BEGIN ATOMIC
    SELECT i.*
    FROM apikeys_data.key_info i
    WHERE ($1 IS NULL OR i.status = $1)
      AND ($2 IS NULL OR i.user_id = $2)
      AND ($3 IS NULL OR i.team_id = $3)
      AND ($4 IS NULL OR i.external_id = $4)
      AND ($5 IS NULL OR i.expires_at < $5)
      AND ($6 IS NULL OR (i.created_at < $6 AND coalesce(i.last_used_at, '-infinity') < $6))
      AND ($7 IS NULL OR i.name LIKE $7)
      AND ($8 IS NULL OR i.budget_id = $8)
      AND ($9 IS NULL OR i.plan = $9)
      -- The index leaves out empty documents, which contain no other.
      AND ($10 IS NULL OR $10 = '{}' OR (i.metadata @> $10 AND i.metadata <> '{}'))
      AND ($11 IS NULL OR i.user_id = $11);
END;
COMMENT ON FUNCTION apikeys_data.find_keys(apikeys.key_status, uuid, uuid, text, timestamptz, timestamptz, text, uuid, text, jsonb, uuid)
IS 'Rows of apikeys.info that pass all filters, and are of the user that restriction names; a null one filters nothing.';

CREATE FUNCTION apikeys.check_filters(name_like text, metadata jsonb) RETURNS void
LANGUAGE C IMMUTABLE
AS 'MODULE_PATHNAME', 'apikeys_check_filters';
COMMENT ON FUNCTION apikeys.check_filters(text, jsonb)
IS 'Raises 22023 or 22025 for what cannot be filtered by.';
