-- SPDX-License-Identifier: PostgreSQL

-- Problems of shared memory: in itself, and compared with the tables.

CREATE FUNCTION apikeys_data.shared_memory_problems() RETURNS SETOF apikeys_data.problem
LANGUAGE C VOLATILE ROWS 10
AS 'MODULE_PATHNAME', 'apikeys_shared_memory_problems';
COMMENT ON FUNCTION apikeys_data.shared_memory_problems()
IS 'Where the shared table of keys and budgets, of all databases, contradicts itself.';

CREATE FUNCTION apikeys_data.tracked_owners(
    OUT id uuid, OUT active_at timestamptz, OUT last_used_at timestamptz, OUT stored_use timestamptz,
    OUT stored_at timestamptz, OUT may_be_new boolean) RETURNS SETOF record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'apikeys_tracked_owners';
COMMENT ON FUNCTION apikeys_data.tracked_owners()
IS 'The keys and budgets of this database in shared memory: when there was something of it last, the last use, the one that is stored and since when, and whether a transaction has spent that may have made it.';

CREATE FUNCTION apikeys_data.is_key_or_budget_for_anyone(id uuid) RETURNS boolean
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'apikeys_is_key_or_budget_for_anyone';
COMMENT ON FUNCTION apikeys_data.is_key_or_budget_for_anyone(uuid)
IS 'True if there is such a key or budget by now, or a transaction that is open has made or deleted it.';

CREATE VIEW apikeys_data.memory_problem AS
SELECT p.level, p.object, p.problem
FROM apikeys_data.shared_memory_problems() p
UNION ALL
-- A flush removes the use of a key that was made in a transaction that was rolled
-- back, or deleted while it was used.  What is newer than this transaction may have been
-- made and deleted meanwhile.  OFFSET 0 has the last question asked last.
SELECT 'warning', 'shared memory of ' || t.id, 'is there, but neither a key nor a budget, nor an event of its deletion'
FROM (SELECT o.id
      FROM apikeys_data.tracked_owners() o
      CROSS JOIN apikeys_data.known_since s
      WHERE NOT o.may_be_new
        AND o.active_at >= s.events
        AND o.active_at < transaction_timestamp()
        AND (o.last_used_at <= o.stored_use
             OR o.last_used_at < clock_timestamp() - interval '5 minutes'
                                 - 2 * interval_in(textout(current_setting('apikeys.flush_interval', true)), 0, -1))
        AND NOT EXISTS (SELECT FROM apikeys_data.key k WHERE k.id = o.id)
        AND NOT EXISTS (SELECT FROM apikeys_data.key k WHERE k.root_id = o.id AND k.root_id <> k.id)
        AND NOT EXISTS (SELECT FROM apikeys_data.budget b WHERE b.id = o.id)
        AND NOT EXISTS (SELECT FROM apikeys_data.deleted_owner d WHERE d.id = o.id)
      OFFSET 0) t
WHERE NOT apikeys_data.is_key_or_budget_for_anyone(t.id)
UNION ALL
-- What was committed before this transaction began, its snapshot sees.
SELECT 'error', 'key ' || k.id, format('has a stored last use of %s in shared memory, but one of %s in its table', t.stored_use, coalesce(u.last_used_at::text, 'never'))
FROM apikeys_data.tracked_owners() t
JOIN apikeys_data.key k ON k.id = t.id
LEFT JOIN apikeys_data.usage u ON u.key_id = t.id AND u.node = apikeys.this_node()
WHERE t.stored_at < transaction_timestamp()
  AND t.stored_use > coalesce(u.last_used_at, '-infinity');
COMMENT ON VIEW apikeys_data.memory_problem IS 'What is wrong with shared memory.';
