-- A raw key in any text that any function takes: afterwards it is in no table,
-- no result and no message.  The functions and their arguments are those of the
-- catalog, so a new one is covered, or named here because nobody has said what
-- to call it with.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_apikeys_walk;
RESET client_min_messages;
CREATE ROLE regress_apikeys_walk;
SELECT id, raw_key FROM apikey_generate('walk open', rate_limits => '{"requests_per_day": 0}') \gset open_
SELECT id, raw_key FROM apikey_generate('walk closed', permissions => '{"allowed_models": ["m"], "allowed_endpoints": ["e"]}') \gset closed_
SELECT raw_key FROM apikey_generate('walk needle') \gset needle_
SELECT apikey_budget_create('walk', 10) AS budget \gset

CREATE TEMPORARY TABLE known AS
SELECT :'open_id'::uuid AS id, :'budget'::uuid AS budget, :'open_raw_key' AS open, :'closed_raw_key' AS closed, :'closed_id'::uuid AS closed_id, :'needle_raw_key' AS needle,
       -- any eight characters or so of what is masked
       format('%s|%s|%s|%s', substr(:'needle_raw_key', 5, 9), substr(:'needle_raw_key', 14, 9), substr(:'needle_raw_key', 23, 9),
         encode(convert_to(substr(:'needle_raw_key', 5, 27), 'UTF8'), 'hex')) AS pattern;

CREATE TEMPORARY VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'apikeys' AND d.deptype = 'e';

-- What can hold a text, and what cannot.
CREATE TEMPORARY TABLE kind AS
SELECT type::regtype, true AS holds_text FROM unnest('{text,varchar,bpchar,name,cstring,json,jsonb,xml,bytea,text[],varchar[],name[],json[],jsonb[],bytea[]}'::text[]) type
UNION ALL
SELECT type::regtype, false FROM unnest('{boolean,smallint,integer,bigint,real,double precision,numeric,uuid,inet,date,timestamp,timestamptz,interval,regrole,regclass,
  uuid[],inet[],numeric[],bigint[],integer[],timestamptz[],apikeys.key_status,apikeys.key_status[]}'::text[]) type;

CREATE TEMPORARY TABLE argument AS
SELECT p.oid::regprocedure AS function, p.oid::regproc::text AS name, a.n::int, a.name AS argument, a.type::regtype AS type,
       a.n > p.pronargs - p.pronargdefaults AS optional
FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid,
  LATERAL (SELECT i.type, i.name, row_number() OVER (ORDER BY i.n) AS n
           FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes) WITH ORDINALITY i(type, name, mode, n)
           WHERE coalesce(i.mode, 'i') IN ('i', 'b', 'v')) a
WHERE p.prorettype <> 'trigger'::regtype
  AND p.proname NOT LIKE 'common\_%' -- for documents that are stored, of which they return parts
  AND p.proname <> 'feed_exchange'; -- its message has no text, see t/604_feed_messages

SELECT function, argument, type AS can_it_hold_a_text FROM argument WHERE type NOT IN (SELECT k.type FROM kind k);

