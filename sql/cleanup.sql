-- apikey_cleanup_expired
DELETE FROM apikeys_data.key;
DELETE FROM apikeys_data.usage;
SELECT coalesce(max(id), 0) AS last FROM apikeys_data.event \gset event_

-- Keys that expired just now, an hour, a day and two months ago, and such as
-- do not go away, whatever their state.
SELECT count(*) FROM (VALUES ('now'), ('hour'), ('day'), ('months'), ('day, used'), ('day, disabled'), ('day, revoked'),
  ('future'), ('infinity'), ('without'), ('without, disabled'), ('without, revoked')) n(name), LATERAL apikey_generate(n.name);
SELECT count(*) FROM apikeys_data.key k, LATERAL apikey_revoke(k.id) WHERE k.name LIKE '%, revoked';
INSERT INTO apikeys_data.usage (key_id, last_used_at) VALUES (test.id('day, used'), now());
UPDATE apikeys_data.key SET enabled = false WHERE name LIKE '%, disabled';
UPDATE apikeys_data.key SET created_at = now() - interval '1 year', expires_at = CASE split_part(name, ',', 1)
    WHEN 'now' THEN clock_timestamp()
    WHEN 'hour' THEN now() - interval '1 hour'
    WHEN 'day' THEN now() - interval '25 hours'
    WHEN 'months' THEN now() - interval '2 months'
    WHEN 'future' THEN now() + interval '1 hour'
    WHEN 'infinity' THEN 'infinity'
  END;

SELECT apikey_cleanup_expired('1 year');
SELECT apikey_cleanup_expired(older_than => '1 month');
SELECT string_agg(name, ', ' ORDER BY name COLLATE "C") FROM apikeys_data.key;
SELECT apikey_cleanup_expired('1 day');
SELECT string_agg(name, ', ' ORDER BY name COLLATE "C") FROM apikeys_data.key;

-- Undone, nothing is gone.
BEGIN;
SELECT apikey_cleanup_expired();
ROLLBACK;
SELECT apikey_cleanup_expired();
SELECT string_agg(name, ', ' ORDER BY name COLLATE "C") FROM apikeys_data.key;
SELECT apikey_cleanup_expired();

-- An event for each, nothing left of their use.
SELECT count(*), count(DISTINCT key_id) FROM apikeys_data.event e
WHERE id > :event_last AND action = 'cleanup' AND NOT EXISTS (SELECT FROM apikeys_data.key k WHERE k.id = e.key_id);
SELECT count(*) FROM apikeys_data.event WHERE id > :event_last AND action = 'cleanup' AND key_id IN (SELECT id FROM apikeys_data.key);
SELECT count(*) FROM apikeys_data.usage u WHERE NOT EXISTS (SELECT FROM apikeys_data.key k WHERE k.id = u.key_id);

-- What deletions have left, because it was locked or written later, goes with a clean-up,
-- which looks at 10,000 keys and not at all; a key with many rows is one of them.
SELECT gen_random_uuid() AS orphan FROM generate_series(1, 1) \gset
INSERT INTO apikeys_data.usage (key_id) SELECT gen_random_uuid() FROM generate_series(1, 12000);
INSERT INTO apikeys_data.usage (key_id) SELECT id FROM apikeys_data.key LIMIT 1;
INSERT INTO apikeys_data.usage_day (key_id, day) SELECT :'orphan', '2020-01-01'::date + n FROM generate_series(1, 11000) n;
INSERT INTO apikeys_data.usage_day (key_id, day) SELECT id, '2020-01-01' FROM apikeys_data.key LIMIT 1;
INSERT INTO apikeys_data.budget_period (budget_id, started_at, spent) VALUES (:'orphan', '2020-01-01', 1);
INSERT INTO apikeys_data.budget_warning (budget_id, started_at, fraction) VALUES (:'orphan', '2020-01-01', 0.5);
CREATE TEMPORARY VIEW kept AS
SELECT (SELECT count(*) FROM apikeys_data.usage) AS usage, (SELECT count(*) FROM apikeys_data.usage_day) AS days,
  (SELECT count(*) FROM apikeys_data.budget_period WHERE started_at = '2020-01-01') AS periods,
  (SELECT count(*) FROM apikeys_data.budget_warning WHERE started_at = '2020-01-01') AS warnings;
SELECT apikey_cleanup_expired();
SELECT usage BETWEEN 2001 AND 2002 AS some, days, periods, warnings FROM kept;
SELECT apikey_cleanup_expired();
SELECT * FROM kept;
DROP VIEW kept;
DELETE FROM apikeys_data.usage;
DELETE FROM apikeys_data.usage_day;

-- The old key of a rotation goes when its grace has passed; the new one stays.
SELECT id, raw_key FROM apikey_generate('rotated', expires_at => clock_timestamp() + interval '1 day') \gset old_
SELECT id, raw_key FROM apikey_rotate(:'old_id', '1 hour', 'infinity') \gset new_
SELECT apikey_cleanup_expired();
UPDATE apikeys_data.key SET expires_at = clock_timestamp() WHERE id = :'old_id';
SELECT apikey_cleanup_expired();
SELECT code, root_id = :'old_id' AS root_id FROM apikey_verify(:'new_raw_key');

-- Errors.
UPDATE apikeys_data.key SET created_at = now() - interval '1 day', expires_at = clock_timestamp() WHERE id = :'new_id';
SELECT * FROM test.errors(
  $$SELECT apikey_cleanup_expired('-1 second')$$,
  $$SELECT apikey_cleanup_expired('-1 microsecond')$$,
  $$SELECT apikey_cleanup_expired('1 day -25 hours')$$,
  $$SELECT apikey_cleanup_expired(NULL)$$
);
\set VERBOSITY sqlstate
SELECT apikey_cleanup_expired('-1 day');
BEGIN TRANSACTION READ ONLY;
SELECT apikey_cleanup_expired();
ROLLBACK;
\set VERBOSITY default
SELECT count(*) FROM apikeys_data.key WHERE id = :'new_id';
