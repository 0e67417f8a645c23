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
