-- How old keys may become: idle_timeout, apikeys.max_lifetime, apikeys.expiry_notice
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

-- ------------------------------------------------------------ idle_timeout
-- Bad values are refused wherever they come from, and change nothing.
SELECT test.errors($$ SELECT apikey_generate('ages bad', idle_timeout => '0') $$,
  $$ SELECT apikey_generate('ages bad', idle_timeout => '-1 day') $$,
  $$ SELECT apikey_generate('ages bad', idle_timeout => '1 day -1 hour') $$,
  $$ SELECT apikey_generate('ages bad', idle_timeout => '-1 month 40 days') $$,
  $$ SELECT apikey_generate('ages bad', idle_timeout => '0.5 seconds') $$,
  $$ SELECT apikey_generate('ages bad', idle_timeout => '1001 years') $$,
  $$ SELECT apikey_import(sha256('ages bad'), 'ages bad', 'b...', idle_timeout => '-1 day') $$);
SELECT count(*) FROM apikeys_data.key WHERE name = 'ages bad';
SELECT id, raw_key FROM apikey_generate('ages', idle_timeout => '30 days') \gset
SELECT test.errors($$ SELECT apikey_update(test.id('ages'), '{"idle_timeout": "0"}') $$,
  $$ SELECT apikey_update(test.id('ages'), '{"idle_timeout": "-1 day"}') $$,
  $$ SELECT apikey_update(test.id('ages'), '{"idle_timeout": "tomorrow"}') $$,
  $$ SELECT apikey_update(test.id('ages'), '{"idle_timeout": 30}') $$,
  $$ UPDATE apikeys_data.key SET idle_timeout = '-1 day' WHERE name = 'ages' $$);
SELECT idle_timeout, status FROM apikeys.info WHERE id = :'id';

-- Each test makes time pass by moving the key into the past.
CREATE FUNCTION test.age(id uuid, age interval) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM apikey_flush();
  UPDATE apikeys_data.key k SET created_at = k.created_at - age, idle_since = k.idle_since - age WHERE k.id = age.id;
  UPDATE apikeys_data.usage u SET last_used_at = u.last_used_at - age WHERE u.key_id = age.id;
  RETURN (SELECT status FROM apikeys.info i WHERE i.id = age.id);
END $$;

-- A key that was never used is idle from its creation on, whatever is asked.
SELECT test.age(:'id', '29 days');
SELECT test.age(:'id', '2 days');
SELECT valid, code, reason, id = :'id' AS id FROM apikey_verify(:'raw_key');
SELECT status FROM apikey_get(:'id');
SELECT name FROM apikey_list('expired') WHERE name LIKE 'ages%';
SELECT count(*) FROM apikey_list('active') WHERE name LIKE 'ages%';
SELECT s, apikey_count(s) = (SELECT count(*) FROM apikey_list(s)) AS same
FROM unnest(enum_range(NULL::apikeys.key_status)) s;

-- A rejected request is no use: it stays expired.
SELECT code FROM apikey_verify(:'raw_key');
SELECT code FROM apikey_verify(:'raw_key');
SELECT last_used_at, status FROM apikeys.info WHERE id = :'id';
SELECT test.errors($$ SELECT apikey_rotate(test.id('ages')) $$);

-- An update that does not mean it does not revive it ...
SELECT status FROM apikey_update(:'id', '{"name": "ages renamed", "expires_at": "2100-01-01"}');
SELECT status FROM apikey_update(:'id', '{"name": "ages renamed"}');
SELECT code FROM apikey_verify(:'raw_key');
-- ... idle_timeout does, though it is the same, and so does enabling it.
SELECT status FROM apikey_update(:'id', '{"idle_timeout": "30 days"}');
SELECT test.age(:'id', '29 days');
SELECT test.age(:'id', '2 days');
SELECT status FROM apikey_update(:'id', '{"enabled": true}');
SELECT test.age(:'id', '31 days');
SELECT status FROM apikey_update(:'id', '{"enabled": false}');
SELECT status FROM apikey_update(:'id', '{"enabled": true}');
SELECT test.age(:'id', '31 days');
-- Another timeout as well, and none.
SELECT status, idle_timeout FROM apikey_update(:'id', '{"idle_timeout": "1 mon 2 days"}');
SELECT test.age(:'id', '40 days');
SELECT code FROM apikey_verify(:'raw_key');
SELECT status, idle_timeout FROM apikey_update(:'id', '{"idle_timeout": null}');
SELECT code FROM apikey_verify(:'raw_key');
SELECT e.action, e.details - 'idle_since' AS details, e.details ? 'idle_since' AS restarted
FROM apikey_events(:'id') e WHERE action = 'update';

