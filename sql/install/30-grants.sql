-- SPDX-License-Identifier: PostgreSQL

-- Levels of access.

CREATE FUNCTION apikey_grant(role regrole, access text) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_grant(regrole, text)
IS 'Gives a role a level of access and those below it: verify, read, manage; own, between verify and manage, for the keys of the user who is logged in; or stats, which read includes; or feed, for another server. Raises 22023 for another level, for PUBLIC and for the owner.';

CREATE FUNCTION apikey_revoke_grant(role regrole, access text) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_revoke_grant(regrole, text)
IS 'Takes a level of access and those above it from a role. Raises 22023 as apikey_grant does.';
