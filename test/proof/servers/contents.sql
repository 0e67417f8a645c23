-- All that the extension has stored, and all that it says of it; one line a row.
-- What apikeys.check() compares the catalogs with is that of each installation,
-- and what a roll-up moves, which a worker may do at any time, is in the views.
\set ON_ERROR_STOP 1
\pset tuples_only on
\pset format unaligned
SET timezone = 'UTC';
SELECT format('SELECT %L, to_jsonb(t)::text FROM %s t ORDER BY to_jsonb(t)::text COLLATE "C"', c.oid::regclass, c.oid::regclass)
FROM pg_class c
WHERE c.relnamespace = 'apikeys_data'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('installed_state', 'ledger', 'usage', 'usage_day', 'usage_entry', 'budget_period')
ORDER BY c.relname \gexec
SELECT format('SELECT %L, to_jsonb(t)::text FROM %s t ORDER BY to_jsonb(t)::text COLLATE "C"', v, v)
FROM unnest('{apikeys.info,apikeys.budget_info,apikeys.plan_info,apikeys.usage_report,apikeys.secret_usage}'::text[]) v \gexec
SELECT 'usage', k.id, to_jsonb(u) FROM apikeys_data.key k, apikey_usage(k.id) u ORDER BY k.id;
SELECT 'history', k.id, to_jsonb(h) FROM apikeys_data.key k, apikey_usage_history(k.id) h ORDER BY k.id, to_jsonb(h)::text COLLATE "C";
SELECT 'limit', k.id, l.name, l.max FROM apikeys_data.key k, apikey_limits(k.id) l ORDER BY k.id, l.name COLLATE "C";
SELECT 'used', k.name, l.name, l.used FROM apikeys_data.key k, apikey_limits(k.id) l WHERE k.name = 'limited';
SELECT 'events', count(*), md5(string_agg(e::text, ' ' ORDER BY e::text COLLATE "C")) FROM apikey_events(row_limit => 1000000) e;
SELECT 'sequence', sequencename, last_value FROM pg_sequences WHERE schemaname LIKE 'apikeys%' ORDER BY 2;
SELECT 'level', p.oid::regprocedure::text COLLATE "C" FROM pg_proc p WHERE p.proacl::text LIKE '%app=X/%' ORDER BY 2;
