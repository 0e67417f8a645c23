-- SPDX-License-Identifier: PostgreSQL

-- Who may act on whose keys.

-- Which of these a role may execute is all that counts; nobody calls them.
CREATE FUNCTION apikeys.reads_all_keys() RETURNS boolean
LANGUAGE SQL IMMUTABLE
RETURN true;
COMMENT ON FUNCTION apikeys.reads_all_keys()
IS 'Who may execute it reads everybody''s keys, by the functions that he may execute; others read those of the user who is logged in.';

CREATE FUNCTION apikeys.changes_all_keys() RETURNS boolean
LANGUAGE SQL IMMUTABLE
RETURN true;
COMMENT ON FUNCTION apikeys.changes_all_keys()
IS 'Who may execute it makes and changes everybody''s keys, by the functions that he may execute; others those of the user who is logged in.';

CREATE FUNCTION apikeys_data.permissions_within(permissions jsonb, bound jsonb) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_permissions_within';
COMMENT ON FUNCTION apikeys_data.permissions_within(jsonb, jsonb)
IS 'True if the first document permits nothing that the second does not.';

CREATE FUNCTION apikeys_data.rate_limits_within(rate_limits jsonb, bound jsonb) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_rate_limits_within';
COMMENT ON FUNCTION apikeys_data.rate_limits_within(jsonb, jsonb)
IS 'True if the first document lets pass nothing that the second does not.';

CREATE FUNCTION apikeys_data.common_permissions(permissions jsonb, bound jsonb) RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_common_permissions';
COMMENT ON FUNCTION apikeys_data.common_permissions(jsonb, jsonb)
IS 'What both documents permit; null if they have no models or no endpoints in common.';

-- Only shown: requests are counted in the limits of both.
CREATE FUNCTION apikeys_data.common_rate_limits(rate_limits jsonb, bound jsonb) RETURNS jsonb
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(jsonb_object_agg(l.name, l.value), '{}')
    FROM (SELECT m.name,
                 CASE WHEN m.name = 'windows'
                      THEN coalesce(nullif(bound -> 'windows', 'null'), '[]') || coalesce(nullif(rate_limits -> 'windows', 'null'), '[]')
                      ELSE to_jsonb(least(nullif((rate_limits ->> m.name)::numeric, 0), nullif((bound ->> m.name)::numeric, 0)))
                 END AS value
          FROM (SELECT jsonb_object_keys(bound || rate_limits) AS name) m) l
    WHERE l.value IS NOT NULL;
END;
COMMENT ON FUNCTION apikeys_data.common_rate_limits(jsonb, jsonb)
IS 'The limits of both documents, the smaller of each two; all windows, first those of the second.';
