-- SPDX-License-Identifier: PostgreSQL

-- Do all rows still fulfil the constraints of their tables?  The rules are those
-- of the library, which may have been replaced since a row was written.

CREATE VIEW apikeys_data.row_rule AS
SELECT c.oid::regclass AS relation,
       (SELECT string_agg(format('(%s)', r.rule), ' AND ')
        FROM (SELECT pg_get_expr(o.conbin, o.conrelid) AS rule
              FROM pg_constraint o
              WHERE o.conrelid = c.oid AND o.contype = 'c'
              UNION ALL
              SELECT format('r.%I IS NOT NULL', a.attname)
              FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped) r) AS rule,
       coalesce((SELECT string_agg(format('r.%I', a.attname), ', ' ORDER BY a.attnum)
                 FROM pg_index x
                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (x.indkey)
                 WHERE x.indrelid = c.oid AND x.indisprimary), 'r.ctid') AS identity
FROM apikeys_data.extension_member m
JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'r';
COMMENT ON VIEW apikeys_data.row_rule IS 'One row per table: an expression that is not false for its rows, and what identifies them.';

-- A rule raises an error for a row.  So rows are tried by the thousand, and one by
-- one where that fails.
CREATE FUNCTION apikeys_data.row_problems() RETURNS SETOF apikeys_data.problem
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    blocks_at_once constant bigint := 64;
    t apikeys_data.row_rule;
    nblocks bigint;
    block bigint;
    first tid;
    behind tid;
    broken bigint;
    suspect record;
BEGIN
    FOR t IN SELECT r.* FROM apikeys_data.row_rule r WHERE r.rule IS NOT NULL LOOP
        nblocks := pg_relation_size(t.relation) / int8in(textout(current_setting('block_size')));
        block := 0;
        WHILE block < nblocks LOOP
            first := tidin(textout(format('(%s,0)', block)));
            block := block + blocks_at_once;
            behind := tidin(textout(format('(%s,0)', block)));
            BEGIN
                EXECUTE format('SELECT count(*) FROM ONLY %s r WHERE r.ctid >= $1 AND r.ctid < $2 AND (%s) IS FALSE', t.relation, t.rule)
                INTO broken USING first, behind;
            EXCEPTION WHEN data_exception OR data_corrupted THEN
                broken := 1;
            END;
            CONTINUE WHEN broken = 0;

            FOR suspect IN EXECUTE format(
                'SELECT r.ctid, concat_ws('', '', %s) AS id FROM ONLY %s r WHERE r.ctid >= $1 AND r.ctid < $2', t.identity, t.relation)
                USING first, behind
            LOOP
                BEGIN
                    EXECUTE format('SELECT 1 FROM ONLY %s r WHERE r.ctid = $1 AND (%s) IS FALSE', t.relation, t.rule)
                    INTO broken USING suspect.ctid;
                    CONTINUE WHEN broken IS NULL;
                    RETURN NEXT ('error', format('row %s of %s', suspect.id, t.relation), 'does not fulfil a constraint of its table')::apikeys_data.problem;
                EXCEPTION WHEN data_exception OR data_corrupted THEN
                    RETURN NEXT ('error', format('row %s of %s', suspect.id, t.relation), SQLERRM)::apikeys_data.problem;
                END;
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION apikeys_data.row_problems()
IS 'Rows that do not fulfil the constraints of their tables, or of which these raise an error.';
