-- SPDX-License-Identifier: PostgreSQL

-- Problems of the extension's own objects: are they as they were installed, and
-- who else may use the tables?

CREATE VIEW apikeys_data.extension_member AS
SELECT d.classid, d.objid, e.extowner
FROM pg_depend d
JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'apikeys';
COMMENT ON VIEW apikeys_data.extension_member IS 'The objects that belong to the extension.';

-- Without what differs from one server to the next, or may be changed: texts that
-- the server makes of expressions, oids, names of roles, table spaces, columns and
-- indexes that somebody has added.
CREATE VIEW apikeys_data.object_state AS
WITH relation AS (
    SELECT c.oid, c.relname, c.relkind, c.relowner, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
           m.extowner, format('%s.%s', c.relnamespace::regnamespace, quote_ident(c.relname)) AS name
    FROM apikeys_data.extension_member m
    JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
)
SELECT 'schema ' || n.nspname AS object, p.property, p.value
FROM apikeys_data.extension_member m
JOIN pg_namespace n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
CROSS JOIN LATERAL (VALUES
    ('owner', CASE WHEN n.nspowner = m.extowner THEN 'that of the extension' ELSE n.nspowner::regrole::text END)
) p(property, value)
UNION ALL
SELECT 'relation ' || r.name, p.property, p.value
FROM relation r
CROSS JOIN LATERAL (VALUES
    ('kind', r.relkind::text),
    ('owner', CASE WHEN r.relowner = r.extowner THEN 'that of the extension' ELSE r.relowner::regrole::text END),
    ('persistence', CASE r.relpersistence WHEN 'p' THEN 'permanent' WHEN 'u' THEN 'unlogged' ELSE 'temporary' END),
    ('row security', (r.relrowsecurity OR r.relforcerowsecurity)::text)
) p(property, value)
UNION ALL
SELECT format('column %s.%I', r.name, a.attname), p.property, p.value
FROM relation r
JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (VALUES
    ('type', format_type(a.atttypid, a.atttypmod)),
    ('collation', (SELECT l.collname::text FROM pg_collation l WHERE l.oid = a.attcollation)),
    ('NOT NULL', a.attnotnull::text)
) p(property, value)
WHERE r.relkind = 'r'
UNION ALL
SELECT format('constraint %I of %s', o.conname, r.name), p.property, p.value
FROM relation r
JOIN pg_constraint o ON o.conrelid = r.oid AND o.contype IN ('c', 'p', 'u')
CROSS JOIN LATERAL (VALUES
    ('kind', o.contype::text),
    ('validated', o.convalidated::text)
) p(property, value)
UNION ALL
SELECT format('index %I of %s', i.relname, r.name), p.property, p.value
FROM relation r
JOIN pg_index x ON x.indrelid = r.oid
JOIN pg_class i ON i.oid = x.indexrelid
CROSS JOIN LATERAL (VALUES
    ('valid', (x.indisvalid AND x.indisready AND x.indislive)::text),
    ('unique', x.indisunique::text),
    ('partial', (x.indpred IS NOT NULL)::text),
    ('columns', (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = i.oid))
) p(property, value)
UNION ALL
SELECT format('trigger %I of %s', t.tgname, r.name), p.property, p.value
FROM relation r
JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
JOIN pg_proc f ON f.oid = t.tgfoid
CROSS JOIN LATERAL (VALUES
    ('firing', CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' WHEN 'D' THEN 'DISABLED' ELSE 'ORIGIN' END),
    ('function', format('%s.%I', f.pronamespace::regnamespace, f.proname)),
    ('arguments', replace(encode(t.tgargs, 'escape'), E'\\000', ' ')),
    ('tgtype', t.tgtype::text)
) p(property, value)
UNION ALL
SELECT format('function %s.%I(%s)', f.pronamespace::regnamespace, f.proname, oidvectortypes(f.proargtypes)), p.property, p.value
FROM apikeys_data.extension_member m
JOIN pg_proc f ON m.classid = 'pg_proc'::regclass AND f.oid = m.objid
CROSS JOIN LATERAL (VALUES
    ('owner', CASE WHEN f.proowner = m.extowner THEN 'that of the extension' ELSE f.proowner::regrole::text END),
    ('language', (SELECT l.lanname::text FROM pg_language l WHERE l.oid = f.prolang)),
    ('SECURITY DEFINER', f.prosecdef::text),
    ('volatility', CASE f.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END),
    ('settings', array_to_string(f.proconfig, ', ')),
    ('library', f.probin),
    ('MD5 of the source', md5(f.prosrc))
) p(property, value);
COMMENT ON VIEW apikeys_data.object_state IS 'How the objects of the extension are now: one row per property.';

-- Filled by the last part of this script, and by that of each update.
CREATE TABLE apikeys_data.installed_state (
    object text COLLATE "C",
    property text COLLATE "C",
    value text COLLATE "C",
    PRIMARY KEY (object, property)
);
COMMENT ON TABLE apikeys_data.installed_state IS 'How the objects of the extension were when it was installed.';

CREATE TRIGGER keep_local BEFORE INSERT OR UPDATE OR DELETE ON apikeys_data.installed_state
FOR EACH ROW EXECUTE FUNCTION apikeys.keep_local();
COMMENT ON TRIGGER keep_local ON apikeys_data.installed_state IS 'Logical replication brings no rows of other servers.';
ALTER TABLE apikeys_data.installed_state ENABLE REPLICA TRIGGER keep_local;

CREATE VIEW apikeys_data.object_problem AS
SELECT 'error' AS level, i.object, 'is missing' AS problem
FROM apikeys_data.installed_state i
WHERE NOT EXISTS (SELECT FROM apikeys_data.object_state n WHERE n.object = i.object)
GROUP BY i.object
UNION ALL
SELECT CASE WHEN i.property = 'owner' THEN 'warning' ELSE 'error' END,
       i.object,
       format('%s is %s, and was %s', i.property, coalesce(n.value, 'not set'), coalesce(i.value, 'not set'))
FROM apikeys_data.installed_state i
JOIN apikeys_data.object_state n ON n.object = i.object AND n.property = i.property
WHERE n.value IS DISTINCT FROM i.value
UNION ALL
SELECT 'warning', n.object, 'is not valid, and slows down writes for nothing'
FROM apikeys_data.object_state n
WHERE n.object LIKE 'index %' AND n.property = 'valid' AND n.value = 'false'
  AND NOT EXISTS (SELECT FROM apikeys_data.installed_state i WHERE i.object = n.object);
COMMENT ON VIEW apikeys_data.object_problem IS 'Objects of the extension that are not as they were installed.';

-- Levels grant EXECUTE on functions, SELECT on views and USAGE on their schema, and
-- nothing else: see doc/rights.md.
CREATE VIEW apikeys_data.grant_problem AS
SELECT 'warning' AS level,
       g.object,
       format('%s has %s', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE 'role ' || g.grantee::regrole END,
              string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type)) AS problem
