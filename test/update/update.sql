-- SPDX-License-Identifier: PostgreSQL

/* The update of apikeys from OLD to NEW. */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION apikeys UPDATE" to load this file. \quit

-- The pattern of sql/released/apikeys--OLD--NEW.sql.  t/502_old_versions updates
-- with it, and compares the outcome with a new installation.
--
-- Every name is qualified, or found under this path; what users call is made in
-- @extschema@.  No DROP where CREATE OR REPLACE or ALTER will do, for the sake of
-- rights and of what others have made on it.  No GRANT to roles of theirs: a dump
-- would leave it out, as if the extension brought it.
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT set_config('apikeys_update.before', string_agg(d.classid::text || ' ' || d.objid::text, ','), true)
FROM pg_depend d
JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'apikeys';
SELECT set_config('apikeys_update.broken', coalesce(string_agg(DISTINCT p.object, E'\n'), ''), true)
FROM apikeys_data.object_problem p
WHERE p.level = 'error';

-- ------------------------------------------------------------- what is new

-- A large table is locked only for a moment: no default that rewrites it, and
-- constraints of new columns need not be checked against rows that have none.
ALTER TABLE apikeys_data.plan
    ADD COLUMN label text,
    ADD CONSTRAINT plan_label_is_short CHECK (length(label) <= 255) NOT VALID;
ALTER TABLE apikeys_data.plan VALIDATE CONSTRAINT plan_label_is_short;
COMMENT ON COLUMN apikeys_data.plan.label IS 'What people call it, or null.';

CREATE INDEX plan_label_idx ON apikeys_data.plan (label) WHERE label IS NOT NULL;

CREATE OR REPLACE VIEW apikeys.plan_info AS
SELECT p.name, p.permissions, p.rate_limits, p.description, p.created_at, p.updated_at,
       (SELECT count(*) FROM apikeys_data.key k WHERE k.plan = p.name) AS keys,
       p.label
FROM apikeys_data.plan p;
COMMENT ON COLUMN apikeys.plan_info.label IS 'What people call it, or null.';

CREATE FUNCTION @extschema@.apikey_plan_label(name text) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT p.label FROM apikeys_data.plan p WHERE p.name = $1;
END;
COMMENT ON FUNCTION @extschema@.apikey_plan_label(text) IS 'What people call a plan.';

-- With one argument more it is another function: rights on it are given again, by
-- apikey_grant in the same transaction, and what calls it keeps it from being dropped.
DROP FUNCTION @extschema@.apikey_plan_delete(text);
CREATE FUNCTION @extschema@.apikey_plan_delete(name text, note text = NULL) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.apikey_plan_delete(text, text)
IS 'Deletes a plan. Raises P0002 for an unknown name, 23503 while keys have it.';

-- ------------------------------------------------------ the end of each update

-- Nobody has any right on what is new, as in sql/install/90-privileges.sql.
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        WITH member AS (
            SELECT d.classid, d.objid
            FROM pg_depend d
            JOIN pg_extension e ON e.oid = d.refobjid
            WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'apikeys'
              AND d.classid::text || ' ' || d.objid::text <> ALL (string_to_array(current_setting('apikeys_update.before'), ','))
        ), object AS (
            SELECT format('FUNCTION %s', p.oid::regprocedure) AS name, p.proowner AS owner,
                   coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
            FROM member m
            JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
            UNION ALL
            SELECT format(CASE c.relkind WHEN 'S' THEN 'SEQUENCE %s' ELSE 'TABLE %s' END, c.oid::regclass),
                   c.relowner, c.relacl
            FROM member m
            JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
            UNION ALL
            SELECT format('TYPE %s', t.oid::regtype), t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
            FROM member m
            JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
            JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
        )
        SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', o.name,
                               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
        FROM object o
        CROSS JOIN aclexplode(o.acl) a
        WHERE a.grantee <> o.owner
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;

-- What apikeys.check() compares the objects with.  Of what somebody has broken, such
-- as a trigger that is switched off, it goes on to say so.
DELETE FROM apikeys_data.installed_state i
WHERE i.object <> ALL (string_to_array(current_setting('apikeys_update.broken'), E'\n'));
INSERT INTO apikeys_data.installed_state (object, property, value)
SELECT o.object, o.property, o.value
FROM apikeys_data.object_state o
WHERE o.object <> ALL (string_to_array(current_setting('apikeys_update.broken'), E'\n'));
