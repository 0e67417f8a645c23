-- A database with :keys keys, and what the benchmark asks in it.
-- :floor is the library of the floor.

SET client_min_messages = warning;

CREATE EXTENSION apikeys CASCADE;
CREATE SCHEMA bench;

CREATE FUNCTION bench.raw_key(i bigint) RETURNS text
LANGUAGE SQL IMMUTABLE RETURN 'gw-' || md5(i::text);

CREATE FUNCTION bench.id(i bigint) RETURNS uuid
LANGUAGE SQL IMMUTABLE RETURN md5('id ' || i)::uuid;

INSERT INTO apikeys_data.key (id, key_hash, key_prefix, name, user_id,
                         permissions, metadata, expires_at)
SELECT bench.id(i), digest(bench.raw_key(i), 'sha256'),
       'gw-' || substr(md5(i::text), 1, 1) || '...' || right(md5(i::text), 4),
       'key ' || i, bench.id(-i), '{"custom_permissions": ["read:*"]}',
       '{"plan": "pro"}', clock_timestamp() + interval '1 year'
FROM generate_series(1, :keys) i;

-- Keys for which everything is checked: addresses, permissions, all limits,
-- and a budget that they share: 500 with one level, and 500 with three.
SELECT apikey_budget_create('bench', 1e9) AS budget \gset
SELECT apikey_budget_create('level 1', 1e9) AS level_1 \gset
SELECT apikey_budget_create('level 2', 1e8, parent_id => :'level_1') AS level_2 \gset
SELECT apikey_budget_create('level 3', 1e7, parent_id => :'level_2') AS level_3 \gset
INSERT INTO apikeys_data.key (id, key_hash, key_prefix, name, budget_id,
                         permissions, rate_limits, allowed_ips)
SELECT bench.id(-i), digest('gw-' || md5('limited ' || i), 'sha256'),
       'gw-l...', 'limited key ' || i, CASE WHEN i <= 500 THEN :'budget' ELSE :'level_3' END::uuid,
       '{"allowed_models": ["o1", "gpt-*"], "allowed_endpoints": ["/v1/*"],
         "custom_permissions": ["read:*"], "max_tokens_per_request": 100000}',
       '{"requests_per_minute": 1000000000, "tokens_per_minute": 1000000000,
         "requests_per_day": 1000000000, "tokens_per_day": 1000000000,
         "max_concurrent_requests": 100}',
       '{192.168.0.0/16, 10.0.0.0/8, 2001:db8::/32}'
FROM generate_series(1, 1000) i;

-- The keys to ask for: one row a call.
CREATE TABLE bench.pick_set AS
SELECT bench.raw_key(1 + g % 500 * greatest(:keys / 500, 1)) AS k
FROM generate_series(1, 50000) g;

CREATE TABLE bench.pick_unknown AS
SELECT 'gw-' || md5('unknown ' || g) AS k FROM generate_series(1, 50000) g;

CREATE TABLE bench.pick_limited AS
SELECT 'gw-' || md5('limited ' || 1 + g % 500) AS k FROM generate_series(1, 50000) g;

CREATE TABLE bench.pick_levels AS
SELECT 'gw-' || md5('limited ' || 501 + g % 500) AS k FROM generate_series(1, 50000) g;

CREATE TABLE bench.pick_each AS
SELECT bench.raw_key(g) AS k FROM generate_series(1, least(:keys, 100000)) g;

VACUUM (FREEZE, ANALYZE);

-- The floor takes what apikey_verify takes, and gives what it gave once.
CREATE TABLE bench.floor_row AS SELECT * FROM apikey_verify(bench.raw_key(1));
SELECT format('CREATE FUNCTION bench.floor(%s) RETURNS %s LANGUAGE C AS %L, %L',
              pg_get_function_arguments('apikey_verify'::regproc), pg_get_function_result('apikey_verify'::regproc), :'floor', 'bench_floor') \gexec

-- Times a query that counts, after a run that warms up.
CREATE FUNCTION bench.clock(query text, warm_up boolean, OUT seconds float8, OUT n bigint)
LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz;
BEGIN
    IF warm_up THEN
        EXECUTE query INTO n;
    END IF;
    start := clock_timestamp();
    EXECUTE query INTO n;
    seconds := extract(epoch FROM clock_timestamp() - start);
END $$;

-- Bytes of WAL that a query of this backend writes, and the rows of a table
-- that it locks or changes.
CREATE FUNCTION bench.writes(query text, tab regclass, OUT wal_bytes bigint, OUT row_locks bigint)
LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, WAL, FORMAT json) ' || query INTO plan;
    wal_bytes := plan #>> '{0,Plan,WAL Bytes}';
    EXECUTE format('SELECT count(*) FROM %s t WHERE $1 IN (t.xmin, t.xmax)', tab)
    INTO row_locks USING pg_current_xact_id_if_assigned()::xid;
END $$;

-- Seconds of CPU that this backend has taken.
CREATE FUNCTION bench.cpu() RETURNS float8
LANGUAGE SQL RETURN (SELECT (s[12]::float8 + s[13]::float8) / 100
    FROM regexp_split_to_array(regexp_replace(pg_read_file('/proc/self/stat'), '^.*\) ', ''), ' ') s);

CREATE FUNCTION bench.memory() RETURNS bigint
LANGUAGE SQL RETURN (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\s+(\d+)'))[1]::bigint;
