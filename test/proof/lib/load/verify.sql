\set i random_zipfian(1, :keys, 1.1)
SELECT 1 / valid::integer FROM apikey_verify('gw-' || md5(:i::text), tokens => 10);
