-- SPDX-License-Identifier: PostgreSQL

-- When the owners of keys are notified that these are going to expire.  The
-- trigger keeps a row for each end that a key may have, so that a flush worker
-- finds by an index what is due, whatever the setting is.

CREATE TABLE apikeys_data.key_notice (
    key_id uuid,
    by_idleness boolean,
    planned_for text COLLATE "C" NOT NULL DEFAULT '',
    look_at timestamptz,
    ends_at timestamptz,
    given interval,
    PRIMARY KEY (key_id, by_idleness)
);
COMMENT ON COLUMN apikeys_data.key_notice.by_idleness IS 'True for the end by idle_timeout, false for that by expires_at.';
COMMENT ON COLUMN apikeys_data.key_notice.planned_for IS 'Value of apikeys.expiry_notice for which look_at was computed; empty: the key has changed since.';
COMMENT ON COLUMN apikeys_data.key_notice.look_at IS 'When a notice may be due next; null: none will be as long as the key is not changed.';
COMMENT ON COLUMN apikeys_data.key_notice.ends_at IS 'The end that was last looked at. If a later one is found, all notices are given anew.';
COMMENT ON COLUMN apikeys_data.key_notice.given IS 'The last notice that was given for that end, the shortest.';
COMMENT ON TABLE apikeys_data.key_notice IS 'One row per end that a key may have: when its owner is notified next.';

CREATE INDEX key_notice_look_at_idx ON apikeys_data.key_notice (planned_for, look_at);

CREATE TRIGGER keep_local BEFORE INSERT OR UPDATE OR DELETE ON apikeys_data.key_notice
FOR EACH ROW EXECUTE FUNCTION apikeys.keep_local();
COMMENT ON TRIGGER keep_local ON apikeys_data.key_notice IS 'Logical replication brings no rows of other servers.';
ALTER TABLE apikeys_data.key_notice ENABLE REPLICA TRIGGER keep_local;

-- Not for pg_dump: a restored key gets new rows from the trigger.

CREATE FUNCTION apikeys.plan_notices() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_plan_notices';
COMMENT ON FUNCTION apikeys.plan_notices() IS 'Trigger: has a flush worker look when a key is going to expire.';

CREATE FUNCTION apikeys.plans_notices() RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'apikeys_plans_notices';
COMMENT ON FUNCTION apikeys.plans_notices() IS 'False for the rows of a function in bulk, which plans for all of them at once.';

CREATE TRIGGER plan_notices AFTER INSERT OR UPDATE OR DELETE ON apikeys_data.key
FOR EACH ROW WHEN (apikeys.plans_notices()) EXECUTE FUNCTION apikeys.plan_notices();
COMMENT ON TRIGGER plan_notices ON apikeys_data.key IS 'A flush worker looks when a new or changed key is going to expire.';

-- ALWAYS: also for rows that logical replication applies.
ALTER TABLE apikeys_data.key ENABLE ALWAYS TRIGGER plan_notices;
