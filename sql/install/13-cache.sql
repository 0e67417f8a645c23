-- SPDX-License-Identifier: PostgreSQL

-- What empties the caches of keys, plans and budgets in the backends.

-- Caches of keys depend on this: see src/cache/key_cache.c.
CREATE TABLE apikeys_data.cache_invalidation ();
COMMENT ON TABLE apikeys_data.cache_invalidation IS 'Empty. An invalidation of its relcache entry empties the caches of keys and budgets in all backends.';

CREATE FUNCTION apikeys.invalidate_caches() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_invalidate_caches';
COMMENT ON FUNCTION apikeys.invalidate_caches() IS 'Trigger: empties the caches of keys and budgets in all backends at commit.';

CREATE TRIGGER invalidate_row BEFORE UPDATE OR DELETE ON apikeys_data.key
FOR EACH ROW EXECUTE FUNCTION apikeys.invalidate_caches();
COMMENT ON TRIGGER invalidate_row ON apikeys_data.key IS 'A change of a key empties the caches in all backends.';

CREATE TRIGGER invalidate_truncate BEFORE TRUNCATE ON apikeys_data.key
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.invalidate_caches();
COMMENT ON TRIGGER invalidate_truncate ON apikeys_data.key IS 'TRUNCATE empties the caches in all backends.';

-- ALWAYS: also for rows that logical replication applies.
ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_row;
ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_truncate;

-- Keys are cached with what they take from their plans.  INSERT, too: so nothing
-- is cached in a transaction that has made a plan and may yet be rolled back.
CREATE TRIGGER invalidate_row BEFORE INSERT OR UPDATE OR DELETE ON apikeys_data.plan
FOR EACH ROW EXECUTE FUNCTION apikeys.invalidate_caches();
COMMENT ON TRIGGER invalidate_row ON apikeys_data.plan IS 'A new or changed plan empties the caches in all backends.';

CREATE TRIGGER invalidate_truncate BEFORE TRUNCATE ON apikeys_data.plan
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.invalidate_caches();
COMMENT ON TRIGGER invalidate_truncate ON apikeys_data.plan IS 'TRUNCATE empties the caches in all backends.';

ALTER TABLE apikeys_data.plan ENABLE ALWAYS TRIGGER invalidate_row;
ALTER TABLE apikeys_data.plan ENABLE ALWAYS TRIGGER invalidate_truncate;

-- INSERT, too: a missing budget is cached as well.
CREATE TRIGGER invalidate_row BEFORE INSERT OR UPDATE OR DELETE ON apikeys_data.budget
FOR EACH ROW EXECUTE FUNCTION apikeys.invalidate_caches();
COMMENT ON TRIGGER invalidate_row ON apikeys_data.budget IS 'A new or changed budget empties the caches in all backends.';

CREATE TRIGGER invalidate_truncate BEFORE TRUNCATE ON apikeys_data.budget
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.invalidate_caches();
COMMENT ON TRIGGER invalidate_truncate ON apikeys_data.budget IS 'TRUNCATE empties the caches in all backends.';

ALTER TABLE apikeys_data.budget ENABLE ALWAYS TRIGGER invalidate_row;
ALTER TABLE apikeys_data.budget ENABLE ALWAYS TRIGGER invalidate_truncate;
