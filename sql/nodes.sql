-- What other nodes have used, as logical replication brings it, counts on a server
-- that has no number as on one that has.
SELECT apikey_import(digest('nodes ' || n, 'sha256'), 'nodes ' || n, 'n' || n, created_at => '2020-01-01') IS NOT NULL AS imported
FROM generate_series(1, 4) n;

-- The first key was used here, the second one here and elsewhere, the third one elsewhere.
INSERT INTO apikeys_data.usage (key_id, node, last_used_at, last_used_ip, total_requests, total_tokens, total_cost)
SELECT test.id('nodes ' || u.key), u.node, u.at::timestamptz, u.ip::inet, u.requests, u.tokens, u.cost
FROM (VALUES (1, 0, '2021-01-01 UTC', '10.0.0.1', 1, 10, 0.5),
             (2, 0, '2021-01-02 UTC', '10.0.0.2', 2, 20, 0.25),
             (2, 1, '2021-01-04 UTC', NULL, 3, 9223372036854775807, 0.125),
             (2, 2, '2021-01-03 UTC', '10.2.0.2', 4, 30, 1),
             (3, 1, '2021-01-05 UTC', '10.1.0.3', 5, 40, 2),
             (3, 2, NULL, NULL, 6, 50, 3)) u(key, node, at, ip, requests, tokens, cost);
INSERT INTO apikeys_data.usage_entry (id, key_id, recorded_at, tokens, cost)
SELECT (e.node::bigint << 48) + e.n, test.id('nodes ' || e.key), '2021-01-06 UTC', 1, 1
FROM (VALUES (1, 1, 900000001), (2, 2, 900000001), (2, 2, 900000002), (3, 1, 900000002)) e(key, node, n);

CREATE VIEW test.used AS
SELECT name, last_used_at AT TIME ZONE 'UTC' AS last_used_at, last_used_ip, total_requests, total_tokens, total_cost
FROM apikeys.info WHERE name LIKE 'nodes %';
SELECT * FROM test.used ORDER BY name;
SELECT name, apikey_count(name_like => name, unused_since => '2021-01-03 UTC') AS unused FROM test.used ORDER BY name;
SELECT string_agg(name, ', ' ORDER BY name) FROM apikey_list(name_like => 'nodes %', unused_since => '2021-01-05 UTC');
SELECT total_requests FROM apikey_usage(test.id('nodes 2'));

-- Where there is no other node, the keys' rows of other nodes are not looked for.
CREATE FUNCTION test.scans(query text) RETURNS TABLE (alias text, looked boolean) LANGUAGE plpgsql AS $$
DECLARE
  plan jsonb;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, FORMAT json) ' || query INTO plan;
  RETURN QUERY
  WITH RECURSIVE node(n) AS (
    SELECT plan #> '{0,Plan}' UNION ALL SELECT p FROM node, jsonb_array_elements(n->'Plans') p)
  SELECT n->>'Alias', bool_or((n->>'Actual Loops')::int > 0) FROM node WHERE n->>'Relation Name' = 'usage' GROUP BY 1 ORDER BY 1;
END $$;
SELECT * FROM test.scans('SELECT last_used_at FROM apikeys_data.key_state') WHERE alias IN ('n', 'u');
DELETE FROM apikeys_data.usage WHERE node > 0;
SELECT * FROM test.scans('SELECT last_used_at FROM apikeys_data.key_state') WHERE alias IN ('n', 'u');
SELECT * FROM test.used ORDER BY name;

SELECT count(apikey_delete(test.id(name))::text) FROM test.used;
DELETE FROM apikeys_data.usage_entry WHERE id > apikeys.first_id() + 281474976710655;
DROP FUNCTION test.scans;
DROP VIEW test.used;
