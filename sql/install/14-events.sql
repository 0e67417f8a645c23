-- SPDX-License-Identifier: PostgreSQL

-- The audit log.

-- Clients choose their application_name.
CREATE FUNCTION apikeys.mask_raw_keys(value text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_mask_raw_keys';
COMMENT ON FUNCTION apikeys.mask_raw_keys(text)
IS 'Returns the text with the raw keys in it masked.';

CREATE SEQUENCE apikeys_data.event_id_seq MAXVALUE 281474976710655;
-- Roles as text: a name has 64 bytes, whatever it is.
CREATE TABLE apikeys_data.event (
    id bigint DEFAULT apikeys.next_id('apikeys_data.event_id_seq'),
    at timestamptz NOT NULL,
    action text NOT NULL,
    key_id uuid,
    session_role text COLLATE "C" NOT NULL DEFAULT SESSION_USER,
    acting_role text COLLATE "C" NOT NULL DEFAULT CURRENT_USER,
    client_addr inet DEFAULT inet_client_addr(),
    application_name text DEFAULT apikeys.mask_raw_keys(current_setting('application_name')),
    details jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (at, id)
);
COMMENT ON TABLE apikeys_data.event IS 'Append-only audit log: each change of a key, budget or grant, written in the same transaction.';

COMMENT ON COLUMN apikeys_data.event.at IS 'When the change was made.';
COMMENT ON COLUMN apikeys_data.event.action IS 'What was done, such as generate, update or revoke.';
COMMENT ON COLUMN apikeys_data.event.key_id IS 'Id of the key; null for budgets and grants.';
COMMENT ON COLUMN apikeys_data.event.session_role IS 'Role that had logged in to the server.';
COMMENT ON COLUMN apikeys_data.event.acting_role IS 'Role in effect when the function was called.';
COMMENT ON COLUMN apikeys_data.event.client_addr IS 'Address of the client; null for a Unix socket.';
COMMENT ON COLUMN apikeys_data.event.application_name IS 'What the client calls itself, with raw keys masked.';
COMMENT ON COLUMN apikeys_data.event.details IS 'A JSON object; its members depend on the action.';
ALTER SEQUENCE apikeys_data.event_id_seq OWNED BY apikeys_data.event.id;
COMMENT ON SEQUENCE apikeys_data.event_id_seq IS 'Numbers the events of this node.';
COMMENT ON COLUMN apikeys_data.event.id IS 'Its first 16 bits are the node where it was written; only within a node ids have an order.';

CREATE INDEX event_key_id_idx ON apikeys_data.event (key_id);

-- The user's data: pg_dump takes the rows along.
SELECT pg_extension_config_dump('apikeys_data.event', '');
SELECT pg_extension_config_dump('apikeys_data.event_id_seq', '');

CREATE FUNCTION apikeys.notify_event() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_notify_event';
COMMENT ON FUNCTION apikeys.notify_event() IS 'Trigger: sends a new event to apikeys.notify_channel, if that is set.';

CREATE FUNCTION apikeys.notifies() RETURNS boolean
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'apikeys_notifies';
COMMENT ON FUNCTION apikeys.notifies() IS 'True where apikeys.notify_channel is set.';

CREATE TRIGGER notify AFTER INSERT ON apikeys_data.event
FOR EACH ROW WHEN (apikeys.notifies()) EXECUTE FUNCTION apikeys.notify_event();
COMMENT ON TRIGGER notify ON apikeys_data.event IS 'Listeners are notified of an event when it is committed.';

-- ALWAYS: also what a flush writes.
ALTER TABLE apikeys_data.event ENABLE ALWAYS TRIGGER notify;
