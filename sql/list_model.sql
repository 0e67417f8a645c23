-- apikey_list and apikey_count with random filters over random keys, against
-- plain SQL over what apikeys.info shows.
DELETE FROM apikeys_data.key;
SET timezone = 'UTC';
SELECT setseed(extract(epoch FROM clock_timestamp())::numeric % 1) IS NOT NULL AS seeded;
SELECT count(apikey_budget_create('model ' || n, 10)) FROM generate_series(1, 3) n;
SELECT count(apikey_plan_set('model ' || n)) FROM generate_series(1, 3) n;

-- An element of a list, or null with this probability.
CREATE FUNCTION test.pick(VARIADIC list text[]) RETURNS text VOLATILE LANGUAGE sql AS $$ SELECT list[1 + floor(random() * cardinality(list))::int] $$;
CREATE FUNCTION test.maybe(value text, nulls float8) RETURNS text VOLATILE LANGUAGE sql AS $$ SELECT CASE WHEN random() >= nulls THEN value END $$;

-- Times are some days apart from now, so that no status changes meanwhile.
INSERT INTO apikeys_data.key (id, root_id, key_hash, key_prefix, name, user_id, team_id, external_id, budget_id, plan, metadata,
                              enabled, expires_at, idle_timeout, idle_since, created_at, revoked_at)
SELECT id, id, digest('model ' || n, 'sha256'), 'm' || n, test.pick('ci/', 'prod/', '100%') || n % 50,
       test.maybe('00000000-0000-0000-0000-00000000000' || n % 3, 0.2)::uuid,
       test.maybe('00000000-0000-0000-0000-00000000000' || n % 4, 0.3)::uuid,
       test.maybe('customer ' || n % 5, 0.3),
       (SELECT b.id FROM apikeys_data.budget b WHERE b.name = test.maybe('model ' || n % 4, 0.3)),
       test.maybe('model ' || 1 + n % 3, 0.5),
       test.pick('{}', '{"app": "shop"}', '{"app": "shop", "tags": ["a", "b"]}', '{"tags": ["b"]}')::jsonb,
       random() > 0.2,
       test.maybe(test.pick('2020-05-01', '2020-06-01', '2100-01-01', '2100-01-02', 'infinity'), 0.3)::timestamptz,
       test.maybe(test.pick('1 hour', '2 months', '500 years'), 0.6)::interval,
       test.maybe(test.pick('2020-01-01', '2020-03-01', clock_timestamp()::text), 0.5)::timestamptz,
       test.pick('2020-01-01', '2020-02-01', '2020-03-01 00:00:00.000001', '2020-04-01')::timestamptz + floor(random() * 9) * interval '1 day',
       test.maybe(test.pick('2020-05-01', '2021-05-01'), 0.7)::timestamptz
FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, 400) n) k;
INSERT INTO apikeys_data.usage (key_id, last_used_at, total_requests)
SELECT id, test.maybe(test.pick('2020-02-03', '2020-06-01', clock_timestamp()::text), 0.2)::timestamptz, 5
FROM apikeys_data.key WHERE random() < 0.5;
INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost) SELECT id, clock_timestamp(), 7, 0.5 FROM apikeys_data.key WHERE random() < 0.3;
-- The last use of some is in shared memory: those that were idle are not.
UPDATE apikeys_data.key SET idle_since = clock_timestamp() WHERE id IN (SELECT id FROM apikeys_data.key WHERE idle_timeout = '1 hour' LIMIT 20);
SELECT count(code) = 400 AS verified FROM generate_series(1, 400) n, LATERAL apikey_verify('model ' || n);
UPDATE apikeys_data.key SET idle_since = '2020-01-01' WHERE idle_timeout = '1 hour';

-- The status by its definition.
SELECT count(*) FILTER (WHERE i.status <> CASE
         WHEN k.revoked_at IS NOT NULL THEN 'revoked'
         WHEN least(k.expires_at, greatest(k.idle_since, k.created_at, i.last_used_at) + k.idle_timeout) < now() THEN 'expired'
         WHEN NOT k.enabled THEN 'disabled' ELSE 'active' END::apikeys.key_status) AS wrong,
       count(DISTINCT i.status) AS different,
       count(*) FILTER (WHERE k.idle_timeout = '1 hour' AND i.status IN ('active', 'disabled')) > 0 AS revived
FROM apikeys.info i JOIN apikeys_data.key k USING (id);

-- Random calls.  What is wrong is shown with its arguments.
CREATE FUNCTION test.list_model(rounds int) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  f record;
  last record;
  listed apikeys_data.key_info[];
  expected apikeys_data.key_info[];
  counted bigint;
  found bigint;
