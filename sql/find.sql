-- The filters that apikey_list and apikey_count share
DELETE FROM apikeys_data.key;
SET timezone = 'UTC';
SELECT apikey_budget_create('find', 10) AS budget_id \gset
SELECT apikey_plan_set('find'), apikey_plan_set('Find');
SELECT count(apikey_import(digest('find ' || n, 'sha256'), CASE WHEN n <= 6 THEN 'ci/' ELSE 'prod/' END || to_char(n, 'FM00') || CASE WHEN n % 2 = 0 THEN ' 100%' ELSE '' END, 'f' || n,
  user_id => ('00000000-0000-0000-0000-00000000000' || n % 2)::uuid, budget_id => CASE WHEN n % 4 = 0 THEN :'budget_id'::uuid END,
  expires_at => CASE WHEN n <= 3 THEN '2100-01-01'::timestamptz + n * interval '1 day' WHEN n = 4 THEN 'infinity' END,
  metadata => CASE WHEN n % 3 = 0 THEN '{}' WHEN n % 3 = 1 THEN jsonb_build_object('app', 'shop', 'number', n) ELSE jsonb_build_object('app', 'shop', 'tags', jsonb_build_array('a', 'n' || n), 'at', jsonb_build_object('zone', 'eu', 'rack', n)) END,
  plan => CASE WHEN n % 5 = 0 THEN 'find' WHEN n = 7 THEN 'Find' END,
  created_at => '2020-01-01 00:00+00'::timestamptz + n * interval '1 day'))
FROM generate_series(1, 12) n;
SELECT apikey_revoke(test.id('ci/01'));

