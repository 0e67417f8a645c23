-- SPDX-License-Identifier: PostgreSQL

-- Changing plans.

CREATE FUNCTION apikey_plan_set(
    name text, permissions jsonb = '{}', rate_limits jsonb = '{}', description text = NULL) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_plan_set(text, jsonb, jsonb, text)
IS 'Makes a plan, or replaces the one of this name, which holds for all its keys from the next verify on. Raises 22023 for an invalid argument.';

CREATE FUNCTION apikey_plan_delete(name text) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_plan_delete(text)
IS 'Deletes a plan. Raises P0002 for an unknown name, 23503 while keys have it.';

-- The presets are plans, too.
INSERT INTO apikeys_data.plan (name, permissions, description, installed)
SELECT p.name, apikey_permissions_preset(p.name), p.description, true
FROM (VALUES ('full_access', 'All models and endpoints.'),
             ('admin', 'All models and endpoints, and every permission that is required.')) p(name, description);

INSERT INTO apikeys_data.plan (name, rate_limits, description, installed)
SELECT l.name, apikey_rate_limits_preset(l.name), l.description, true
FROM (VALUES ('unlimited', 'No limits.'),
             ('standard', 'Limits for one user.'),
             ('premium', 'Ten times the limits of standard.')) l(name, description);