-- A good value for an argument, as an expression; null if there is none.
CREATE FUNCTION test.good(a argument, opener text) RETURNS text LANGUAGE sql AS $$
  SELECT CASE
    -- a key that no other function is called with
    WHEN a.name ~ 'apikey_revoke' AND a.argument IN ('raw_key', 'id') THEN quote_literal(CASE a.argument WHEN 'id' THEN k.closed_id::text ELSE k.closed END)
    WHEN a.argument = 'raw_key' THEN quote_literal(opener)
    WHEN a.argument = 'any_permissions' THEN 'NULL'
    WHEN a.argument = 'reserve' THEN 'false'
    WHEN a.argument IN ('budget_id', 'parent_id') OR (a.argument = 'id' AND a.name ~ 'budget') THEN quote_literal(k.budget)
    WHEN a.argument = 'key_hashes' THEN 'ARRAY[sha256(convert_to(clock_timestamp()::text, ''UTF8''))]'
    WHEN a.argument IN ('names', 'key_prefixes') THEN '''{m}'''
    WHEN a.argument = 'key_hash' THEN 'sha256(convert_to(clock_timestamp()::text, ''UTF8''))'
    WHEN a.argument = 'created_at' THEN 'now() - interval ''1 day'''
    WHEN a.argument = 'access' THEN '''verify'''
    WHEN a.argument = 'time_zone' THEN '''UTC'''
    WHEN a.argument = 'plan' THEN '''full_access'''
    WHEN a.name ~ 'plan_delete' THEN 'SELECT max(i.name) FROM apikeys.plan_info i WHERE i.keys = 0 AND i.name <> ''full_access'''
    WHEN a.argument = 'preset' THEN format('%L', CASE WHEN a.name ~ 'rate_limits' THEN 'standard' ELSE 'admin' END)
    WHEN a.type = 'regrole'::regtype THEN '''regress_apikeys_walk'''
    WHEN a.type = 'uuid'::regtype THEN quote_literal(k.id)
    WHEN a.type = 'inet'::regtype THEN '''::1'''
    WHEN a.type = 'apikeys.key_status'::regtype THEN '''active'''
    WHEN a.type = 'apikeys.key_status[]'::regtype THEN '''{active}'''
    WHEN a.type = 'boolean'::regtype THEN 'true'
    WHEN a.type = 'interval'::regtype THEN '''1 day'''
    WHEN a.type IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN 'now() + interval ''1 day'''
    WHEN a.type IN ('integer'::regtype, 'bigint'::regtype, 'numeric'::regtype) THEN '1'
    WHEN a.type IN ('json'::regtype, 'jsonb'::regtype) THEN '''{}'''
    WHEN a.type = 'inet[]'::regtype THEN '''{::1}'''
    WHEN a.type = 'numeric[]'::regtype THEN '''{0.5}'''
    WHEN a.type = 'timestamptz[]'::regtype THEN '''{2020-01-01}'''
    WHEN a.type = 'uuid[]'::regtype THEN format('''{%s}''', k.id)
    WHEN a.type = 'text[]'::regtype THEN '''{}'''
    WHEN a.type IN ('text'::regtype, 'name'::regtype) THEN '''m'''
  END FROM known k
$$;

-- A call with good values for all arguments, or all that are required, and $1 for one.
CREATE FUNCTION test.statement(called regprocedure, given text, everything boolean, opener text) RETURNS text LANGUAGE sql AS $$
  SELECT format('SELECT string_agg(f::text, '' '') FROM %s(%s) f', called::regproc,
    string_agg(format('%I => (%s)::%s', a.argument,
      CASE WHEN a.argument <> given OR given IS NULL THEN test.good(a, opener) WHEN a.type = 'bytea'::regtype THEN 'convert_to($1, ''UTF8'')' ELSE '$1' END,
      a.type), ', ' ORDER BY a.n))
  FROM argument a
  WHERE a.function = called AND (everything OR NOT a.optional OR a.argument = given OR (a.name ~ 'revoke_where' AND a.argument = 'team_id'))
$$;

