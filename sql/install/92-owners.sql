-- SPDX-License-Identifier: PostgreSQL

-- Whoever owns pgcrypto can drop it, and apikeys with it by CASCADE: and whoever
-- may create in the database can make it, as it is trusted.  The same holds for
-- the owners of the schemas.  Who owns the database can drop all of it anyway.
DO $$
DECLARE
    what record;
BEGIN
    FOR what IN
        SELECT o.name, o.owner
        FROM (SELECT 'extension pgcrypto' AS name, e.extowner AS owner
              FROM pg_extension e
              WHERE e.extname = 'pgcrypto'
              UNION
              SELECT format('schema %I', n.nspname), n.nspowner
              FROM pg_extension e
              JOIN pg_namespace n ON n.oid = e.extnamespace
              WHERE e.extname IN ('pgcrypto', 'apikeys')) o
        JOIN pg_roles r ON r.oid = o.owner
        WHERE NOT r.rolsuper AND r.rolname <> 'pg_database_owner'
          AND o.owner <> (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database())
        ORDER BY 1
    LOOP
        RAISE WARNING USING
            MESSAGE = format('role %s owns %s', what.owner::regrole, what.name),
            DETAIL = 'It can drop apikeys, with all keys, by DROP ... CASCADE.',
            HINT = 'Let a superuser own it.';
    END LOOP;
END
$$;
