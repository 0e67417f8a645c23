-- SPDX-License-Identifier: PostgreSQL

-- Budgets, and what is spent of them.

CREATE FUNCTION apikeys.check_budget(
    name text, max_cost numeric, reset_every interval, parent_id uuid, rate_limits jsonb,
    warn_at numeric[], starts_at timestamptz, time_zone text, metadata jsonb) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_check_budget';
COMMENT ON FUNCTION apikeys.check_budget(text, numeric, interval, uuid, jsonb, numeric[], timestamptz, text, jsonb)
IS 'True for the values of a valid budget; raises 22023 for any other.';

CREATE TABLE apikeys_data.budget (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    max_cost numeric,
    reset_every interval,
    parent_id uuid,
    rate_limits jsonb NOT NULL DEFAULT '{}',
    warn_at numeric[],
    starts_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    time_zone text NOT NULL DEFAULT 'UTC',
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT budget_is_valid CHECK (
        apikeys.check_budget(name, max_cost, reset_every, parent_id, rate_limits,
                             warn_at, starts_at, time_zone, metadata))
);
COMMENT ON TABLE apikeys_data.budget IS 'Spending pools that keys point to with budget_id.';

CREATE INDEX budget_parent_id_idx ON apikeys_data.budget (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE apikeys_data.budget_period (
    budget_id uuid,
    started_at timestamptz,
    spent numeric NOT NULL CHECK ((scale(spent) <= 18) IS TRUE),
    node integer DEFAULT apikeys.this_node(),
    PRIMARY KEY (budget_id, started_at, node)
);
COMMENT ON COLUMN apikeys_data.budget_period.node IS 'Where it was spent.';
COMMENT ON TABLE apikeys_data.budget_period IS 'One row per budget, period and node: rolled-up cost.';

CREATE TABLE apikeys_data.budget_credit (
    budget_id uuid,
    started_at timestamptz,
    added numeric NOT NULL CHECK (added > -1e18 AND added < 1e18 AND scale(added) <= 18),
    PRIMARY KEY (budget_id, started_at)
);
COMMENT ON TABLE apikeys_data.budget_credit IS 'One row per budget and period: what apikey_budget_add has added to max_cost.';

CREATE TABLE apikeys_data.budget_warning (
    budget_id uuid,
    started_at timestamptz,
    fraction numeric,
    node integer DEFAULT apikeys.this_node(),
    PRIMARY KEY (budget_id, started_at, fraction, node)
);
COMMENT ON COLUMN apikeys_data.budget_warning.node IS 'Who gave it: two may at the same time.';
COMMENT ON TABLE apikeys_data.budget_warning IS 'One row per warning that a budget has given in a period.';

-- The user's data: pg_dump takes the rows along.
SELECT pg_extension_config_dump('apikeys_data.budget', '');
SELECT pg_extension_config_dump('apikeys_data.budget_period', '');
SELECT pg_extension_config_dump('apikeys_data.budget_credit', '');
SELECT pg_extension_config_dump('apikeys_data.budget_warning', '');

-- REPLICA: for what logical replication applies, and nothing else.
CREATE FUNCTION apikeys.publish_spending() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_publish_spending';
COMMENT ON FUNCTION apikeys.publish_spending() IS 'Trigger: what logical replication brings changes what backends know to be spent of budgets. Its arguments are the columns of the period and the cost.';

CREATE TRIGGER publish_spending AFTER INSERT OR UPDATE OR DELETE ON apikeys_data.usage_entry
FOR EACH ROW EXECUTE FUNCTION apikeys.publish_spending('budget_period', 'cost');
COMMENT ON TRIGGER publish_spending ON apikeys_data.usage_entry IS 'What is spent on other nodes counts here when it is applied.';

CREATE TRIGGER publish_spending AFTER INSERT OR UPDATE OR DELETE ON apikeys_data.budget_period
FOR EACH ROW EXECUTE FUNCTION apikeys.publish_spending('started_at', 'spent');
COMMENT ON TRIGGER publish_spending ON apikeys_data.budget_period IS 'What is spent on other nodes counts here when it is applied.';

ALTER TABLE apikeys_data.usage_entry ENABLE REPLICA TRIGGER publish_spending;
ALTER TABLE apikeys_data.budget_period ENABLE REPLICA TRIGGER publish_spending;

CREATE FUNCTION apikeys.period_at(
    origin timestamptz, every interval, at timestamptz, time_zone text = 'UTC',
    OUT started_at timestamptz, OUT ends_at timestamptz) RETURNS record
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_period_at';
COMMENT ON FUNCTION apikeys.period_at(timestamptz, interval, timestamptz, text)
IS 'The period that a time falls into. Periods start at multiples of an interval from an origin, by the calendar of a time zone; a null interval gives one period without end.';

-- What was spent or added in a period counts where that period started, so that this
-- also holds after a change of the periods.  If they never end, all counts.
CREATE FUNCTION apikeys.reserved_cost(budget_id uuid) RETURNS numeric
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_reserved_cost';
COMMENT ON FUNCTION apikeys.reserved_cost(uuid)
IS 'What is reserved of a budget now, in this server''s shared memory.';

CREATE VIEW apikeys_data.budget_info AS
SELECT b.id,
       b.name,
       b.max_cost,
       s.spent,
       CASE WHEN b.max_cost IS NOT NULL THEN greatest(b.max_cost + a.added - s.spent - v.reserved, 0) END AS remaining,
       b.reset_every,
       p.started_at AS period_started_at,
       nullif(p.ends_at, 'infinity') AS period_ends_at,
       b.parent_id,
       a.added,
       v.reserved,
       b.rate_limits,
       b.warn_at,
       b.metadata,
       b.starts_at,
       b.time_zone
FROM apikeys_data.budget b
CROSS JOIN LATERAL apikeys.period_at(b.starts_at, b.reset_every, clock_timestamp(), b.time_zone) p
CROSS JOIN LATERAL (
    SELECT CASE WHEN b.reset_every IS NULL THEN '-infinity' ELSE p.started_at END AS begin_at
) f
CROSS JOIN LATERAL (
    SELECT coalesce(sum(c.cost), 0) AS spent
    FROM (SELECT r.spent AS cost
          FROM apikeys_data.budget_period r
          WHERE r.budget_id = b.id
            AND r.started_at >= f.begin_at AND r.started_at < p.ends_at
          UNION ALL
          SELECT e.cost
          FROM apikeys_data.open_entry e
          WHERE e.budget_id = b.id
            AND e.budget_period >= f.begin_at AND e.budget_period < p.ends_at) c
) s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(r.added), 0) AS added
    FROM apikeys_data.budget_credit r
    WHERE r.budget_id = b.id
      AND r.started_at >= f.begin_at AND r.started_at < p.ends_at
) a
CROSS JOIN LATERAL apikeys.reserved_cost(b.id) v(reserved);
COMMENT ON VIEW apikeys_data.budget_info IS 'What apikeys.budget_info shows; read by the functions of the extension.';

