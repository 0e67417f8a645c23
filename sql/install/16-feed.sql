-- SPDX-License-Identifier: PostgreSQL

-- What servers tell each other of the use of keys.

CREATE FUNCTION apikeys.feed_exchange(request bytea) RETURNS bytea
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'apikeys_feed_exchange';
COMMENT ON FUNCTION apikeys.feed_exchange(bytea)
IS 'Called by a standby: takes what was used there, and returns what has changed here. Both are messages of one version of apikeys. Writes to shared memory alone. Raises 08P01 for another message, 55000 without shared memory or if servers follow each other in a ring, 53400 if too many servers tell this one of their use.';

CREATE TYPE apikeys_data.feed_link AS (
    feed_state text,
    feed_succeeded_at timestamptz,
    feed_lag interval,
    feed_error text,
    feed_error_at timestamptz
);
COMMENT ON TYPE apikeys_data.feed_link IS 'Columns of the view apikeys.stats: how the feed of a standby is.';

CREATE FUNCTION apikeys.read_feed() RETURNS apikeys_data.feed_link
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'apikeys_read_feed';
COMMENT ON FUNCTION apikeys.read_feed() IS 'One row, of columns of the view apikeys.stats; null where this is no standby.';

CREATE TYPE apikeys_data.told_server AS (
    server_id text,
    name text,
    direct boolean,
    pid integer,
    heard_at timestamptz,
    since timestamptz,
    valid bigint,
    not_found bigint,
    revoked bigint,
    expired bigint,
    disabled bigint,
    forbidden bigint,
    insufficient_permissions bigint,
    rate_limited bigint,
    budget_exceeded bigint
);
COMMENT ON TYPE apikeys_data.told_server IS 'Columns of the view apikeys.servers.';

CREATE FUNCTION apikeys.read_servers() RETURNS SETOF apikeys_data.told_server
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'apikeys_read_servers';
COMMENT ON FUNCTION apikeys.read_servers() IS 'The rows of the view apikeys.servers.';

CREATE VIEW apikeys.servers AS SELECT s.* FROM apikeys.read_servers() s;
COMMENT ON VIEW apikeys.servers IS 'One row for each other server that has told this one of its use, at most 64: its verifies by outcome since its start.';

COMMENT ON COLUMN apikeys.servers.server_id IS 'A number that the server has drawn at its start.';
COMMENT ON COLUMN apikeys.servers.name IS 'Its cluster_name.';
COMMENT ON COLUMN apikeys.servers.direct IS 'True if it follows this server, false if it follows one that does.';
COMMENT ON COLUMN apikeys.servers.pid IS 'The session here in which it tells its use; null: it has none now.';
COMMENT ON COLUMN apikeys.servers.heard_at IS 'When it was last heard of.';
COMMENT ON COLUMN apikeys.servers.since IS 'When it began to count: at its start.';
COMMENT ON COLUMN apikeys.servers.valid IS 'Verifies there that ended with VALID.';
COMMENT ON COLUMN apikeys.servers.not_found IS 'Verifies there that ended with NOT_FOUND.';
COMMENT ON COLUMN apikeys.servers.revoked IS 'Verifies there that ended with REVOKED.';
COMMENT ON COLUMN apikeys.servers.expired IS 'Verifies there that ended with EXPIRED.';
COMMENT ON COLUMN apikeys.servers.disabled IS 'Verifies there that ended with DISABLED.';
COMMENT ON COLUMN apikeys.servers.forbidden IS 'Verifies there that ended with FORBIDDEN.';
COMMENT ON COLUMN apikeys.servers.insufficient_permissions IS 'Verifies there that ended with INSUFFICIENT_PERMISSIONS.';
COMMENT ON COLUMN apikeys.servers.rate_limited IS 'Verifies there that ended with RATE_LIMITED.';
COMMENT ON COLUMN apikeys.servers.budget_exceeded IS 'Verifies there that ended with BUDGET_EXCEEDED.';