-- A use counts at once, before it is written, and also once it is.
SELECT id, raw_key FROM apikey_generate('ages used', idle_timeout => '30 days') \gset used_
SELECT test.age(:'used_id', '29 days');
SELECT code FROM apikey_verify(:'used_raw_key');
UPDATE apikeys_data.key SET created_at = created_at - interval '29 days' WHERE id = :'used_id';
SELECT code FROM apikey_verify(:'used_raw_key');
SELECT status FROM apikeys.info WHERE id = :'used_id';

-- Months are those of the calendar in UTC, whatever the session's time zone is.
SELECT apikeys.ends_at(NULL, '1 month', '2024-01-31 23:00+00'), apikeys.ends_at('2024-02-01', '1 month', '2024-01-31 23:00+00'),
       apikeys.ends_at('2024-02-01', NULL, '2024-01-31'), apikeys.ends_at('infinity', NULL, NULL),
       apikeys.ends_at(NULL, '1 day', 'infinity'), apikeys.ends_at(NULL, '1 day', '-infinity'),
       apikeys.ends_at(NULL, '1000 years', '290000-01-01');
SET timezone = 'America/New_York';
SELECT apikeys.ends_at(NULL, '1 day', '2024-03-09 12:00-05') AT TIME ZONE 'UTC';
SET timezone = 'UTC';

-- An imported key is idle from its import on: what came before is not known.
SELECT apikey_import(sha256('ages imported'), 'ages imported', 'i...', created_at => now() - interval '2 years',
                     idle_timeout => '30 days') AS id \gset imported_
SELECT code FROM apikey_verify('ages imported');
SELECT idle_timeout, status, created_at < now() - interval '1 year' AS old FROM apikeys.info WHERE id = :'imported_id';

-- Rotation keeps it; the successor counts from its making.
SELECT id, raw_key FROM apikey_generate('ages rotated', idle_timeout => '30 days') \gset old_
SELECT test.age(:'old_id', '29 days');
SELECT id, raw_key FROM apikey_rotate(:'old_id', grace => '10 days') \gset new_
SELECT name, idle_timeout, status FROM apikeys.info WHERE id IN (:'old_id', :'new_id') ORDER BY created_at;
SELECT test.age(:'old_id', '2 days') AS old, test.age(:'new_id', '2 days') AS new;
SELECT o.code AS old, n.code AS new FROM apikey_verify(:'old_raw_key') o, apikey_verify(:'new_raw_key') n;

-- Idle keys are expired for the clean-up as well, and for budgets.
SELECT apikey_budget_create('ages') AS budget \gset
SELECT id AS idle_id FROM apikey_generate('ages idle', idle_timeout => '1 day', budget_id => :'budget') \gset
SELECT test.errors($$ SELECT apikey_budget_delete(i.budget_id) FROM apikeys.info i WHERE name = 'ages idle' $$);
SELECT test.age(:'idle_id', '10 days');
SELECT apikey_budget_delete(:'budget');
SELECT status, budget_id FROM apikeys.info WHERE id = :'idle_id';
SELECT apikey_cleanup_expired('9 days 1 hour');
SELECT count(*) FROM apikeys.info WHERE id = :'idle_id';
SELECT test.age(:'idle_id', '1 day');
SELECT apikey_cleanup_expired('9 days 1 hour');
SELECT count(*) FROM apikeys.info WHERE id = :'idle_id';
SELECT count(*) FROM apikeys.info WHERE id = :'used_id';

-- ------------------------------------------------------ apikeys.max_lifetime
-- A superuser's setting, also for a role or a database.
CREATE ROLE ages_user;
SET ROLE ages_user;
SET apikeys.max_lifetime = 0;
RESET ROLE;
DROP ROLE ages_user;
SELECT context, unit, setting FROM pg_settings WHERE name = 'apikeys.max_lifetime';
SELECT id AS before_id FROM apikey_generate('ages before') \gset
SET apikeys.max_lifetime = '90d';

