-- SPDX-License-Identifier: PostgreSQL

-- The filters of apikey_list and apikey_count.  Their plans take this function
-- in, so that a filter that is null costs nothing, and others find an index.

-- Few keys are revoked or disabled.
CREATE INDEX key_revoked_idx ON apikeys_data.key (created_at, id) WHERE revoked_at IS NOT NULL;
CREATE INDEX key_disabled_idx ON apikeys_data.key (created_at, id) WHERE NOT enabled;

-- The status is that of apikeys.effective_status() at the time now, as conditions
-- on columns; that of a derived key depends on its parent's.
CREATE FUNCTION apikeys_data.find_keys(
    statuses apikeys.key_status[], user_id uuid, team_id uuid, external_id text,
    expires_before timestamptz, unused_since timestamptz, name_like text,
    budget_id uuid, plan text, metadata jsonb, restriction uuid, now timestamptz)
RETURNS SETOF apikeys_data.key_state
LANGUAGE SQL STABLE
BEGIN ATOMIC
    SELECT k.*
    FROM apikeys_data.key_state k
    WHERE ($1 IS NULL
           OR (k.parent_id IS NULL AND (
               ('revoked' = ANY ($1) AND k.revoked_at IS NOT NULL)
               OR ('expired' = ANY ($1) AND k.revoked_at IS NULL
                   AND ((k.expires_at < $12 AND apikeys_data.ten_minutes(k.expires_at) <= apikeys_data.ten_minutes($12))
                        OR (k.idle_timeout IS NOT NULL AND k.idle_at < $12)))
               OR ('disabled' = ANY ($1) AND k.revoked_at IS NULL AND NOT k.enabled
                   AND (k.expires_at < $12) IS NOT TRUE AND (k.idle_at < $12) IS NOT TRUE)
               OR ('active' = ANY ($1) AND k.revoked_at IS NULL AND k.enabled
                   AND (k.expires_at < $12) IS NOT TRUE AND (k.idle_at < $12) IS NOT TRUE)))
           OR (k.parent_id IS NOT NULL AND k.status = ANY ($1)))
      AND ($2 IS NULL OR k.user_id = $2)
      AND ($3 IS NULL OR k.team_id = $3)
      AND ($4 IS NULL OR k.external_id = $4)
      AND ($5 IS NULL OR (k.expires_at < $5 AND apikeys_data.ten_minutes(k.expires_at) <= apikeys_data.ten_minutes($5)))
      AND ($6 IS NULL OR (k.created_at < $6 AND coalesce(k.last_used_at, '-infinity') < $6))
      AND ($7 IS NULL OR k.name LIKE $7)
      AND ($8 IS NULL OR k.budget_id = $8)
      AND ($9 IS NULL OR k.plan = $9)
      -- The index leaves out empty documents, which contain no other.
      AND ($10 IS NULL OR $10 = '{}' OR (k.metadata @> $10 AND k.metadata <> '{}'))
      AND ($11 IS NULL OR k.user_id = $11);
END;
COMMENT ON FUNCTION apikeys_data.find_keys(apikeys.key_status[], uuid, uuid, text, timestamptz, timestamptz, text, uuid, text, jsonb, uuid, timestamptz)
IS 'Keys that pass all filters, and are of the user that restriction names; a null one filters nothing. Their status at the time now is one of statuses.';

CREATE FUNCTION apikeys.check_filters(name_like text, metadata jsonb) RETURNS void
LANGUAGE C IMMUTABLE
AS 'MODULE_PATHNAME', 'apikeys_check_filters';
COMMENT ON FUNCTION apikeys.check_filters(text, jsonb)
IS 'Raises 22023 or 22025 for what cannot be filtered by.';
