-- SPDX-License-Identifier: PostgreSQL

-- What a version that is yet to come may have: t/502_old_versions installs it, and
-- compares it with what update.sql makes of this version.

ALTER TABLE apikeys_data.plan
    ADD COLUMN label text,
    ADD CONSTRAINT plan_label_is_short CHECK (pg_catalog.length(label) OPERATOR(pg_catalog.<=) 255);
COMMENT ON COLUMN apikeys_data.plan.label IS 'What people call it, or null.';

CREATE INDEX plan_label_idx ON apikeys_data.plan (label) WHERE label IS NOT NULL;

CREATE OR REPLACE VIEW apikeys.plan_info AS
SELECT p.name, p.permissions, p.rate_limits, p.description, p.created_at, p.updated_at,
       (SELECT pg_catalog.count(*) FROM apikeys_data.key k WHERE k.plan OPERATOR(pg_catalog.=) p.name) AS keys,
       p.label
FROM apikeys_data.plan p;
COMMENT ON COLUMN apikeys.plan_info.label IS 'What people call it, or null.';

CREATE FUNCTION apikey_plan_label(name text) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT p.label FROM apikeys_data.plan p WHERE p.name OPERATOR(pg_catalog.=) $1;
END;
COMMENT ON FUNCTION apikey_plan_label(text) IS 'What people call a plan.';

-- It has one argument more.
DROP FUNCTION apikey_plan_delete(text);
CREATE FUNCTION apikey_plan_delete(name text, note text = NULL) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_plan_delete(text, text)
IS 'Deletes a plan. Raises P0002 for an unknown name, 23503 while keys have it.';
