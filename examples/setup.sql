-- SPDX-License-Identifier: PostgreSQL
--
-- The role that the examples log in as, and keys to try them with: the first is for
-- three requests a minute, the second has a credit of 1.

\pset tuples_only on
\pset format unaligned
SET client_min_messages = warning;

CREATE EXTENSION apikeys CASCADE;
CREATE ROLE web LOGIN;
SELECT apikey_grant('web', 'read') \gset
GRANT EXECUTE ON FUNCTION apikey_record_usage, apikey_void_usage TO web;

SELECT raw_key AS limited FROM apikey_generate('limited', rate_limits => '{"requests_per_minute": 3}',
    permissions => '{"allowed_models": ["gpt-*"]}') \gset
SELECT raw_key AS paid FROM apikey_generate('paid', budget_id => apikey_budget_create('credit', 1)) \gset

\echo :limited :paid
