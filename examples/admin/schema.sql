-- SPDX-License-Identifier: PostgreSQL
--
-- Keys and budgets to look at on the page for administrators. Prints the key to log in
-- with.

\pset tuples_only on
\pset format unaligned
SET client_min_messages = warning;
SELECT apikey_grant('web', 'manage') \gset

SELECT apikey_budget_create('research', 500, '1 month') AS research,
       apikey_budget_create('support', 60, '1 month') AS support,
       apikey_budget_create('prepaid credit', 0) AS prepaid \gset
SELECT added FROM apikey_budget_add(:'prepaid', 25, note => 'order 4711') \gset

SELECT id, raw_key FROM apikey_generate('notebooks', budget_id => :'research', expires_at => now() + interval '90 days',
    permissions => '{"allowed_models": ["gpt-*", "claude-*"]}') \gset notebooks_
SELECT id, raw_key FROM apikey_generate('evaluation, nightly', budget_id => :'research', plan => 'premium') \gset nightly_
SELECT id, raw_key FROM apikey_generate('help desk', budget_id => :'support', plan => 'standard',
    rate_limits => '{"windows": [{"per": "1 hour", "cost": 5}]}') \gset desk_
SELECT id, raw_key FROM apikey_generate('mobile app', budget_id => :'prepaid', external_id => 'customer 7') \gset mobile_
SELECT id FROM apikey_generate('contractor', expires_at => now() + interval '5 days') \gset contractor_
SELECT id FROM apikey_generate('build server') \gset build_
SELECT status FROM apikey_update(:'contractor_id', '{"enabled": false}') \gset
SELECT apikey_revoke(:'build_id', reason => 'found in a build log') \gset

SELECT count(apikey_check(k)) AS verified
  FROM unnest(ARRAY[:'notebooks_raw_key', :'nightly_raw_key', :'desk_raw_key', :'mobile_raw_key']) k \gset
SELECT count(apikey_record_usage(k.id, tokens => k.tokens * n, cost => k.cost * n, model => k.model)) AS recorded
  FROM (VALUES (:'notebooks_id'::uuid, 900, 0.31, 'gpt-4o'), (:'notebooks_id', 400, 0.12, 'claude-3'),
               (:'nightly_id', 2500, 0.52, 'gpt-4o-mini'), (:'desk_id', 300, 0.11, 'gpt-4o-mini'),
               (:'mobile_id', 150, 0.05, 'claude-3')) k(id, tokens, cost, model),
       generate_series(1, 24) n \gset

SELECT raw_key FROM apikey_generate('administrator', permissions => '{"is_admin": true}');
