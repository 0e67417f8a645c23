-- SPDX-License-Identifier: PostgreSQL

-- Problems of budgets: their tree, and what was spent of them.

-- What was ever spent of each, in any period.
CREATE VIEW apikeys_data.spent_in_period AS
SELECT a.budget_id, a.started_at, sum(a.cost) AS spent
FROM (SELECT p.budget_id, p.started_at, p.spent AS cost
      FROM apikeys_data.budget_period p
      UNION ALL
      SELECT e.budget_id, e.budget_period, e.cost
      FROM apikeys_data.usage_entry e
      WHERE e.budget_id IS NOT NULL) a
GROUP BY a.budget_id, a.started_at;
COMMENT ON VIEW apikeys_data.spent_in_period IS 'What was spent of each budget in each period, exact to the last committed entry.';

CREATE VIEW apikeys_data.budget_problem AS
SELECT 'error' AS level, 'budget ' || b.id AS object, format('is below %s, which does not exist', b.parent_id) AS problem
FROM apikeys_data.budget b
WHERE b.parent_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM apikeys_data.budget p WHERE p.id = b.parent_id)
UNION ALL
SELECT 'error', 'budget ' || b.id,
       CASE WHEN t.level IS NULL THEN 'is below itself, or below one that is' ELSE format('is on level %s, below the lowest', t.level) END
FROM apikeys_data.budget b
LEFT JOIN (
    WITH RECURSIVE tree(id, level) AS (
        SELECT r.id, 1
        FROM apikeys_data.budget r
        WHERE NOT EXISTS (SELECT FROM apikeys_data.budget p WHERE p.id = r.parent_id)
        UNION ALL
        SELECT c.id, w.level + 1
        FROM tree w
        JOIN apikeys_data.budget c ON c.parent_id = w.id
    )
    SELECT w.id, w.level FROM tree w) t ON t.id = b.id
WHERE t.level IS NULL OR t.level > 4
UNION ALL
SELECT 'error', 'budget ' || s.budget_id, format('has spent %s in the period of %s: more was taken back than recorded', s.spent, s.started_at)
FROM apikeys_data.spent_in_period s
WHERE s.spent < 0
  AND EXISTS (SELECT FROM apikeys_data.budget b WHERE b.id = s.budget_id)
UNION ALL
-- A cost is spent on each level, so who has always been below another budget has
-- not spent more.  If two of its children share a cost it is spent there once.
SELECT 'error', 'budget ' || p.id, format('has spent %s, but budget %s below it %s', coalesce(p.spent, 0), c.id, c.spent)
FROM (SELECT b.id, b.parent_id, sum(s.spent) AS spent
      FROM apikeys_data.budget b
      JOIN apikeys_data.spent_in_period s ON s.budget_id = b.id
      WHERE b.parent_id IS NOT NULL
      GROUP BY b.id) c
JOIN (SELECT b.id, sum(s.spent) AS spent
      FROM apikeys_data.budget b
      LEFT JOIN apikeys_data.spent_in_period s ON s.budget_id = b.id
      GROUP BY b.id) p ON p.id = c.parent_id
WHERE c.spent > coalesce(p.spent, 0)
  AND EXISTS (SELECT FROM apikeys_data.event e
              WHERE e.action = 'budget_create' AND e.details->>'budget_id' = c.id::text
                AND e.details->>'parent_id' = c.parent_id::text)
  AND NOT EXISTS (SELECT FROM apikeys_data.event e
                  WHERE e.action = 'budget_update' AND e.details->>'budget_id' = c.id::text
                    AND e.details ? 'parent_id')
UNION ALL
SELECT 'error', 'budget ' || r.budget_id,
       format('has spent %s in the period of %s, but %s was recorded with an id', coalesce(s.spent, 0), r.started_at, r.cost)
FROM (SELECT i.budget_id, i.started_at, sum(q.cost) AS cost
      FROM apikeys_data.usage_request q
      CROSS JOIN LATERAL unnest(q.budget_ids, q.budget_periods) i(budget_id, started_at)
      WHERE NOT q.is_void
      GROUP BY i.budget_id, i.started_at) r
LEFT JOIN apikeys_data.spent_in_period s ON s.budget_id = r.budget_id AND s.started_at = r.started_at
WHERE r.cost > coalesce(s.spent, 0)
  AND EXISTS (SELECT FROM apikeys_data.budget b WHERE b.id = r.budget_id)
UNION ALL
SELECT 'error', 'budget ' || b.id, format('has %s added, but its events say %s', coalesce(c.added, 0), coalesce(e.added, 0))
FROM apikeys_data.budget b
CROSS JOIN apikeys_data.known_since s
LEFT JOIN (SELECT a.budget_id, sum(a.added) AS added
           FROM apikeys_data.budget_credit a
           GROUP BY a.budget_id) c ON c.budget_id = b.id
LEFT JOIN (SELECT v.details->>'budget_id' AS budget_id,
                  sum(CASE WHEN jsonb_typeof(v.details->'amount') = 'number' THEN (v.details->'amount')::numeric END) AS added
           FROM apikeys_data.event v
           WHERE v.action = 'budget_add'
           GROUP BY 1) e ON e.budget_id = b.id::text
WHERE coalesce(c.added, 0) <> coalesce(e.added, 0)
  AND b.created_at >= s.events
UNION ALL
SELECT 'error', 'what was added to budget ' || c.budget_id, 'is there, but no such budget'
FROM apikeys_data.budget_credit c
WHERE NOT EXISTS (SELECT FROM apikeys_data.budget b WHERE b.id = c.budget_id)
GROUP BY c.budget_id
UNION ALL
-- Periods, warnings and new costs of a deleted one wait for a clean-up.
SELECT 'error', o.name || ' of budget ' || o.budget_id, 'are there, but no such budget, nor an event of its deletion'
FROM (SELECT 'periods' AS name, p.budget_id, max(p.started_at) AS at
      FROM apikeys_data.budget_period p
      GROUP BY p.budget_id
      UNION ALL
      SELECT 'warnings', w.budget_id, max(w.started_at)
      FROM apikeys_data.budget_warning w
      GROUP BY w.budget_id
      UNION ALL
      SELECT 'new costs', e.budget_id, max(e.budget_period)
      FROM apikeys_data.usage_entry e
      WHERE e.budget_id IS NOT NULL
      GROUP BY e.budget_id) o
CROSS JOIN apikeys_data.known_since s
WHERE o.at >= s.events
  AND NOT EXISTS (SELECT FROM apikeys_data.budget b WHERE b.id = o.budget_id)
  AND NOT EXISTS (SELECT FROM apikeys_data.deleted_owner d WHERE d.id = o.budget_id);
COMMENT ON VIEW apikeys_data.budget_problem IS 'What is wrong with budgets.';