-- No expires_at takes the most; more is refused, and never is more.
CREATE FUNCTION test.lifetime(key_id uuid) RETURNS interval LANGUAGE sql AS $$
  SELECT justify_hours(date_trunc('hour', expires_at - created_at + interval '30 minutes')) FROM apikeys.info WHERE id = key_id
$$;
SELECT test.lifetime(g.id) FROM apikey_generate('ages most') g;
SELECT test.lifetime(g.id) FROM apikey_generate('ages less', expires_at => clock_timestamp() + '10 days 1 minute') g;
SELECT test.errors($$ SELECT apikey_generate('ages more', expires_at => clock_timestamp() + '91 days') $$,
  $$ SELECT apikey_generate('ages more', expires_at => 'infinity') $$,
  $$ SELECT apikey_update(test.id('ages most'), '{"expires_at": "infinity"}') $$,
  $$ SELECT apikey_update(test.id('ages most'), '{"expires_at": "2100-01-01"}') $$);
SELECT count(*) FROM apikeys.info WHERE name = 'ages more';

-- Imported keys count from their creation, too.
SELECT test.lifetime(apikey_import(sha256('ages import'), 'ages import', 'i...', created_at => clock_timestamp() - interval '30 days'));
SELECT test.errors($$ SELECT apikey_import(sha256('ages old'), 'ages old', 'i...', created_at => clock_timestamp() - interval '91 days') $$,
  $$ SELECT apikey_import(sha256('ages old'), 'ages old', 'i...', created_at => clock_timestamp() - interval '30 days',
       expires_at => clock_timestamp() + interval '61 days') $$);

-- An update likewise, if it changes expires_at.
SELECT test.lifetime(u.id) FROM apikey_update(test.id('ages less'), '{"expires_at": null}') u;
SELECT test.lifetime(u.id) FROM apikey_update(test.id('ages import'), '{"expires_at": null}') u;
SELECT expires_at FROM apikey_update(:'before_id', '{"name": "ages before, renamed"}');
SELECT test.errors($$ SELECT apikey_update(test.id('ages before, renamed'), '{"expires_at": "2100-01-01"}') $$);
SELECT test.lifetime(u.id) FROM apikey_update(:'before_id', jsonb_build_object('expires_at', now() + interval '10 days')) u;

-- A successor counts from its own making, and does not get more either; with
-- grace the old key gets no older than it may.
SELECT id AS successor_id FROM apikey_rotate(test.id('ages import'), grace => '80 days') \gset
SELECT name, test.lifetime(id) FROM apikeys.info WHERE id IN (test.id('ages import'), :'successor_id') ORDER BY name;
SELECT test.errors($$ SELECT apikey_rotate(test.id('ages most'), expires_at => clock_timestamp() + '91 days') $$);
SELECT test.lifetime(r.id) FROM apikey_rotate(test.id('ages most'), expires_at => clock_timestamp() + interval '89 days 1 minute') r;
-- What is too old is replaced at once, or not at all.
SELECT g.id AS old_id FROM apikey_generate('ages too old') g \gset
UPDATE apikeys_data.key SET created_at = created_at - interval '100 days', expires_at = NULL WHERE id = :'old_id';
SELECT test.errors($$ SELECT apikey_rotate(test.id('ages too old'), grace => '1 day') $$,
  $$ SELECT apikey_update(test.id('ages too old'), '{"expires_at": "2100-01-01"}') $$);
SELECT status, expires_at FROM apikeys.info WHERE id = :'old_id';
SELECT test.lifetime(r.id) FROM apikey_rotate(:'old_id') r;
-- A key from the end of time may live as long as it likes.
BEGIN;
UPDATE apikeys_data.key SET created_at = '294276-12-31', expires_at = NULL, revoked_at = NULL WHERE id = :'before_id';
SELECT expires_at FROM apikey_update(:'before_id', '{"expires_at": "294276-12-30Z"}');
ROLLBACK;
RESET apikeys.max_lifetime;
SELECT expires_at FROM apikey_update(test.id('ages less'), '{"expires_at": null}');
