-- SPDX-License-Identifier: PostgreSQL
--
-- Prints the generated parts of doc/reference.md, from the catalogs of a database
-- with the extension.  Changes nothing.

\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
\pset null ''
\pset fieldsep ' | '

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = public, pg_temp;
LOAD 'apikeys';

CREATE TEMPORARY TABLE argument_text (argument text, description text, functions text[]);
CREATE TEMPORARY TABLE function_chapter (position serial, chapter text, functions text[]);
\ir arguments.sql

-- The levels, as roles that have one each.
CREATE TEMPORARY TABLE level AS
SELECT level, 'reference_' || level AS role, position
FROM unnest('{verify,own,stats,read,manage}'::text[]) WITH ORDINALITY l(level, position);
SELECT format('CREATE ROLE %I', role) FROM level \gexec
SELECT count(apikey_grant(role::regrole, level)) AS levels FROM level \gset

-- A text in a cell of a table.
CREATE FUNCTION pg_temp.cell(text text) RETURNS text
RETURN coalesce(replace(replace(text, '|', '\|'), E'\n', ' '), '');
CREATE FUNCTION pg_temp.type_of(type oid, modifier integer) RETURNS text
RETURN replace(replace(replace(format_type(type, modifier), 'timestamp with time zone', 'timestamptz'), 'apikeys_data.', ''), '"char"', 'char');

CREATE TEMPORARY VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'apikeys';

-- What people call: the functions outside of the schemas of the extension, and those
-- that the page names.
CREATE TEMPORARY VIEW function AS
SELECT p.oid, p.proname::text AS name, CASE WHEN p.pronamespace = 'apikeys'::regnamespace THEN 'apikeys.' ELSE '' END || p.proname AS shown,
       coalesce(c.position, 1000) AS position, coalesce(c.chapter, 'Other functions') AS chapter,
       array_position(c.functions, p.proname::text) AS place,
       p.proargnames, p.proargtypes, p.prorettype, p.proretset
FROM member m
JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
LEFT JOIN function_chapter c ON p.proname::text = ANY (c.functions)
WHERE p.pronamespace NOT IN ('apikeys'::regnamespace, 'apikeys_data'::regnamespace)
   OR p.pronamespace = 'apikeys'::regnamespace AND c.chapter IS NOT NULL;

CREATE TEMPORARY VIEW argument AS
SELECT f.oid, f.name AS function, a.position, a.name, a.type,
       pg_get_function_arg_default(f.oid, a.position::integer) AS fallback,
       coalesce(own.description, shared.description, 'not described yet: test/reference/arguments.sql') AS description
FROM function f
CROSS JOIN LATERAL unnest(f.proargnames, f.proargtypes::oid[]) WITH ORDINALITY a(name, type, position)
LEFT JOIN argument_text own ON own.argument = a.name AND f.name = ANY (own.functions)
LEFT JOIN argument_text shared ON shared.argument = a.name AND shared.functions IS NULL
WHERE a.type IS NOT NULL;

CREATE FUNCTION pg_temp.default_of(expression text) RETURNS text
RETURN CASE WHEN expression IS NULL THEN 'required'
            WHEN expression LIKE 'NULL%' THEN 'NULL'
            ELSE '`' || regexp_replace(expression, '::[a-z ]+$', '') || '`' END;

CREATE FUNCTION pg_temp.rows_of_arguments(function oid) RETURNS text
RETURN (SELECT E'\n| argument | type | default | what it is |\n|---|---|---|---|\n'
               || string_agg(format('| `%s` | %s | %s | %s |', a.name, pg_temp.type_of(a.type, -1),
                                    pg_temp.default_of(a.fallback), pg_temp.cell(a.description)), E'\n' ORDER BY a.position) || E'\n'
        FROM argument a WHERE a.oid = $1);

CREATE FUNCTION pg_temp.levels_of(function oid) RETURNS text
RETURN (SELECT coalesce('Level: ' || string_agg('`' || l.level || '`', ', ' ORDER BY l.position), 'No level: for the owner')
        FROM level l WHERE has_function_privilege(l.role, $1, 'EXECUTE'));

CREATE FUNCTION pg_temp.result_of(type oid, is_set boolean) RETURNS text
RETURN CASE WHEN is_set THEN 'rows of ' ELSE '' END
    || CASE WHEN EXISTS (SELECT FROM pg_type t WHERE t.oid = $1 AND t.typnamespace = 'apikeys_data'::regnamespace)
            THEN (SELECT CASE WHEN c.relkind = 'v' THEN format('[`%s`](#apikeys%s)', replace('apikeys.' || t.typname, 'key_info', 'info'), replace(t.typname::text, 'key_info', 'info'))
                              ELSE format('[`%s`](#%s)', t.typname, t.typname) END
                  FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid WHERE t.oid = $1)
            ELSE pg_temp.type_of($1, -1) END;

CREATE FUNCTION pg_temp.rows_of_columns(relation oid) RETURNS text
RETURN (SELECT E'| column | type | what it is |\n|---|---|---|\n'
               || string_agg(format('| `%s` | %s | %s |', a.attname, pg_temp.type_of(a.atttypid, a.atttypmod),
                                    pg_temp.cell(col_description(a.attrelid, a.attnum))), E'\n' ORDER BY a.attnum) || E'\n'
        FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped);

