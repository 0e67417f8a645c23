-- apikey_get, apikey_list, apikey_count
DELETE FROM apikeys_data.key;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT apikey_count();
SELECT count(*) FROM apikey_list();

-- Twelve keys of two users, two teams and three customers, one a minute.
SELECT count(apikey_import(digest('list ' || n, 'sha256'), 'key ' || to_char(n, 'FM00'), 'k' || n,
  user_id => CASE n % 2 WHEN 0 THEN '00000000-0000-0000-0000-000000000001' ELSE '00000000-0000-0000-0000-000000000002' END::uuid,
  team_id => CASE n % 3 WHEN 0 THEN '00000000-0000-0000-0000-00000000000a' WHEN 1 THEN '00000000-0000-0000-0000-00000000000b' END::uuid,
  external_id => 'customer ' || n % 4,
  created_at => '2020-01-01 00:00+00'::timestamptz + n * interval '1 minute'))
FROM generate_series(1, 12) n;
SELECT status FROM apikey_update(test.id('key 02'), '{"enabled": false}');
SELECT status FROM apikey_update(test.id('key 03'), '{"enabled": false}');
UPDATE apikeys_data.key SET expires_at = clock_timestamp() WHERE name IN ('key 03', 'key 04', 'key 05');
SELECT apikey_revoke(test.id('key 05'));
SELECT apikey_revoke(test.id('key 06'));
UPDATE apikeys_data.key SET enabled = false WHERE name IN ('key 05', 'key 06');
UPDATE apikeys_data.key SET expires_at = 'infinity' WHERE name = 'key 07';
UPDATE apikeys_data.key SET expires_at = '2100-01-01 00:00+00' WHERE name = 'key 08';

-- Newest first.
SELECT name, status, user_id, team_id, external_id, created_at FROM apikey_list();

-- The effective status: revoked goes before expired, expired before disabled.
SELECT status, string_agg(name, ', ') AS keys, apikey_count(status) = count(*) AS count
FROM unnest(enum_range(NULL::apikeys.key_status)) status, LATERAL (SELECT name FROM apikey_list(status)) l
GROUP BY status ORDER BY status;
SELECT apikey_count(), apikey_count(NULL), apikey_count(status => 'disabled'), apikey_count('revoked');

