-- :keys keys move in, ten thousand in a transaction.

CREATE PROCEDURE load.migrate(keys bigint) LANGUAGE plpgsql AS $$
DECLARE
    first bigint := 1;
BEGIN
    WHILE first <= keys LOOP
        PERFORM count(*)
        FROM (SELECT array_agg(digest('old-' || md5(i::text), 'sha256') ORDER BY i) AS hashes,
                     array_agg('old ' || i ORDER BY i) AS names, array_agg('old-...'::text ORDER BY i) AS prefixes
              FROM generate_series(first, least(first + 9999, keys)) i) a,
             apikey_import_many(hashes, names, prefixes);
        COMMIT;
        first := first + 10000;
    END LOOP;
END $$;
CALL load.migrate(:keys);
SELECT 1 / (count(*) = :keys)::integer FROM apikeys_data.key WHERE name LIKE 'old %';