\echo '<!-- begin index -->'
\echo '| for | functions |'
\echo '|---|---|'
SELECT format('| %s | %s |', chapter, string_agg(format('[`%s`](#%s)', shown, lower(replace(shown, '.', ''))), ', ' ORDER BY place, name))
FROM function GROUP BY position, chapter ORDER BY position;
\echo '<!-- end index -->'

\echo '<!-- begin functions -->'
SELECT CASE WHEN lag(chapter) OVER (ORDER BY position, place, name) IS DISTINCT FROM chapter THEN format(E'### %s\n\n', chapter) ELSE '' END
    || format(E'#### %s\n\n%s\n%s\nReturns %s. %s.\n', shown, obj_description(oid, 'pg_proc'), coalesce(pg_temp.rows_of_arguments(oid), ''),
              pg_temp.result_of(prorettype, proretset), pg_temp.levels_of(oid))
FROM function ORDER BY position, place, name;
\echo '<!-- end functions -->'

\echo '<!-- begin types -->'
SELECT format(E'### %s\n\n%s\n\n%s', relname, obj_description(reltype, 'pg_type'), pg_temp.rows_of_columns(c.oid))
FROM pg_class c JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = c.reltype
WHERE relkind = 'c' AND obj_description(reltype, 'pg_type') NOT LIKE 'Columns of the view %' ORDER BY relname;
SELECT format(E'### %s\n\n%s\n\nOne of %s.\n', t.typname, obj_description(t.oid, 'pg_type'),
              (SELECT string_agg('`' || enumlabel || '`', ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
WHERE typtype = 'e' ORDER BY typname;
\echo '<!-- end types -->'

\echo '<!-- begin views -->'
SELECT format(E'### apikeys.%s\n\n%s %s.\n\n%s', relname, obj_description(c.oid, 'pg_class'),
              (SELECT coalesce('Level: ' || string_agg('`' || l.level || '`', ', ' ORDER BY l.position), 'No level: for the owner')
               FROM level l WHERE has_table_privilege(l.role, c.oid, 'SELECT')), pg_temp.rows_of_columns(c.oid))
FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
WHERE relkind = 'v' AND relnamespace = 'apikeys'::regnamespace ORDER BY relname;
\echo '<!-- end views -->'

\echo '<!-- begin settings -->'
\echo '| setting | type and range | default | set by | what it does |'
\echo '|---|---|---|---|---|'
SELECT format('| `%s` | %s | %s | %s | %s |', name,
              CASE WHEN vartype IN ('integer', 'real') THEN concat_ws(' ', vartype, 'in ' || nullif(unit, '')) ELSE vartype END
              || CASE WHEN enumvals IS NOT NULL THEN ': ' || array_to_string(enumvals, ', ')
                      WHEN vartype IN ('integer', 'real') THEN format(', %s to %s', min_val, max_val) ELSE '' END,
              CASE WHEN current_setting(name) = '' THEN 'empty' ELSE '`' || current_setting(name) || '`' END,
              CASE context WHEN 'user' THEN 'anyone' WHEN 'superuser' THEN 'a superuser' WHEN 'sighup' THEN 'reload'
                           WHEN 'postmaster' THEN 'restart' ELSE context END,
              pg_temp.cell(concat_ws(' ', short_desc, extra_desc)))
FROM pg_settings WHERE name LIKE 'apikeys.%' ORDER BY name;
\echo '<!-- end settings -->'

\echo '<!-- begin internal functions -->'
\echo '| function | what it is for |'
\echo '|---|---|'
SELECT format('| `%s.%s` | %s |', p.pronamespace::regnamespace, p.proname, pg_temp.cell(obj_description(p.oid, 'pg_proc')))
FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
WHERE p.oid NOT IN (SELECT oid FROM function)
ORDER BY p.pronamespace::regnamespace::text, p.proname, p.oid::regprocedure::text;
\echo '<!-- end internal functions -->'

\echo '<!-- begin tables -->'
SELECT format(E'#### %s\n\n%s\n\n%s', relname, obj_description(c.oid, 'pg_class'), pg_temp.rows_of_columns(c.oid))
FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
WHERE relkind = 'r' ORDER BY relname;
SELECT format(E'| view | what it is |\n|---|---|\n%s', string_agg(format('| `%s` | %s |', relname, pg_temp.cell(obj_description(c.oid, 'pg_class'))), E'\n' ORDER BY relname))
FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
WHERE relkind = 'v' AND relnamespace = 'apikeys_data'::regnamespace;
\echo '<!-- end tables -->'

-- Texts that describe nothing.
\echo '<!-- begin leftovers -->'
SELECT format('%s of %s is no argument', t.argument, f)
FROM argument_text t LEFT JOIN LATERAL unnest(t.functions) f ON true
WHERE NOT EXISTS (SELECT FROM argument a WHERE a.name = t.argument AND (a.function = f OR f IS NULL)) ORDER BY 1;
SELECT format('%s is no function', f)
FROM function_chapter c, unnest(c.functions) f WHERE f NOT IN (SELECT name FROM function) ORDER BY 1;
SELECT format('%s of %s is described twice', argument, f)
FROM argument_text LEFT JOIN LATERAL unnest(functions) f ON true GROUP BY argument, f HAVING count(*) > 1 ORDER BY 1;
\echo '<!-- end leftovers -->'
ROLLBACK;
