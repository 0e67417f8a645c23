-- Life goes on: keys are made, changed, used, and their events written.
\set ON_ERROR_STOP 1
\pset tuples_only on
\pset format unaligned
SELECT id AS after, raw_key FROM apikey_generate('after', rate_limits => '{"requests_per_minute": 2}') \gset
SELECT string_agg(v.code, ' ') FROM generate_series(1, 3) n, LATERAL apikey_verify(:'raw_key', model => n::text) v;
SELECT apikey_record_usage(:'after', 5, 0.25, request_id => 'after');
SELECT apikey_record_usage(:'after', 5, 0.25, request_id => 'after');
SELECT apikey_record_usage(id_of('full'), 7, 12, request_id => 'one');
SELECT string_agg(v.code, ' ') FROM given g, generate_series(1, 2), LATERAL apikey_verify(g.raw_key) v WHERE g.what = 'limited';
SELECT apikey_revoke(:'after', 'enough');
SELECT code FROM apikey_verify(:'raw_key');
SELECT count(*) FROM apikey_events(:'after');
SELECT apikey_flush() >= 0;
SELECT total_requests, total_tokens, total_cost FROM apikey_usage(:'after');
SELECT * FROM apikeys.check();
