-- SPDX-License-Identifier: PostgreSQL

-- What keys have used.  No foreign keys: their checks would lock the row of a
-- hot key.  Each row belongs to the node that wrote it, so that servers which
-- replicate these tables to each other never write the same one.  Costs have at
-- most 18 decimals: a sum has as many as the part that has most.  Totals may be
-- negative for a moment: a void may be rolled up before the record that it takes
-- back.

CREATE TABLE apikeys_data.usage (
    key_id uuid,
    last_used_at timestamptz,
    last_used_ip inet,
    total_requests bigint NOT NULL DEFAULT 0,
    total_tokens bigint NOT NULL DEFAULT 0,
    total_cost numeric NOT NULL DEFAULT 0 CHECK ((scale(total_cost) <= 18) IS TRUE),
    node integer DEFAULT apikeys.this_node(),
    PRIMARY KEY (key_id, node)
);
COMMENT ON COLUMN apikeys_data.usage.node IS 'Where it was used.';
COMMENT ON TABLE apikeys_data.usage IS 'One row per key that has been used, and node: its last use, and rolled-up totals.';

-- Empty on a server that is alone.
CREATE INDEX usage_node_idx ON apikeys_data.usage (node) WHERE node > 0;

CREATE FUNCTION apikeys.try_lock_use(key_id uuid) RETURNS boolean
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'apikeys_try_lock_use';
COMMENT ON FUNCTION apikeys.try_lock_use(uuid)
IS 'Takes the lock under which the usage row of a key is inserted; false if another transaction holds it.';

CREATE TABLE apikeys_data.usage_day (
    key_id uuid,
    day date,
    model text COLLATE "C" DEFAULT '',
    requests bigint NOT NULL DEFAULT 0,
    tokens bigint NOT NULL DEFAULT 0,
    cost numeric NOT NULL DEFAULT 0 CHECK ((scale(cost) <= 18) IS TRUE),
    node integer DEFAULT apikeys.this_node(),
    PRIMARY KEY (key_id, day, model, node)
);
COMMENT ON COLUMN apikeys_data.usage_day.node IS 'Where it was recorded.';
COMMENT ON COLUMN apikeys_data.usage_day.model IS 'Empty for usage recorded without a model; (other) for those beyond 1,000 on a day of a node.';
COMMENT ON TABLE apikeys_data.usage_day IS 'One row per key, UTC day, model and node: rolled-up usage.';

CREATE INDEX usage_day_day_idx ON apikeys_data.usage_day (day);

-- One function for each CHECK: the server parses its expression anew in each statement.
CREATE FUNCTION apikeys.check_usage_entry(
    key_id uuid, requests integer, tokens bigint, cost numeric, budget_id uuid, budget_period timestamptz) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_usage_entry';
COMMENT ON FUNCTION apikeys.check_usage_entry(uuid, integer, bigint, numeric, uuid, timestamptz)
IS 'True for the figures of a request, with requests -1 for those of a void, and without a key for a cost of a budget.';

CREATE FUNCTION apikeys.check_usage_request(
    request_id text, tokens bigint, cost numeric, model text, budget_ids uuid[], budget_periods timestamptz[]) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_usage_request';
COMMENT ON FUNCTION apikeys.check_usage_request(text, bigint, numeric, text, uuid[], timestamptz[])
IS 'True for what a request may be that was recorded with an id.';

CREATE SEQUENCE apikeys_data.usage_entry_id_seq MAXVALUE 281474976710655;
COMMENT ON SEQUENCE apikeys_data.usage_entry_id_seq IS 'Numbers the entries that this node records.';

-- A cost counts against the nearest budget in the row of its request, and against
-- each other one, and those above them, in a row of its own.  No foreign key to
-- budgets either.
CREATE TABLE apikeys_data.usage_entry (
    id bigint DEFAULT apikeys.next_id('apikeys_data.usage_entry_id_seq') PRIMARY KEY,
    key_id uuid,
    recorded_at timestamptz NOT NULL,
    tokens bigint NOT NULL,
    budget_period timestamptz,
    budget_id uuid,
    requests integer NOT NULL DEFAULT 1,
    cost numeric NOT NULL,
    model text COLLATE "C",
    CONSTRAINT usage_entry_is_valid CHECK (
        apikeys.check_usage_entry(key_id, requests, tokens, cost, budget_id, budget_period))
);
COMMENT ON COLUMN apikeys_data.usage_entry.key_id IS 'Null for what counts against a budget alone.';
COMMENT ON COLUMN apikeys_data.usage_entry.budget_period IS 'Start of the budget''s period in which it was recorded.';
COMMENT ON COLUMN apikeys_data.usage_entry.budget_id IS 'Budget from which the cost is spent; null: none.';
COMMENT ON COLUMN apikeys_data.usage_entry.requests IS '1, or -1 for a void, which has the time and the budget of the record that it takes back; 0 without a key.';
ALTER SEQUENCE apikeys_data.usage_entry_id_seq OWNED BY apikeys_data.usage_entry.id;
COMMENT ON COLUMN apikeys_data.usage_entry.id IS 'Its first 16 bits are the node that has recorded it, and rolls it up.';
COMMENT ON TABLE apikeys_data.usage_entry IS 'Append-only ledger of apikey_record_usage, until it is rolled up.';