-- Where the key is after a statement, which is then undone: of the tables, in
-- rows of this transaction.
CREATE FUNCTION test.leaks(statement text, value text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  pattern text := (SELECT k.pattern FROM known k);
  result text;
  tables text;
  state text;
  message text;
  detail text;
  hint text;
  context text;
  name text;
BEGIN
  EXECUTE statement INTO result USING value;
  IF result ~ pattern THEN
    RETURN NEXT 'result';
  END IF;
  SELECT string_agg(format('SELECT %L FROM %s t WHERE age(t.xmin) <= age(pg_current_xact_id()::xid) AND t::text ~ %L', c.oid::regclass, c.oid::regclass, pattern), ' UNION ')
  FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid WHERE c.relkind = 'r' INTO tables;
  FOR result IN EXECUTE tables LOOP
    RETURN NEXT result;
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = 'ZZ999';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
    context = PG_EXCEPTION_CONTEXT, name = COLUMN_NAME;
  IF concat_ws(' ', message, detail, hint, context, name) ~ pattern THEN
    RETURN NEXT format('error %s', state);
  END IF;
END $$;

-- The members of a document, as the error for an unknown one lists them.
CREATE FUNCTION test.members(statement text, around text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  hint text;
BEGIN
  EXECUTE statement USING format(around, '{"": 1}');
  RAISE EXCEPTION USING ERRCODE = 'ZZ999';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
  RETURN QUERY SELECT unnest(string_to_array(substring(hint FROM '^Members are (.*)\.$'), ', '));
END $$;

-- What the key may come in.
CREATE FUNCTION test.wrapped(type regtype, needle text, statement text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT unnest(ARRAY[needle, 'a ' || needle || ' b', 'x' || needle || 'y', repeat('x ', 38) || needle, repeat('x ', 46) || needle])
  WHERE type NOT IN ('json'::regtype, 'jsonb'::regtype) AND type::text NOT LIKE '%[]'
  UNION ALL
  SELECT unnest(ARRAY[ARRAY[needle]::text, ARRAY['m', needle, NULL]::text, ARRAY[[needle, needle]]::text, ARRAY[repeat('x ', 46) || needle]::text]) WHERE type::text LIKE '%[]'
  UNION ALL
  SELECT replace(replace(unnest(ARRAY['"NEEDLE"', '["NEEDLE"]', '{"NEEDLE": 1}', '{"a": ["NEEDLE"]}', '{"a": {"b": {"NEEDLE": null}}}', '[[{"a": "x NEEDLE"}]]', '{"\u0067REST": 1}']), 'NEEDLE', needle), 'REST', substr(needle, 2))
  WHERE type IN ('json'::regtype, 'jsonb'::regtype)
  UNION ALL
  SELECT format(v.document, m.name) FROM test.members(statement, '%s') m(name),
    unnest(ARRAY[format('{"%%s": "%s"}', needle), format('{"%%s": ["%s"]}', needle), format('{"%%s": {"%s": 1}}', needle), format('{"%%s": {"a": ["%s"]}}', needle)]) v(document)
  WHERE type IN ('json'::regtype, 'jsonb'::regtype)
  UNION ALL
  SELECT format(v.document, m.name, n.name) FROM test.members(statement, '%s') m(name), test.members(statement, format('{"%s": %%s}', m.name)) n(name),
    unnest(ARRAY[format('{"%%s": {"%%s": "%s"}}', needle), format('{"%%s": {"%%s": ["%s"]}}', needle), format('{"%%s": {"%%s": [{"name": "%s"}]}}', needle)]) v(document)
  WHERE type IN ('json'::regtype, 'jsonb'::regtype)
$$;

-- Good values are good: every function that takes a text can be called with them.
BEGIN;
SELECT DISTINCT a.function, e.errors
FROM (SELECT DISTINCT function FROM argument JOIN kind USING (type) WHERE holds_text) a, known k, unnest('{f,t}'::boolean[]) everything,
  LATERAL (SELECT string_agg(btrim(e), '; ') AS errors FROM test.errors(test.statement(a.function, NULL, everything, k.open)) WITH ORDINALITY t(e, n) WHERE t.n > 1) e
WHERE e.errors NOT IN ('NO ERROR', '55000 API key is already revoked') OR e.errors IS NULL; -- at the second call
ROLLBACK;

-- The walk.
CREATE TEMPORARY TABLE walked AS
SELECT a.function, a.argument, w.value, l.leak
FROM argument a JOIN kind USING (type), known k, unnest('{f,t}'::boolean[]) everything, unnest(ARRAY[k.open, k.closed]) opener,
  LATERAL test.statement(a.function, a.argument, everything, opener) s(statement),
  LATERAL test.wrapped(a.type, k.needle, s.statement) w(value)
  LEFT JOIN LATERAL test.leaks(s.statement, w.value) l(leak) ON true
WHERE holds_text AND (opener = k.open OR EXISTS (SELECT FROM argument o WHERE o.function = a.function AND o.argument = 'raw_key'));
SELECT function, argument, leak, count(*), replace(min(value), needle, 'KEY') AS example FROM walked, known WHERE leak IS NOT NULL GROUP BY 1, 2, 3, needle ORDER BY 1, 2, 3;
SELECT count(*) > 1000 AS calls, count(DISTINCT function) > 15 AS functions FROM walked;

-- The same by hand, for the owner.
SELECT c.table, c.column, l.leak
FROM (SELECT a.attrelid::regclass AS table, a.attname AS column, a.atttypid::regtype AS type FROM pg_attribute a
      WHERE a.attrelid IN ('apikeys_data.key'::regclass, 'apikeys_data.budget'::regclass) AND a.attnum > 0 AND NOT a.attisdropped) c
  JOIN kind USING (type), known k,
  LATERAL test.wrapped(c.type, k.needle, '') w(value),
  LATERAL test.leaks(format('UPDATE %s SET %I = %s WHERE id IN (%L, %L) RETURNING ''''', c.table, c.column,
    CASE WHEN c.type = 'bytea'::regtype THEN 'convert_to($1, ''UTF8'')' ELSE format('$1::%s', c.type) END, k.id, k.budget), w.value) l(leak)
WHERE holds_text;

-- The name of a client is in each event.
SELECT set_config('application_name', :'needle_raw_key', false) <> '' AS set;
SELECT apikey_revoke(:'open_id');
RESET application_name;
SELECT regexp_replace(application_name, '[^*-]', 'x', 'g') AS application_name FROM apikeys_data.event WHERE action <> 'rehash' ORDER BY id DESC LIMIT 1;

-- A key from elsewhere is known by its hash alone, which is imported with it.
CREATE FUNCTION test.import(arguments text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT test.errors(format('SELECT apikey_import(sha256(''sk-proj-abcdefghijklmnop1234''), %s)', arguments))
$$;
SELECT test.import(arguments) FROM unnest(ARRAY[
  $$'n', 'sk-proj-abcdefghijklmnop1234'$$,
  $$'sk-proj-abcdefghijklmnop1234', 'x'$$,
  $$'the key sk-proj-abcdefghijklmnop1234', 'x'$$,
  $$'n', 'x', E'a key:\nsk-proj-abcdefghijklmnop1234\n'$$,
  $$'n', 'x', external_id => 'sk-proj-abcdefghijklmnop1234'$$,
  $$'n', 'x', hash_secret => 'sk-proj-abcdefghijklmnop1234'$$,
  $$'n', 'x', metadata => '{"a": [{"b": "sk-proj-abcdefghijklmnop1234"}]}'$$,
  $$'n', 'x', metadata => '{"sk-proj-abcdefghijklmnop1234": 1}'$$,
  $$'n', 'x', permissions => '{"custom_permissions": ["sk-proj-abcdefghijklmnop1234"]}'$$]) arguments;
-- ... or in place of it, or later.
SELECT apikey_import(sha256('sk-proj-abcdefghijklmnop1234'), 'walk import', 'sk-p...1234') AS id \gset
SELECT * FROM test.errors(
  $$SELECT apikey_update(test.id('walk import'), '{"name": "sk-proj-abcdefghijklmnop1234"}')$$,
  $$SELECT apikey_update(test.id('walk import'), '{"metadata": {"key": "sk-proj-abcdefghijklmnop1234"}}')$$);
SELECT apikey_delete(:'id');
SELECT * FROM test.errors($$SELECT apikey_import('sk-abcdefghijklmnopqrstuvwxyz123', 'n', 'x')$$);
SELECT count(*) FROM apikeys_data.key WHERE name = 'n';

DROP FUNCTION test.good, test.statement, test.leaks, test.members, test.wrapped(regtype, text, text), test.import;
SELECT apikey_budget_delete(:'budget');
DELETE FROM apikeys_data.key WHERE name LIKE 'walk %';
SET client_min_messages = warning;
DROP OWNED BY regress_apikeys_walk;
DROP ROLE regress_apikeys_walk;
RESET client_min_messages;
