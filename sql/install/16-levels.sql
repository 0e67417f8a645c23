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

-- What a derived key may do that its parent may, too, as permissions documents.
-- Only called where the one is not within the other.
CREATE FUNCTION apikeys_data.common_patterns(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(jsonb_agg(DISTINCT CASE WHEN x = y OR (right(y, 1) = '*' AND starts_with(x, left(y, -1))) THEN x ELSE y END), '[]')
    FROM jsonb_array_elements_text(a) x, jsonb_array_elements_text(b) y
    WHERE x = y
       OR (right(y, 1) = '*' AND starts_with(x, left(y, -1)))
       OR (right(x, 1) = '*' AND starts_with(y, left(x, -1)));
END;
COMMENT ON FUNCTION apikeys_data.common_patterns(jsonb, jsonb)
IS 'Patterns that match what both lists match; an empty one if there is none.';

CREATE FUNCTION apikeys_data.common_allowed(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN coalesce(a, '[]') IN ('null', '[]') THEN nullif(nullif(b, 'null'), '[]')
                WHEN coalesce(b, '[]') IN ('null', '[]') THEN a
                ELSE apikeys_data.common_patterns(a, b) END;
END;
COMMENT ON FUNCTION apikeys_data.common_allowed(jsonb, jsonb)
IS 'The same for lists that allow all if they are absent or empty: null if both do, an empty one if nothing is allowed by both.';

CREATE FUNCTION apikeys_data.common_permissions(permissions jsonb, bound jsonb) RETURNS jsonb
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
        WHEN apikeys_data.permissions_within(permissions, bound) THEN permissions
        WHEN l.models IS DISTINCT FROM '[]' AND l.endpoints IS DISTINCT FROM '[]' THEN jsonb_strip_nulls(jsonb_build_object(
            'allowed_models', l.models,
            'allowed_endpoints', l.endpoints,
            'max_tokens_per_request', least(nullif((permissions ->> 'max_tokens_per_request')::numeric, 0),
                                            nullif((bound ->> 'max_tokens_per_request')::numeric, 0)),
            'is_admin', CASE WHEN l.is_admin AND l.bound_is_admin THEN true END,
            'custom_permissions', CASE
                WHEN l.bound_is_admin THEN nullif(permissions -> 'custom_permissions', 'null')
                WHEN l.is_admin THEN nullif(bound -> 'custom_permissions', 'null')
                WHEN jsonb_typeof(permissions -> 'custom_permissions') = 'array'
                     AND jsonb_typeof(bound -> 'custom_permissions') = 'array'
                THEN apikeys_data.common_patterns(permissions -> 'custom_permissions', bound -> 'custom_permissions') END))
        END
    FROM (SELECT apikeys_data.common_allowed(permissions -> 'allowed_models', bound -> 'allowed_models') AS models,
                 apikeys_data.common_allowed(permissions -> 'allowed_endpoints', bound -> 'allowed_endpoints') AS endpoints,
                 coalesce((permissions ->> 'is_admin')::boolean, false) AS is_admin,
                 coalesce((bound ->> 'is_admin')::boolean, false) AS bound_is_admin) l;
END;
COMMENT ON FUNCTION apikeys_data.common_permissions(jsonb, jsonb)
IS 'What both documents permit; null if they have models or endpoints in common no more.';

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