-- As apikeys.info: for people only.
CREATE VIEW apikeys.budget_info AS SELECT i.* FROM apikeys_data.budget_info i;
COMMENT ON VIEW apikeys.budget_info IS 'Budgets for administrators, one row per budget: limit, what is spent and remaining, and the current period.';

COMMENT ON COLUMN apikeys.budget_info.id IS 'Id of the budget: the budget_id of its keys.';
COMMENT ON COLUMN apikeys.budget_info.name IS 'Name of the budget; need not be unique.';
COMMENT ON COLUMN apikeys.budget_info.max_cost IS 'How much may be spent in a period, in the unit that the application uses.';
COMMENT ON COLUMN apikeys.budget_info.spent IS 'What was spent in the current period, also of budgets below, exact to the last committed entry.';
COMMENT ON COLUMN apikeys.budget_info.remaining IS 'max_cost and what was added, less what is spent and reserved, but not below 0; null without max_cost.';
COMMENT ON COLUMN apikeys.budget_info.reset_every IS 'Length of a period; null for a budget that is never reset.';
COMMENT ON COLUMN apikeys.budget_info.period_started_at IS 'Start of the current period.';
COMMENT ON COLUMN apikeys.budget_info.period_ends_at IS 'End of the current period; null for a budget that is never reset.';
COMMENT ON COLUMN apikeys.budget_info.parent_id IS 'Budget from which it is spent as well; null: none.';
COMMENT ON COLUMN apikeys.budget_info.added IS 'What apikey_budget_add has added to max_cost in this period; negative if more was taken back.';
COMMENT ON COLUMN apikeys.budget_info.reserved IS 'What requests have reserved that are not settled yet.';
COMMENT ON COLUMN apikeys.budget_info.rate_limits IS 'Limits of all its keys together; {} means none.';
COMMENT ON COLUMN apikeys.budget_info.warn_at IS 'Fractions of max_cost and added at which the budget warns.';
COMMENT ON COLUMN apikeys.budget_info.metadata IS 'The caller''s own data.';
COMMENT ON COLUMN apikeys.budget_info.starts_at IS 'From when periods are counted, backwards as well.';
COMMENT ON COLUMN apikeys.budget_info.time_zone IS 'By whose calendar periods are counted.';
