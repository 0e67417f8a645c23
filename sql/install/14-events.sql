-- SPDX-License-Identifier: PostgreSQL

-- The audit log.

-- Clients choose their application_name.
CREATE FUNCTION apikeys.mask_raw_keys(value text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_mask_raw_keys';
COMMENT ON FUNCTION apikeys.mask_raw_keys(text)
IS 'The text, with raw keys masked.';

CREATE TABLE apikeys_data.event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    action text NOT NULL,
    key_id uuid,
    session_role name NOT NULL DEFAULT SESSION_USER,
    acting_role name NOT NULL DEFAULT CURRENT_USER,
    client_addr inet DEFAULT inet_client_addr(),
    application_name text DEFAULT apikeys.mask_raw_keys(current_setting('application_name')),
    details jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (at, id)
);
COMMENT ON TABLE apikeys_data.event IS 'Append-only audit log: every change of a key, written in the same transaction.';

CREATE INDEX event_key_id_idx ON apikeys_data.event (key_id);

-- The user's data: pg_dump takes the rows along.
SELECT pg_extension_config_dump('apikeys_data.event', '');
SELECT pg_extension_config_dump('apikeys_data.event_id_seq', '');

CREATE FUNCTION apikeys.notify_event() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_notify_event';
COMMENT ON FUNCTION apikeys.notify_event() IS 'Sends a new event to apikeys.notify_channel, where that is set.';

CREATE TRIGGER notify AFTER INSERT ON apikeys_data.event
FOR EACH ROW EXECUTE FUNCTION apikeys.notify_event();
COMMENT ON TRIGGER notify ON apikeys_data.event IS 'Listeners hear of an event at its commit.';

-- ALWAYS: also what a flush writes.
ALTER TABLE apikeys_data.event ENABLE ALWAYS TRIGGER notify;