CREATE FUNCTION test.budget_id() RETURNS uuid STABLE LANGUAGE sql AS $$ SELECT id FROM apikeys_data.budget WHERE name = 'find' $$;
-- The numbers of the keys that a list of arguments finds; both functions agree.
CREATE FUNCTION test.found(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
  listed bigint;
  counted bigint;
BEGIN
  EXECUTE format('SELECT string_agg(substr(key_prefix, 2), '' ''), count(*) FROM apikey_list(%s)', arguments) INTO result, listed;
  EXECUTE format('SELECT apikey_count(%s)', arguments) INTO counted;
  RETURN CASE WHEN listed = counted THEN coalesce(result, 'none') ELSE format('%s listed, %s counted', listed, counted) END;
END $$;
SELECT arguments, test.found(arguments) FROM unnest(ARRAY[
  '', 'NULL', 'status => ''revoked''', 'user_id => ''00000000-0000-0000-0000-000000000001''',
  -- a key that never expires is not found
  'expires_before => ''2100-01-03''', 'expires_before => ''2100-01-03 00:00:00.000001''', 'expires_before => ''infinity''', 'expires_before => ''-infinity''', 'expires_before => NULL',
  -- neither made nor used since
  'unused_since => ''2020-01-05''', 'unused_since => ''infinity''', 'unused_since => ''-infinity''', 'unused_since => NULL',
  -- as LIKE has it
  'name_like => ''ci/%''', 'name_like => ''prod/1%''', 'name_like => ''%1''', 'name_like => ''ci/0_''', 'name_like => ''ci/03''', 'name_like => ''CI/%''', 'name_like => ''ci/''', 'name_like => ''%\%''', 'name_like => ''%0\%''', 'name_like => ''%\\''', 'name_like => ''%''', 'name_like => NULL',
  'budget_id => test.budget_id()', 'budget_id => ''00000000-0000-0000-0000-00000000dead''', 'budget_id => NULL',
  'plan => ''find''', 'plan => ''Find''', 'plan => ''FIND''', 'plan => ''''', 'plan => NULL', 'plan => ''find'', name_like => ''prod/%''',
  -- all that it says, in the key's document
  'metadata => ''{"app": "shop"}''', 'metadata => ''{"number": 7}''', 'metadata => ''{"number": "7"}''', 'metadata => ''{"tags": ["n5"]}''', 'metadata => ''{"tags": "a"}''', 'metadata => ''{"tags": []}''', 'metadata => ''{"at": {"zone": "eu"}, "app": "shop"}''', 'metadata => ''{"at": {"zone": "us"}}''', 'metadata => ''{}''', 'metadata => NULL',
  -- together
  'budget_id => test.budget_id(), name_like => ''prod/%''', 'metadata => ''{"app": "shop"}'', name_like => ''ci/%'', unused_since => ''2020-01-05''',
  'status => ''active'', expires_before => ''2101-01-01''',
  'status => ''active'', user_id => ''00000000-0000-0000-0000-000000000000'', name_like => ''%4 %'', unused_since => ''2021-01-01'', expires_before => NULL, budget_id => test.budget_id(), metadata => ''{"number": 4}''']) WITH ORDINALITY a(arguments, n)
ORDER BY n;
-- In their order.
SELECT apikey_count(NULL, NULL, NULL, NULL, '2100-01-03', '2020-01-03', 'ci/%', NULL, NULL, '{"app": "shop"}');
SELECT apikey_count(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'find', NULL);
SELECT key_prefix FROM apikey_list(NULL, NULL, NULL, NULL, NULL, 0, NULL, '2100-01-03', '2020-01-03', 'ci/%', NULL, NULL, '{"app": "shop"}', NULL);

-- Pages, with filters.
SELECT string_agg(key_prefix, ' ') FROM apikey_list(name_like => 'prod/%', row_limit => 2);
SELECT string_agg(key_prefix, ' ') FROM apikey_list(name_like => 'prod/%', row_limit => 2, after => test.id('prod/11'));
SELECT string_agg(key_prefix, ' ') FROM apikey_list(metadata => '{"app": "shop"}', after => '00000000-0000-0000-0000-00000000dead', after_created_at => '2020-01-06');

-- A use counts at once, whether it is written or not.
SELECT code FROM apikey_verify('find 3');
SELECT test.found('unused_since => ''2020-01-06''') = CASE WHEN test.keeps_last_use() THEN '4 2 1' ELSE '4 3 2 1' END AS found;
SELECT apikey_flush() >= 0 AS flushed;
SELECT test.found('unused_since => ''2020-01-06''') = CASE WHEN test.keeps_last_use() THEN '4 2 1' ELSE '4 3 2 1' END AS found;
SELECT test.found('unused_since => now() + interval ''1 day''') AS all_of_them;
UPDATE apikeys_data.usage SET last_used_at = '2020-01-05' WHERE key_id = test.id('ci/02 100%');
INSERT INTO apikeys_data.usage (key_id, last_used_at) VALUES (test.id('ci/02 100%'), '2020-01-05'), (test.id('ci/01'), NULL) ON CONFLICT (key_id, node) DO UPDATE SET last_used_at = EXCLUDED.last_used_at;
SELECT test.found('unused_since => ''2020-01-05'', expires_before => ''infinity'', name_like => ''ci/0_%''') AS stored, test.found('unused_since => ''2020-01-05 00:00:00.000001'', name_like => ''ci/02%''') AS later;

-- A key that is idle is expired, a use that is stored counts.
UPDATE apikeys_data.key SET idle_timeout = '1 day', idle_since = '2020-02-01' WHERE id IN (test.id('ci/02 100%'), test.id('prod/07'), test.id('prod/08 100%'));
INSERT INTO apikeys_data.usage (key_id, last_used_at) VALUES (test.id('prod/07'), now());
SELECT test.found('status => ''expired''') AS idle, test.found('status => ''active'', name_like => ''prod/0%''') AS active;

-- Where there are many keys, each filter has an index, and what is not asked
-- for is not read.
BEGIN;
INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name, budget_id, plan, metadata, expires_at)
SELECT id, id, digest('find ' || id, 'sha256'), 'x', 'filler ' || n, CASE WHEN n % 5 = 0 THEN id END, CASE WHEN n % 5 = 0 THEN 'plan ' || n END, CASE WHEN n % 3 = 0 THEN jsonb_build_object('n', n) ELSE '{}' END, CASE WHEN n % 2 = 0 THEN now() + interval '1 year' + n * interval '1 day' END
FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, 3000) n) f;
ANALYZE apikeys_data.key;
CREATE FUNCTION test.reads(filters text, tables text = 'key') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  line text;
  result text := '';
