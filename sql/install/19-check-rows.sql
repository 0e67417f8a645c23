-- SPDX-License-Identifier: PostgreSQL

-- Do all rows still fulfil the constraints of their tables?  The rules are those
-- of the library, which may have been replaced since a row was written.

-- A rule raises an error for a row.  So rows are tried by the thousand, and one by
-- one where that fails.
CREATE FUNCTION apikeys_data.row_problems(relation regclass, rule text, identity text) RETURNS SETOF apikeys_data.problem
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    blocks_at_once constant bigint := 64;
    nblocks constant bigint := pg_relation_size(relation) / current_setting('block_size')::bigint;
    broken_rows constant text := format('SELECT count(*) FROM ONLY %s r WHERE r.ctid >= $1 AND r.ctid < $2 AND (%s) IS FALSE', relation, rule);
    block bigint := 0;
    first tid;
    behind tid;
    broken bigint;
    suspect record;
BEGIN
    WHILE block < nblocks LOOP
        first := format('(%s,0)', block)::tid;
        block := block + blocks_at_once;
        behind := format('(%s,0)', block)::tid;
        BEGIN
            EXECUTE broken_rows INTO broken USING first, behind;
        EXCEPTION WHEN data_exception OR data_corrupted THEN
            broken := 1;
        END;
        CONTINUE WHEN broken = 0;

        FOR suspect IN EXECUTE format(
            'SELECT r.ctid, concat_ws('', '', %s) AS id FROM ONLY %s r WHERE r.ctid >= $1 AND r.ctid < $2', identity, relation)
            USING first, behind
        LOOP
            BEGIN
                EXECUTE format('SELECT 1 FROM ONLY %s r WHERE r.ctid = $1 AND (%s) IS FALSE', relation, rule)
                INTO broken USING suspect.ctid;
                CONTINUE WHEN broken IS NULL;
                RETURN NEXT ('error', format('row %s of %s', suspect.id, relation), 'does not fulfil a constraint of its table')::apikeys_data.problem;
            EXCEPTION WHEN data_exception OR data_corrupted THEN
                RETURN NEXT ('error', format('row %s of %s', suspect.id, relation), SQLERRM)::apikeys_data.problem;
            END;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION apikeys_data.row_problems(regclass, text, text)
IS 'Rows of a table for which a rule, an SQL expression, is false or raises an error; identity lists the columns that identify a row.';

CREATE VIEW apikeys_data.row_problem AS
SELECT p.*
FROM (SELECT c.oid::regclass AS relation,
             (SELECT string_agg(format('(%s)', r.rule), ' AND ')
              FROM (SELECT pg_get_expr(o.conbin, o.conrelid) AS rule
                    FROM pg_constraint o
                    WHERE o.conrelid = c.oid AND o.contype = 'c'
                    UNION ALL
                    SELECT format('%I IS NOT NULL', a.attname)
                    FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped) r) AS rule,
             (SELECT string_agg(format('r.%I', a.attname), ', ' ORDER BY a.attnum)
              FROM pg_index x
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (x.indkey)
              WHERE x.indrelid = c.oid AND x.indisprimary) AS identity
      FROM apikeys_data.extension_member m
      JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'r') t
CROSS JOIN LATERAL apikeys_data.row_problems(t.relation, t.rule, coalesce(t.identity, 'r.ctid')) p
WHERE t.rule IS NOT NULL;
COMMENT ON VIEW apikeys_data.row_problem IS 'Rows that do not fulfil the constraints of their tables.';
