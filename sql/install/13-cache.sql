-- SPDX-License-Identifier: PostgreSQL

-- What makes the backends forget cached keys, plans and budgets.

-- Caches depend on this: see src/cache/invalidation.c.
CREATE TABLE apikeys_data.cache_invalidation ();
COMMENT ON TABLE apikeys_data.cache_invalidation IS 'Empty. An invalidation of its relcache entry empties the caches of keys and budgets in all backends.';

CREATE FUNCTION apikeys.invalidate_caches() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_invalidate_caches';
COMMENT ON FUNCTION apikeys.invalidate_caches() IS 'Trigger: makes all backends forget what they have cached of a row, which the column named by the argument identifies, at commit; without an argument, everything.';

CREATE TRIGGER invalidate_row BEFORE UPDATE OR DELETE ON apikeys_data.key
FOR EACH ROW EXECUTE FUNCTION apikeys.invalidate_caches('key_hash');
COMMENT ON TRIGGER invalidate_row ON apikeys_data.key IS 'A changed key is forgotten by the caches of all backends.';

CREATE TRIGGER invalidate_truncate BEFORE TRUNCATE ON apikeys_data.key
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.invalidate_caches();
COMMENT ON TRIGGER invalidate_truncate ON apikeys_data.key IS 'TRUNCATE empties the caches in all backends.';

-- ALWAYS: also for rows that logical replication applies.
ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_row;
ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER invalidate_truncate;

-- Keys are cached with what they take from their plans.  INSERT, too: so nothing
-- is cached in a transaction that has made a plan and may yet be rolled back.
CREATE TRIGGER invalidate_row BEFORE INSERT OR UPDATE OR DELETE ON apikeys_data.plan
FOR EACH ROW EXECUTE FUNCTION apikeys.invalidate_caches('name');
COMMENT ON TRIGGER invalidate_row ON apikeys_data.plan IS 'The keys of a new or changed plan are forgotten by the caches of all backends.';

CREATE TRIGGER invalidate_truncate BEFORE TRUNCATE ON apikeys_data.plan
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.invalidate_caches();
COMMENT ON TRIGGER invalidate_truncate ON apikeys_data.plan IS 'TRUNCATE empties the caches in all backends.';

ALTER TABLE apikeys_data.plan ENABLE ALWAYS TRIGGER invalidate_row;
ALTER TABLE apikeys_data.plan ENABLE ALWAYS TRIGGER invalidate_truncate;

-- INSERT, too: a missing budget is cached as well.
CREATE TRIGGER invalidate_row BEFORE INSERT OR UPDATE OR DELETE ON apikeys_data.budget
FOR EACH ROW EXECUTE FUNCTION apikeys.invalidate_caches('id');
COMMENT ON TRIGGER invalidate_row ON apikeys_data.budget IS 'A new or changed budget is forgotten by the caches of all backends.';

CREATE TRIGGER invalidate_truncate BEFORE TRUNCATE ON apikeys_data.budget
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.invalidate_caches();
COMMENT ON TRIGGER invalidate_truncate ON apikeys_data.budget IS 'TRUNCATE empties the caches in all backends.';

ALTER TABLE apikeys_data.budget ENABLE ALWAYS TRIGGER invalidate_row;
ALTER TABLE apikeys_data.budget ENABLE ALWAYS TRIGGER invalidate_truncate;
