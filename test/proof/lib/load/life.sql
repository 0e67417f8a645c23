SELECT id, raw_key FROM apikey_generate('life', user_id => gen_random_uuid()) \gset
SELECT 1 / valid::integer FROM apikey_verify(':raw_key');
SELECT id AS new_id, raw_key AS new_key FROM apikey_rotate(':id') \gset
SELECT 1 / (NOT valid)::integer FROM apikey_verify(':raw_key');
SELECT 1 / valid::integer FROM apikey_verify(':new_key');
SELECT apikey_revoke(':new_id');
SELECT 1 / (NOT valid)::integer FROM apikey_verify(':new_key');
SELECT apikey_delete(':id');
SELECT apikey_delete(':new_id');
