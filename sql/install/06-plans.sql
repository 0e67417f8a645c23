-- SPDX-License-Identifier: PostgreSQL

-- Plans: what many keys have in common.

CREATE FUNCTION apikeys.check_plan(
    name text, permissions jsonb, rate_limits jsonb, description text) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_plan';
COMMENT ON FUNCTION apikeys.check_plan(text, jsonb, jsonb, text)
IS 'True for the values of a valid plan; raises 22023 for any other.';

-- Names are compared by their bytes, whatever the collations of the system say
-- after an update.
CREATE TABLE apikeys_data.plan (
    name text COLLATE "C" PRIMARY KEY,
    permissions jsonb NOT NULL DEFAULT '{}',
    rate_limits jsonb NOT NULL DEFAULT '{}',
    description text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    installed boolean NOT NULL DEFAULT false,
    CONSTRAINT plan_is_valid CHECK (apikeys.check_plan(name, permissions, rate_limits, description))
);
COMMENT ON TABLE apikeys_data.plan IS 'Documents that keys take from their plan where their own say nothing.';
COMMENT ON COLUMN apikeys_data.plan.installed IS 'Made by CREATE EXTENSION, and not changed since.';

-- The user's data: pg_dump takes the rows along.
SELECT pg_extension_config_dump('apikeys_data.plan', '');

-- No foreign key, which pg_restore --jobs does not heed for the tables of an
-- extension: src/store/plans.h says what stands in its place.
CREATE INDEX key_plan_idx ON apikeys_data.key (plan, created_at, id) WHERE plan IS NOT NULL;

-- What is restored or replicated has the plans of CREATE EXTENSION, too, as they
-- were there: those stand in for the ones that CREATE EXTENSION has made here.
CREATE FUNCTION apikeys.replace_installed_plan() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM apikeys_data.plan p WHERE p.name = NEW.name AND p.installed;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION apikeys.replace_installed_plan()
IS 'Trigger: a new plan replaces one of its name that CREATE EXTENSION has made and nobody has changed.';

CREATE TRIGGER replace_installed BEFORE INSERT ON apikeys_data.plan
FOR EACH ROW EXECUTE FUNCTION apikeys.replace_installed_plan();
COMMENT ON TRIGGER replace_installed ON apikeys_data.plan IS 'Restores replace the plans that CREATE EXTENSION has made.';

-- ALWAYS: also for rows that logical replication applies.
ALTER TABLE apikeys_data.plan ENABLE ALWAYS TRIGGER replace_installed;

-- As apikeys.info: for people only.
CREATE VIEW apikeys.plan_info AS
SELECT p.name,
       p.permissions,
       p.rate_limits,
       p.description,
       p.created_at,
       p.updated_at,
       (SELECT count(*) FROM apikeys_data.key k WHERE k.plan = p.name) AS keys
FROM apikeys_data.plan p;
COMMENT ON VIEW apikeys.plan_info IS 'Plans for administrators, one row per plan.';

COMMENT ON COLUMN apikeys.plan_info.name IS 'Name of the plan: the plan of its keys.';
COMMENT ON COLUMN apikeys.plan_info.permissions IS 'Permissions of its keys, each member unless a key has one of its own.';
COMMENT ON COLUMN apikeys.plan_info.rate_limits IS 'Limits of each of its keys, likewise.';
COMMENT ON COLUMN apikeys.plan_info.description IS 'Free text, or null.';
COMMENT ON COLUMN apikeys.plan_info.created_at IS 'When it was made.';
COMMENT ON COLUMN apikeys.plan_info.updated_at IS 'When it was last changed.';
COMMENT ON COLUMN apikeys.plan_info.keys IS 'How many keys have it, whatever their status.';
