-- Keys in every state, with what they have used and what has happened to them.
-- Table given has the raw keys and what apikey_verify says of each.  The server
-- has the secret "old" here, and after the reload that fill ends with "new", too.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE ROLE app;
CREATE EXTENSION apikeys CASCADE;
CREATE TABLE given (what text PRIMARY KEY, raw_key text NOT NULL, code text NOT NULL DEFAULT 'VALID');
CREATE FUNCTION id_of(what text) RETURNS uuid LANGUAGE sql AS 'SELECT id FROM apikeys_data.key WHERE name = $1';

-- Plans and budgets, one of which is spent.
SELECT apikey_plan_set('mine', '{"allowed_models": ["a*"]}', '{"requests_per_minute": 100}', 'A plan.');
SELECT apikey_plan_set('standard', '{}', '{"requests_per_day": 5000}', 'Changed.');
SELECT apikey_budget_create('company', 1000, '1 month', warn_at => '{0.5}', time_zone => 'Europe/Berlin') AS company \gset
SELECT apikey_budget_create('team', 100, parent_id => :'company', rate_limits => '{"windows": [{"per": "1 hour", "cost": 50}]}') AS team \gset
SELECT apikey_budget_create('small', 1) AS small \gset
SELECT apikey_budget_add(:'team', 12.5, 'a gift');

-- A thousand keys that are alike, and one of each kind.
INSERT INTO given (what, raw_key)
SELECT 'many ' || row_number() OVER (), m.raw_key
FROM apikey_generate_many(1000, 'many', user_id => gen_random_uuid(), rate_limits => '{"requests_per_minute": 1000}') m;
INSERT INTO given (what, raw_key)
SELECT k.what, apikey_generate.raw_key
FROM unnest('{plain,disabled,revoked,expired,rotated,in_grace,deleted}'::text[]) k (what), apikey_generate(k.what);
INSERT INTO given (what, raw_key)
SELECT 'full', raw_key
FROM apikey_generate('full', E'a ''quoted''\ttext\nof \\ two lines', gen_random_uuid(), gen_random_uuid(), :'team',
  '{"allowed_models": ["a*"], "custom_permissions": ["read:*"], "max_tokens_per_request": 9}',
  '{"requests_per_day": 10, "max_concurrent_requests": 2, "windows": [{"per": "1 day", "tokens": 1000, "models": ["a"]}]}',
  now() + interval '1 year', '{"nested": {"null": null}}', 'customer 1', '{10.0.0.0/8,::1}', 'other_', 'mine', '30 days');
INSERT INTO given (what, raw_key, code) SELECT 'spent', raw_key, 'BUDGET_EXCEEDED' FROM apikey_generate('spent', budget_id => :'small');
INSERT INTO given (what, raw_key) SELECT 'planned', raw_key FROM apikey_generate('planned', plan => 'standard');
INSERT INTO given (what, raw_key, code)
SELECT 'limited', raw_key, 'RATE_LIMITED' FROM apikey_generate('limited', rate_limits => '{"windows": [{"per": "31 days", "requests": 2}]}');
SELECT apikey_import(sha256('made-elsewhere'), 'imported', 'made...here', created_at => '2001-02-03', plan => 'full_access') IS NOT NULL;
INSERT INTO given (what, raw_key) VALUES ('imported', 'made-elsewhere');

-- What happens to them.
INSERT INTO given (what, raw_key) SELECT 'successor', raw_key FROM apikey_rotate(id_of('rotated'));
INSERT INTO given (what, raw_key) SELECT 'next', raw_key FROM apikey_rotate(id_of('in_grace'), '10 days');
INSERT INTO given (what, raw_key)
SELECT 'derived', d.raw_key
FROM given g, apikey_derive(g.raw_key, '10 days', 'derived', '{"max_tokens_per_request": 5}', metadata => '{"for": "a test"}') d
WHERE g.what = 'full';
SELECT count(apikey_update(id_of('disabled'), '{"enabled": false}'));
SELECT apikey_revoke(id_of('revoked'), 'was seen on a wall');
SELECT apikey_delete(id_of('deleted'));
UPDATE apikeys_data.key SET created_at = now() - interval '2 days', expires_at = now() - interval '1 day' WHERE name = 'expired';
UPDATE given SET code = c.code
FROM (VALUES ('disabled', 'DISABLED'), ('revoked', 'REVOKED'), ('rotated', 'REVOKED'), ('expired', 'EXPIRED'), ('deleted', 'NOT_FOUND')) c (what, code)
WHERE given.what = c.what;

-- What they have used: days that are rolled up, an entry that is not, with and
-- without an id, one that is taken back, and a cost of many digits.
SELECT count(apikey_record_usage(k.id, n, n * 0.001, model => 'model ' || n % 3))
FROM apikeys_data.key k, generate_series(1, 3) n WHERE k.name = 'many' AND k.id::text < '4';
SELECT apikey_record_usage(id_of('full'), 7, 12.345678901234567, request_id => 'one', model => 'a'),
  apikey_record_usage(id_of('full'), 8, 2, request_id => 'two', model => 'a'),
  apikey_record_usage(id_of('derived'), 3, 0.5, model => 'a'),
  apikey_record_usage(id_of('spent'), 1, 1.5);
SELECT apikey_void_usage(id_of('full'), 'two');
-- A limit that is used up.
SELECT apikey_check(raw_key) FROM given, generate_series(1, 2) WHERE what = 'limited';
SELECT apikey_grant('app', 'verify'), apikey_grant('app', 'read');