-- Filters, alone and together.
SELECT string_agg(name, ', ') FROM apikey_list(user_id => '00000000-0000-0000-0000-000000000001');
SELECT string_agg(name, ', ') FROM apikey_list(team_id => '00000000-0000-0000-0000-00000000000b');
SELECT string_agg(name, ', ') FROM apikey_list(external_id => 'customer 1');
SELECT string_agg(name, ', ') FROM apikey_list('active', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000b', 'customer 2');
SELECT string_agg(name, ', ') FROM apikey_list(status => 'active', external_id => 'customer 0');
SELECT count(*) FROM apikey_list(user_id => '00000000-0000-0000-0000-00000000dead');
SELECT count(*) FROM apikey_list(external_id => 'Customer 1');
SELECT count(*) FROM apikey_list(external_id => '');
SELECT count(*) FROM apikey_list(external_id => 'customer %');
SELECT count(*) FROM apikey_list(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- Pages, by number and by key.
SELECT string_agg(name, ', ') FROM apikey_list(row_limit => 3);
SELECT string_agg(name, ', ') FROM apikey_list(row_limit => 3, row_offset => 3);
SELECT string_agg(name, ', ') FROM apikey_list(row_offset => 10);
SELECT count(*) FROM apikey_list(row_limit => 0);
SELECT count(*) FROM apikey_list(row_offset => 100);
SELECT string_agg(name, ', ') FROM apikey_list(row_limit => 3, after => test.id('key 10'));
SELECT string_agg(name, ', ') FROM apikey_list(row_limit => 2, row_offset => 1, after => test.id('key 10'));
SELECT string_agg(name, ', ') FROM apikey_list('active', after => test.id('key 05'));
SELECT count(*) FROM apikey_list(after => test.id('key 01'));

-- The key that a page starts after need not pass the filter.
SELECT string_agg(name, ', ') FROM apikey_list(external_id => 'customer 1', after => test.id('key 10'));

-- Keys of one moment: a walk by pages still meets each of them once.
SELECT count(apikey_import(digest('list same ' || n, 'sha256'), 'same', 's', external_id => 'same moment', created_at => '2020-01-01 00:00+00'))
FROM generate_series(1, 10) n;
WITH RECURSIVE page AS (
  SELECT 1 AS number, ARRAY(SELECT id FROM apikey_list(external_id => 'same moment', row_limit => 3)) AS ids
  UNION ALL
  SELECT number + 1, ARRAY(SELECT id FROM apikey_list(external_id => 'same moment', row_limit => 3, after => ids[cardinality(ids)]))
  FROM page WHERE cardinality(ids) > 0
)
SELECT array_agg(cardinality(ids) ORDER BY number) AS pages,
       (SELECT count(DISTINCT id) FROM page, unnest(ids) id) AS keys,
       (SELECT array_agg(id ORDER BY number, place) FROM page, unnest(ids) WITH ORDINALITY AS u(id, place))
         = (SELECT array_agg(id) FROM apikey_list(external_id => 'same moment')) AS in_order
FROM page;

-- Pages beside a clean-up: with after_created_at a page needs no row to start
-- after, and meets the rows of the same moment.
SELECT string_agg(name, ', ') FROM apikey_list(row_limit => 3, after => test.id('key 10'), after_created_at => (SELECT created_at FROM apikey_get(test.id('key 10'))));
BEGIN;
SELECT array_agg(id) AS ids, min(created_at) AS moment FROM apikey_list(external_id => 'same moment') \gset
SELECT cardinality(:'ids'::uuid[]);
SELECT apikey_delete((:'ids'::uuid[])[3]);
SELECT array_agg(id) = (:'ids'::uuid[])[4:] AS goes_on FROM apikey_list(external_id => 'same moment', after => (:'ids'::uuid[])[3], after_created_at => :'moment');
SELECT array_agg(id) = (:'ids'::uuid[])[4:6] AS goes_on FROM apikey_list(external_id => 'same moment', row_limit => 3, after => (:'ids'::uuid[])[3], after_created_at => :'moment');
-- A walk in which each page is deleted before the next one.
CREATE FUNCTION test.walk_and_delete() RETURNS TABLE (pages bigint, keys bigint) LANGUAGE plpgsql AS $$
DECLARE
  last record;
  n bigint;
BEGIN
  pages := 0; keys := 0;
  SELECT NULL::uuid AS id, NULL::timestamptz AS created_at INTO last;
  LOOP
    CREATE TEMPORARY TABLE page AS SELECT id, created_at, row_number() OVER () AS place
      FROM apikey_list(external_id => 'same moment', row_limit => 2, after => last.id, after_created_at => last.created_at);
    SELECT count(*) INTO n FROM page;
    keys := keys + n;
    pages := pages + 1;
    EXIT WHEN n = 0;
    SELECT id, created_at INTO last FROM page ORDER BY place DESC LIMIT 1;
    PERFORM apikey_delete(id) FROM page;
    DROP TABLE page;
  END LOOP;
  RETURN NEXT;
END $$;
SELECT * FROM test.walk_and_delete();
ROLLBACK;
-- Where the row exists it counts, not the time: a driver that knows
-- milliseconds alone skips none.
BEGIN;
SELECT apikey_import(digest('list old', 'sha256'), 'old', 'o', external_id => 'cut', created_at => '2020-01-01 00:00:00.001500+00') IS NOT NULL AS made;
SELECT apikey_import(digest('list new', 'sha256'), 'new', 'n', external_id => 'cut', created_at => '2020-01-01 00:00:00.001999+00') AS id \gset newer_
SELECT name FROM apikey_list(external_id => 'cut', after => :'newer_id', after_created_at => '2020-01-01 00:00:00.001+00');
ROLLBACK;
SELECT count(*) FROM apikey_list(after => '00000000-0000-0000-0000-00000000dead', after_created_at => '-infinity');
SELECT count(*) = apikey_count() AS all FROM apikey_list(after => '00000000-0000-0000-0000-00000000dead', after_created_at => 'infinity');

-- One key: the row of apikeys.info, or none.
SELECT g = i AS info FROM apikey_get(test.id('key 08')) g, apikeys.info i WHERE i.name = 'key 08';
SELECT id = root_id AS is_root, rotated_from, key_prefix, name, description, user_id, team_id, budget_id,
       external_id, status, permissions, rate_limits, metadata, allowed_ips, expires_at, created_at,
       updated_at > created_at AS updated, revoked_at, last_used_at, total_requests, total_tokens,
       total_cost, requests_today, tokens_today, cost_today
FROM apikey_get(id => test.id('key 08')) \gx
SELECT count(*) FROM apikey_get('00000000-0000-0000-0000-00000000dead');
SELECT count(*) FROM apikey_get(NULL);

-- Reading needs no right to write, and sees what this transaction did.
BEGIN TRANSACTION READ ONLY;
SELECT (SELECT count(*) FROM apikey_list()), apikey_count(), (SELECT count(*) FROM apikey_get(test.id('key 01'))) AS got;
COMMIT;
BEGIN;
SELECT id AS new_id FROM apikey_generate('list new', external_id => 'new') \gset
SELECT (SELECT count(*) FROM apikey_list(external_id => 'new')), apikey_count(), (SELECT name FROM apikey_get(:'new_id'));
ROLLBACK;

-- A call is planned for its filters, however often others were called without.
BEGIN;
INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name, external_id)
SELECT id, id, digest('list ' || id, 'sha256'), 'x', 'filler', 'filler' FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 2000)) f;
INSERT INTO apikeys_data.event (at, action, key_id) SELECT clock_timestamp(), 'filler', id FROM apikeys_data.key WHERE name = 'filler';
ANALYZE apikeys_data.key, apikeys_data.event;
SELECT sum(keys) AS keys, sum(events) AS events
FROM generate_series(3001, 3010) n, LATERAL (SELECT least(count(*), 2000) AS keys FROM apikey_list(row_limit => n)) k,
     LATERAL (SELECT least(count(*), 2000) AS events FROM apikey_events(row_limit => n)) e;
CREATE TEMPORARY VIEW rows_read AS
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS rows FROM pg_stat_xact_all_tables WHERE relid IN ('apikeys_data.key'::regclass, 'apikeys_data.event'::regclass);
SELECT rows FROM rows_read \gset before_
SELECT count(*) FROM apikey_list(external_id => 'customer 1');
SELECT count(*) FROM apikey_events('00000000-0000-0000-0000-00000000dead');
SELECT rows - :before_rows < 100 AS few_rows_read FROM rows_read;
ROLLBACK;

-- Errors.
SELECT * FROM test.errors(
  $$SELECT apikey_list(after => '00000000-0000-0000-0000-00000000dead')$$,
  $$SELECT apikey_list(after_created_at => now())$$,
  $$SELECT apikey_list(row_limit => -1)$$,
  $$SELECT apikey_list(row_offset => -1)$$,
  $$SELECT apikey_list('gone')$$,
  $$SELECT apikey_count('gone')$$
);
\set VERBOSITY sqlstate
SELECT count(*) FROM apikey_list(after => '00000000-0000-0000-0000-00000000dead');
\set VERBOSITY default