-- A read begins after what is rolled up (apikeys_data.ledger): deleted entries may stay
-- in the index for as long as anybody has an old snapshot.  So it is bounded by what was
-- recorded since, whichever index the planner takes.
CREATE INDEX usage_entry_key_id_idx ON apikeys_data.usage_entry (key_id, id);
CREATE INDEX usage_entry_budget_id_idx ON apikeys_data.usage_entry (budget_id, id) WHERE budget_id IS NOT NULL;

CREATE TABLE apikeys_data.ledger (
    rolled_up_to bigint NOT NULL DEFAULT 0,
    searched_at timestamptz NOT NULL,
    node integer DEFAULT apikeys.this_node() PRIMARY KEY
);
COMMENT ON COLUMN apikeys_data.ledger.rolled_up_to IS 'All entries of the node up to this id are rolled up, and no transaction can add one any more.';
COMMENT ON COLUMN apikeys_data.ledger.searched_at IS 'When entries were last looked for from its start.';
COMMENT ON COLUMN apikeys_data.ledger.node IS 'Whose entries these are.';
COMMENT ON TABLE apikeys_data.ledger IS 'One row per node that has rolled up here: where its next flush begins.';

CREATE TRIGGER keep_local BEFORE INSERT OR UPDATE OR DELETE ON apikeys_data.ledger
FOR EACH ROW EXECUTE FUNCTION apikeys.keep_local();
COMMENT ON TRIGGER keep_local ON apikeys_data.ledger IS 'Logical replication brings no rows of other servers.';
ALTER TABLE apikeys_data.ledger ENABLE REPLICA TRIGGER keep_local;

-- Of this node what is not rolled up, of others all: they roll up their own.  In
-- each of the two ranges an index finds the entries of a key or a budget; a server
-- that is alone has but one.
CREATE VIEW apikeys_data.open_entry AS
SELECT e.*
FROM (SELECT 0::bigint AS after, apikeys.first_id() AS up_to
      WHERE apikeys.first_id() > 0
      UNION ALL
      SELECT greatest((SELECT l.rolled_up_to FROM apikeys_data.ledger l WHERE l.node = apikeys.this_node()),
                      apikeys.first_id()),
             9223372036854775807) r
JOIN apikeys_data.usage_entry e ON e.id > r.after AND e.id <= r.up_to;
COMMENT ON VIEW apikeys_data.open_entry IS 'Entries that no total has yet.';

-- Figures are kept for a void: the entries may have been rolled up by then.
CREATE TABLE apikeys_data.usage_request (
    key_id uuid,
    request_id text COLLATE "C",
    recorded_at timestamptz NOT NULL,
    tokens bigint NOT NULL,
    cost numeric NOT NULL,
    budget_ids uuid[],
    budget_periods timestamptz[],
    reserved_at timestamptz,
    model text COLLATE "C",
    is_void boolean NOT NULL DEFAULT false,
    node integer DEFAULT apikeys.this_node(),
    PRIMARY KEY (key_id, request_id, node),
    CONSTRAINT usage_request_is_valid CHECK (
        apikeys.check_usage_request(request_id, tokens, cost, model, budget_ids, budget_periods))
);
COMMENT ON COLUMN apikeys_data.usage_request.budget_ids IS 'Budgets from which the cost was spent; null: none.';
COMMENT ON COLUMN apikeys_data.usage_request.reserved_at IS 'From when rate windows count it; null: from recorded_at.';
COMMENT ON COLUMN apikeys_data.usage_request.budget_periods IS 'Starts of their periods in which it was recorded.';
COMMENT ON COLUMN apikeys_data.usage_request.node IS 'Where it was recorded, and can be taken back.';
COMMENT ON TABLE apikeys_data.usage_request IS 'Requests that were recorded with an id, for apikeys.request_id_retention.';

CREATE INDEX usage_request_recorded_at_idx ON apikeys_data.usage_request (recorded_at);

-- The user's data: pg_dump takes the rows along.
SELECT pg_extension_config_dump('apikeys_data.usage', '');
SELECT pg_extension_config_dump('apikeys_data.usage_day', '');
SELECT pg_extension_config_dump('apikeys_data.usage_entry', '');
SELECT pg_extension_config_dump('apikeys_data.usage_entry_id_seq', '');
SELECT pg_extension_config_dump('apikeys_data.usage_request', '');
SELECT pg_extension_config_dump('apikeys_data.ledger', '');

CREATE FUNCTION apikeys.last_use(id uuid) RETURNS timestamptz
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_last_use';
COMMENT ON FUNCTION apikeys.last_use(uuid)
IS 'Latest use of a key that is in shared memory; null if it has none there.';

CREATE FUNCTION apikeys.last_used_ip(id uuid, stored_at timestamptz, stored_ip inet) RETURNS inet
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_last_used_ip';
COMMENT ON FUNCTION apikeys.last_used_ip(uuid, timestamptz, inet)
IS 'Address of the latest use of a key that has one: that in shared memory, or the one stored with its last use.';

CREATE FUNCTION apikeys.utc_today() RETURNS date
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_utc_today';
COMMENT ON FUNCTION apikeys.utc_today()
IS 'The current day in UTC, by the wall clock.';
