-- SPDX-License-Identifier: PostgreSQL

-- Nobody has any right by default: not PUBLIC, which may call each function,
-- nor anybody to whom ALTER DEFAULT PRIVILEGES gives rights on what the owner
-- makes.  src/api/grants.c has the level of each function and view.  What
-- pg_monitor gets comes after this.
SET LOCAL search_path = pg_catalog, pg_temp;
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
            SELECT format('SCHEMA %I', n.nspname), n.nspowner, n.nspacl
            FROM member m
            JOIN pg_namespace n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
            UNION ALL
            -- A column of such a type would stop an update from adding one to it.  From
            -- 18 on, rows of relations are members too; of rights on these, pg_dump warns.
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