BEGIN
  FOR line IN EXECUTE format('EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT count(*) FROM apikeys_data.find_keys(%s, NULL, now())', filters) LOOP
    CONTINUE WHEN tables <> 'key' AND line LIKE '%never executed%';
    result := concat_ws(' ', nullif(result, ''), substring(line FROM format('(?:Scan|Scan Backward) (?:using|on) ((?:%s)[a-z_]*)', tables)));
  END LOOP;
  RETURN regexp_replace(result, '^key (?=key_)', ''); -- by a bitmap of the index
END $$;
SELECT filter, test.reads((SELECT string_agg(CASE WHEN f.n = g THEN filter ELSE 'NULL' END, ', ' ORDER BY g) FROM generate_series(1, 10) g)) AS reads
FROM unnest(ARRAY['NULL', '''00000000-0000-0000-0000-000000000001''', '''00000000-0000-0000-0000-000000000001''', '''x''', '''2020-01-01''', '''2020-01-03''', '''filler 77%''', '''00000000-0000-0000-0000-000000000001''', '''plan 5''', '''{"n": 3}''']) WITH ORDINALITY f(filter, n) ORDER BY n;
SELECT test.reads('NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL', 'key|usage') AS without_filters, test.reads('NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, ''{}''', 'key|usage') AS with_an_empty_one;
SELECT statuses, test.reads(format('%L, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL', statuses)) AS reads
FROM unnest('{"{revoked}","{expired}","{disabled}","{revoked,expired,disabled}"}'::text[]) statuses;
-- The functions' own plans read few rows, too.
CREATE TEMPORARY VIEW rows_read AS
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS rows FROM pg_stat_xact_all_tables WHERE relid = 'apikeys_data.key'::regclass;
SELECT rows FROM rows_read \gset before_
SELECT (SELECT count(*) FROM apikey_list(name_like => 'filler 777%')), apikey_count(metadata => '{"n": 3}'), (SELECT count(*) FROM apikey_list(expires_before => now() + interval '1 day')), apikey_count(plan => 'plan 5');
SELECT rows - :before_rows < 100 AS few_rows_read FROM rows_read;
-- Usage is read of the keys of a page alone, however many are skipped.
CREATE TEMPORARY VIEW usage_scans AS
SELECT sum(seq_scan + idx_scan) AS scans FROM pg_stat_xact_all_tables WHERE relid IN ('apikeys_data.usage'::regclass, 'apikeys_data.usage_day'::regclass, 'apikeys_data.usage_entry'::regclass);
SELECT scans FROM usage_scans \gset before_
SELECT (SELECT count(*) FROM apikey_list(row_limit => 5, row_offset => 2000)), (SELECT count(*) FROM apikey_list('active', row_limit => 5, row_offset => 2000));
SELECT scans - :before_scans BETWEEN 20 AND 40 AS few_scans FROM usage_scans;
DROP FUNCTION test.reads;
ROLLBACK;

-- Errors.
SELECT * FROM test.errors(
  $$SELECT apikey_list(name_like => '')$$,
  $$SELECT apikey_list(name_like => repeat('x', 1001))$$,
  $$SELECT apikey_list(name_like => 'no such name\')$$,
  $$SELECT apikey_list(name_like => 'x\\\')$$,
  $$SELECT apikey_list(metadata => '[]')$$,
  $$SELECT apikey_list(metadata => '"x"')$$,
  $$SELECT apikey_list(metadata => jsonb_build_object('k', repeat('x', 8192)))$$,
  $$SELECT apikey_count(name_like => '\')$$,
  $$SELECT apikey_count(name_like => '')$$,
  $$SELECT apikey_count(metadata => 'null')$$,
  $$SELECT apikey_count(budget_id => 'x')$$,
  $$SELECT apikey_count(expires_before => 'soon')$$
);
SELECT apikey_count(name_like => repeat(chr(8364), 1000));
DELETE FROM apikeys_data.key;
SELECT apikey_budget_delete(:'budget_id');
SELECT apikey_plan_delete('find'), apikey_plan_delete('Find');
DROP FUNCTION test.found, test.budget_id;
