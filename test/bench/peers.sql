-- What a good developer writes without the extension, on the same keys.

SET client_min_messages = warning;

CREATE SCHEMA hand;

CREATE TABLE hand.api_key (
    id uuid PRIMARY KEY,
    key_hash bytea NOT NULL UNIQUE,
    key_prefix text NOT NULL,
    name text NOT NULL,
    user_id uuid,
    permissions jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    enabled boolean NOT NULL DEFAULT true,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);

INSERT INTO hand.api_key
SELECT id, key_hash, key_prefix, name, user_id, permissions, metadata, enabled, expires_at, revoked_at
FROM apikeys_data.key;

VACUUM (FREEZE, ANALYZE) hand.api_key;

CREATE FUNCTION hand.verify(
    raw_key text, throttle interval = '5 minutes',
    OUT valid boolean, OUT reason text, OUT id uuid, OUT key_prefix text, OUT name text,
    OUT user_id uuid, OUT permissions jsonb, OUT metadata jsonb, OUT expires_at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    key hand.api_key;
    due timestamptz := clock_timestamp() - throttle;
BEGIN
    SELECT * INTO key FROM hand.api_key a WHERE a.key_hash = digest(raw_key, 'sha256');
    reason := CASE WHEN NOT FOUND THEN 'not found'
                   WHEN key.revoked_at IS NOT NULL THEN 'revoked'
                   WHEN key.expires_at < clock_timestamp() THEN 'expired'
                   WHEN NOT key.enabled THEN 'disabled' END;
    valid := reason IS NULL;

    IF valid AND (key.last_used_at IS NULL OR key.last_used_at <= due) THEN
        UPDATE hand.api_key a SET last_used_at = clock_timestamp()
        WHERE a.id = key.id AND (a.last_used_at IS NULL OR a.last_used_at <= due);
    END IF;

    id := key.id;
    key_prefix := key.key_prefix;
    name := key.name;
    user_id := key.user_id;
    permissions := key.permissions;
    metadata := key.metadata;
    expires_at := key.expires_at;
END $$;

-- A table like apikeys_data.key, for plain INSERTs.
CREATE TABLE bench.plain (LIKE apikeys_data.key INCLUDING ALL);
CREATE TABLE bench.event (LIKE apikeys_data.event INCLUDING ALL);

-- The same for the ledger.
CREATE TABLE bench.usage_entry (LIKE apikeys_data.usage_entry INCLUDING ALL);
CREATE TABLE bench.usage_request (LIKE apikeys_data.usage_request INCLUDING ALL);