BEGIN
  FOR round IN 1 .. rounds LOOP
    SELECT test.maybe(test.pick('active', 'disabled', 'expired', 'revoked'), 0.3)::apikeys.key_status AS status,
           test.maybe('00000000-0000-0000-0000-00000000000' || round % 4, 0.8)::uuid AS user_id,
           test.maybe('00000000-0000-0000-0000-00000000000' || round % 5, 0.8)::uuid AS team_id,
           test.maybe('customer ' || round % 6, 0.8) AS external_id,
           test.maybe(test.pick('-infinity', '2020-06-02', '2100-01-02', 'infinity'), 0.8)::timestamptz AS expires_before,
           test.maybe(test.pick('-infinity', '2020-02-03', '2020-06-02', 'infinity'), 0.8)::timestamptz AS unused_since,
           test.maybe(test.pick('ci/%', '%1', 'prod/1%', '100\%%'), 0.8) AS name_like,
           test.maybe((SELECT b.id FROM apikeys_data.budget b WHERE b.name = 'model ' || round % 3)::text, 0.8)::uuid AS budget_id,
           test.maybe('model ' || round % 4, 0.8) AS plan,
           test.maybe(test.pick('{}', '{"app": "shop"}', '{"tags": ["b"]}'), 0.8)::jsonb AS metadata,
           test.maybe('00000000-0000-0000-0000-00000000000' || round % 3, 0.8)::uuid AS restriction,
           test.maybe(test.pick('0', '1', '7', '1000'), 0.3)::int AS row_limit,
           test.pick('0', '0', '1', '7', '100', '1000')::int AS row_offset
    INTO f;
    SELECT id, created_at INTO last FROM apikeys_data.key
    WHERE (f.restriction IS NULL OR user_id = f.restriction) AND round % 3 = 0 ORDER BY random() LIMIT 1;
    PERFORM set_config('apikeys.restrict_to_user', coalesce(f.restriction::text, ''), true);

    listed := ARRAY(SELECT l FROM apikey_list(f.status, f.user_id, f.team_id, f.external_id, f.row_limit, f.row_offset, last.id, f.expires_before,
                                              f.unused_since, f.name_like, f.budget_id, f.plan, f.metadata) l);
    counted := apikey_count(f.status, f.user_id, f.team_id, f.external_id, f.expires_before,
                            f.unused_since, f.name_like, f.budget_id, f.plan, f.metadata);
    CREATE TEMPORARY TABLE model AS
      SELECT i, i.id, i.created_at FROM apikeys_data.key_info i
      WHERE (f.status IS NULL OR i.status = f.status)
        AND (f.user_id IS NULL OR i.user_id = f.user_id)
        AND (f.team_id IS NULL OR i.team_id = f.team_id)
        AND (f.external_id IS NULL OR i.external_id = f.external_id)
        AND (f.expires_before IS NULL OR i.expires_at < f.expires_before)
        AND (f.unused_since IS NULL OR (i.created_at < f.unused_since AND coalesce(i.last_used_at, '-infinity') < f.unused_since))
        AND (f.name_like IS NULL OR i.name LIKE f.name_like)
        AND (f.budget_id IS NULL OR i.budget_id = f.budget_id)
        AND (f.plan IS NULL OR i.plan = f.plan)
        AND (f.metadata IS NULL OR i.metadata @> f.metadata)
        AND (f.restriction IS NULL OR i.user_id = f.restriction);
    found := (SELECT count(*) FROM model);
    expected := ARRAY(SELECT m.i FROM model m
                      WHERE last.id IS NULL OR (m.created_at, m.id) < (last.created_at, last.id)
                      ORDER BY m.created_at DESC, m.id DESC LIMIT f.row_limit OFFSET f.row_offset);
    DROP TABLE model;
    IF listed IS DISTINCT FROM expected OR counted IS DISTINCT FROM found THEN
      RETURN NEXT format('%s after %s: %s listed, %s counted, %s and %s expected', f, last, cardinality(listed), counted, cardinality(expected), found);
    END IF;
  END LOOP;
END $$;
SELECT * FROM test.list_model(200);

DROP FUNCTION test.list_model, test.maybe, test.pick;
DELETE FROM apikeys_data.key;
SELECT count(apikey_budget_delete(id)) FROM apikeys_data.budget WHERE name LIKE 'model _';
SELECT count(apikey_plan_delete(name)) FROM apikeys_data.plan WHERE name LIKE 'model _';