FROM (SELECT format('relation %s.%I', c.relnamespace::regnamespace, c.relname) AS object,
             a.grantee, a.privilege_type,
             c.relkind = 'v' AND c.relnamespace = 'apikeys'::regnamespace AND a.privilege_type = 'SELECT' AS is_of_level,
             c.relowner AS owner
      FROM apikeys_data.extension_member m
      JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
      CROSS JOIN LATERAL aclexplode(c.relacl) a
      UNION ALL
      SELECT format('column %s.%I.%I', c.relnamespace::regnamespace, c.relname, t.attname),
             a.grantee, a.privilege_type, false, c.relowner
      FROM apikeys_data.extension_member m
      JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
      JOIN pg_attribute t ON t.attrelid = c.oid AND t.attacl IS NOT NULL
      CROSS JOIN LATERAL aclexplode(t.attacl) a
      UNION ALL
      SELECT 'schema ' || n.nspname,
             a.grantee, a.privilege_type,
             n.nspname = 'apikeys' AND a.privilege_type = 'USAGE' AND a.grantee <> 0,
             n.nspowner
      FROM apikeys_data.extension_member m
      JOIN pg_namespace n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
      CROSS JOIN LATERAL aclexplode(n.nspacl) a
      UNION ALL
      SELECT format('function %s.%I(%s)', f.pronamespace::regnamespace, f.proname, oidvectortypes(f.proargtypes)),
             a.grantee, a.privilege_type, a.grantee <> 0, f.proowner
      FROM apikeys_data.extension_member m
      JOIN pg_proc f ON m.classid = 'pg_proc'::regclass AND f.oid = m.objid
      CROSS JOIN LATERAL aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a) g
WHERE g.grantee <> g.owner AND NOT g.is_of_level
GROUP BY g.object, g.grantee;
COMMENT ON VIEW apikeys_data.grant_problem IS 'Rights on what belongs to the extension that no level gives.';
