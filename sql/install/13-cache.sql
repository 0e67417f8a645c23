-- What empties the caches of keys and budgets in the backends.

-- Caches of keys depend on this: see src/cache/key_cache.c.
CREATE TABLE apikeys.fence ();
COMMENT ON TABLE apikeys.fence IS 'Nobody reads it: its invalidation empties the caches of keys.';

CREATE FUNCTION apikeys.raise_fence() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_raise_fence';
COMMENT ON FUNCTION apikeys.raise_fence() IS 'Empties the caches of keys in all backends.';

CREATE TRIGGER fence_row BEFORE UPDATE OR DELETE ON apikeys.key
FOR EACH ROW EXECUTE FUNCTION apikeys.raise_fence();
COMMENT ON TRIGGER fence_row ON apikeys.key IS 'A changed key empties the caches.';

CREATE TRIGGER fence_truncate BEFORE TRUNCATE ON apikeys.key
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.raise_fence();
COMMENT ON TRIGGER fence_truncate ON apikeys.key IS 'Changed keys empty the caches.';

-- ALWAYS: also where rows come by logical replication.
ALTER TABLE apikeys.key ENABLE ALWAYS TRIGGER fence_row;
ALTER TABLE apikeys.key ENABLE ALWAYS TRIGGER fence_truncate;

-- INSERT, too: that there is no budget with an id is kept as well.
CREATE TRIGGER fence_row BEFORE INSERT OR UPDATE OR DELETE ON apikeys.budget
FOR EACH ROW EXECUTE FUNCTION apikeys.raise_fence();
COMMENT ON TRIGGER fence_row ON apikeys.budget IS 'A changed budget empties the caches.';

CREATE TRIGGER fence_truncate BEFORE TRUNCATE ON apikeys.budget
FOR EACH STATEMENT EXECUTE FUNCTION apikeys.raise_fence();
COMMENT ON TRIGGER fence_truncate ON apikeys.budget IS 'Changed budgets empty the caches.';

ALTER TABLE apikeys.budget ENABLE ALWAYS TRIGGER fence_row;
ALTER TABLE apikeys.budget ENABLE ALWAYS TRIGGER fence_truncate;
