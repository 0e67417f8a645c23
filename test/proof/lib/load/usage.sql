\set i random(1, :keys)
SELECT apikey_record_usage(id, 100, 0.001, model => 'gpt-4o') FROM load.key WHERE i = :i;
