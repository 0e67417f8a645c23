-- :keys keys that are known by number; each tenth has limits, and a budget, that are
-- never reached.

SET client_min_messages = warning;
CREATE EXTENSION apikeys CASCADE;
CREATE SCHEMA load;

CREATE FUNCTION load.raw_key(i bigint) RETURNS text
LANGUAGE SQL IMMUTABLE RETURN 'gw-' || md5(i::text);

SELECT apikey_budget_create('load', 1e9) AS budget \gset

CREATE TABLE load.key AS
SELECT i, apikey_import(digest(load.raw_key(i), 'sha256'), 'key ' || i, 'gw-...',
                        budget_id => CASE WHEN i % 10 = 0 THEN :'budget'::uuid END,
                        rate_limits => CASE WHEN i % 10 = 0
                            THEN '{"requests_per_minute": 1000000000, "tokens_per_day": 1000000000}' ELSE '{}' END::jsonb) AS id
FROM generate_series(1, :keys) i;
ALTER TABLE load.key ADD PRIMARY KEY (i);
VACUUM ANALYZE;
