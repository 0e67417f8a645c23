-- SPDX-License-Identifier: PostgreSQL

-- What sqlsmith's queries find: an owner that is no superuser, roles of some levels,
-- keys in each state, and a table with values that functions take.

CREATE ROLE smith_owner LOGIN SUPERUSER;
GRANT CREATE ON SCHEMA public TO smith_owner;
SET ROLE smith_owner;
SET client_min_messages = warning;
CREATE EXTENSION pgcrypto;
CREATE EXTENSION apikeys;
RESET client_min_messages;
RESET ROLE;
ALTER ROLE smith_owner NOSUPERUSER;

CREATE ROLE smith_manage LOGIN;
CREATE ROLE smith_own LOGIN;
CREATE ROLE smith_verify LOGIN;
SELECT apikey_grant(r, right(r::text, -6)) FROM unnest('{smith_manage,smith_own,smith_verify}'::regrole[]) r;

SELECT apikey_budget_create('company', 1000, '1 month', rate_limits => '{"requests_per_day": 500}') AS company \gset
SELECT apikey_budget_create('team', 100, parent_id => :'company', warn_at => '{0.5}') AS team \gset
SELECT apikey_plan_set('plan', '{"allowed_models": ["gpt*"]}', '{"requests_per_minute": 1000}');
CREATE TABLE public.value AS
SELECT k.id, k.raw_key, k.id::text AS request_id, :'team'::uuid AS budget_id, '{"a": 1}'::jsonb AS document, 'plan'::text AS name,
       '{"requests_per_day": 5, "windows": [{"per": "1 hour", "cost": 5}]}'::jsonb AS rate_limits,
       '{"allowed_models": ["a*"], "is_admin": true}'::jsonb AS permissions, '{"name": "other", "enabled": null}'::jsonb AS changes,
       ARRAY['a', 'b*'] AS texts, ARRAY[sha256('a')] AS hashes, sha256('b') AS hash, '10.0.0.1'::text AS address, ARRAY['10.0.0.0/8'::inet] AS addresses,
       n AS count, n::bigint AS tokens, n / 3.0 AS cost, '1 hour'::interval AS span, now() + n * interval '1 hour' AS at, n % 2 = 0 AS flag
FROM generate_series(1, 60) n,
     LATERAL apikey_generate('key ' || n, budget_id => CASE WHEN n % 3 = 0 THEN :'team'::uuid END, plan => CASE WHEN n % 4 = 0 THEN 'plan' END,
                             user_id => gen_random_uuid(), rate_limits => CASE WHEN n % 5 = 0 THEN '{"requests_per_day": 100, "max_concurrent_requests": 2}' ELSE '{}' END::jsonb,
                             expires_at => CASE WHEN n % 7 = 0 THEN now() + interval '1 second' END, allowed_ips => CASE WHEN n % 11 = 0 THEN '{10.0.0.0/8}'::inet[] END) k;
INSERT INTO public.value (id, raw_key, count) SELECT d.id, d.raw_key, 0 FROM public.value v, LATERAL apikey_derive(v.raw_key, '1 hour') d WHERE v.count % 10 = 1;
INSERT INTO public.value (id, raw_key, count) SELECT r.id, r.raw_key, 0 FROM public.value v, LATERAL apikey_rotate(v.id, '1 hour') r WHERE v.count % 10 = 2;
SELECT apikey_revoke(id, 'smith') FROM public.value WHERE count % 10 = 3;
SELECT apikey_record_usage(id, tokens, cost, request_id => request_id, model => 'gpt-4', budget_id => budget_id) FROM public.value WHERE count % 10 IN (4, 5);
SELECT count(*) FROM public.value v, LATERAL apikey_verify(v.raw_key, reserve => true, tokens => 5, cost => 0.1);
UPDATE public.value v SET request_id = s.reservation::text
FROM (SELECT w.id, y.reservation FROM public.value w, LATERAL apikey_verify(w.raw_key, reserve => true, cost => 0.01) y) s WHERE s.id = v.id AND s.reservation IS NOT NULL;
SELECT apikey_flush();
GRANT SELECT ON public.value TO PUBLIC;

-- sqlsmith asks for pg_proc without a schema, and is shown what the role may call: ours,
-- and a part of the server's own.  It knows no polymorphic types.
CREATE SCHEMA smith;
GRANT USAGE ON SCHEMA smith TO PUBLIC;
CREATE FUNCTION smith.is_polymorphic(type oid) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN type IN ('anyrange'::regtype, 'anymultirange'::regtype, 'anyenum'::regtype, 'anyelement'::regtype, 'anyarray'::regtype,
                'anycompatible'::regtype, 'anycompatiblearray'::regtype, 'anycompatiblerange'::regtype, '"any"'::regtype);
CREATE VIEW smith.pg_proc AS
SELECT * FROM pg_catalog.pg_proc p
WHERE (p.pronamespace <> 'pg_catalog'::regnamespace OR p.oid::bigint % 30 = 0)
  AND p.pronamespace <> 'smith'::regnamespace
  AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AND pg_catalog.has_schema_privilege(p.pronamespace, 'USAGE')
  AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) a WHERE smith.is_polymorphic(a));
DELETE FROM pg_catalog.pg_operator WHERE (smith.is_polymorphic(oprleft) OR smith.is_polymorphic(oprright)) AND 'anyarray'::regtype NOT IN (oprleft, oprright);
GRANT SELECT ON smith.pg_proc TO PUBLIC;
ALTER DATABASE postgres SET search_path = smith, pg_catalog, public;
ALTER DATABASE postgres SET lock_timeout = '2s';
