-- SPDX-License-Identifier: PostgreSQL

-- Problems of the audit log.  Events have the order of their ids, as each change
-- of a key waits for the one before; their times may go back with the clock.  Those
-- of two nodes have no order.

CREATE VIEW apikeys_data.key_history AS
SELECT coalesce(k.id, h.key_id) AS id,
       k.id IS NOT NULL AS is_there,
       k.created_at >= s.events AS is_birth_known,
       k.rotated_at >= s.events AS is_rotation_known,
       k.revoked_at IS NOT NULL AS is_revoked,
       k.revoked_at >= s.events AS is_revocation_known,
       k.revoked_at = k.rotated_at AS is_revoked_by_rotation,
       k.key_prefix,
       h.is_of_one_node,
       h.births,
       h.born,
       h.born_as,
       h.first,
       h.last,
       h.rotated,
       h.revoked,
       h.changed,
       h.deleted
FROM apikeys_data.key k
FULL JOIN (
    SELECT e.key_id,
           min(e.id >> 48) = max(e.id >> 48) AS is_of_one_node,
           count(*) FILTER (WHERE e.is_birth) AS births,
           max(e.id) FILTER (WHERE e.is_birth) AS born,
           max(e.key_prefix) FILTER (WHERE e.is_birth) AS born_as,
           min(e.id) AS first,
           max(e.id) AS last,
           max(e.id) FILTER (WHERE e.action = 'rotate') AS rotated,
           max(e.id) FILTER (WHERE e.action = 'revoke') AS revoked,
           max(e.id) FILTER (WHERE e.action IN ('update', 'rotate')) AS changed,
           max(e.id) FILTER (WHERE e.action IN ('delete', 'cleanup')) AS deleted
    FROM (SELECT v.id, v.key_id, v.action, v.action IN ('generate', 'import', 'derive') AS is_birth,
                 v.details->>'key_prefix' AS key_prefix
          FROM apikeys_data.event v
          -- A notice that each node may give.
          WHERE v.action <> 'expiring'
          UNION ALL
          -- A successor is born by the rotation of another key.
          SELECT v.id, apikeys_data.uuid_or_null(v.details->>'successor'), 'succeed', true, NULL
          FROM apikeys_data.event v
          WHERE v.action = 'rotate') e
    WHERE e.key_id IS NOT NULL
    GROUP BY e.key_id) h ON h.key_id = k.id
CROSS JOIN apikeys_data.known_since s;
COMMENT ON VIEW apikeys_data.key_history IS 'One row per key that exists or has events: which of them, by their ids.';

CREATE VIEW apikeys_data.event_problem AS
SELECT 'error' AS level, 'key ' || h.id AS object, f.problem
FROM apikeys_data.key_history h
CROSS JOIN LATERAL unnest(ARRAY[
    CASE WHEN h.is_birth_known AND h.born IS NULL THEN 'has no event of how it was made' END,
    CASE WHEN h.births > 1 THEN format('has %s events of how it was made', h.births) END,
    CASE WHEN h.is_of_one_node AND h.born > h.first THEN format('has event %s from before it was made', h.first) END,
    CASE WHEN h.is_there AND h.born_as <> h.key_prefix THEN 'has another key_prefix than in the event of how it was made' END,
    CASE WHEN h.is_rotation_known AND h.rotated IS NULL THEN 'is rotated, but has no event of that' END,
    CASE WHEN h.is_revocation_known AND h.revoked IS NULL AND h.is_revoked_by_rotation IS NOT TRUE THEN 'is revoked, but has no event of that' END,
    CASE WHEN h.is_there AND NOT h.is_revoked AND h.revoked IS NOT NULL THEN format('is not revoked, though event %s says so', h.revoked) END,
    CASE WHEN h.is_of_one_node AND h.changed > h.revoked THEN format('has event %s from after it was revoked', h.changed) END,
    CASE WHEN h.is_there AND h.deleted IS NOT NULL THEN format('is there, though it was deleted by event %s', h.deleted) END,
    CASE WHEN h.is_of_one_node AND h.last > h.deleted THEN format('has event %s from after it was deleted', h.last) END,
    CASE WHEN NOT h.is_there AND h.last IS NOT NULL AND h.deleted IS NULL THEN format('is missing: it has event %s, and none of its deletion', h.last) END
]) f(problem)
WHERE f.problem IS NOT NULL
UNION ALL
SELECT 'error', format('budget %s', c.details->>'budget_id'), format('is missing: it has event %s, and none of its deletion', c.id)
FROM apikeys_data.event c
WHERE c.action = 'budget_create'
  AND NOT EXISTS (SELECT FROM apikeys_data.budget b WHERE b.id::text = c.details->>'budget_id')
  AND NOT EXISTS (SELECT FROM apikeys_data.event e
                  WHERE e.action = 'budget_delete' AND e.details->>'budget_id' = c.details->>'budget_id')
UNION ALL
SELECT 'error', format('plan %L', c.name), format('is missing: it has event %s, and none of its deletion', c.made)
FROM (SELECT e.details->>'plan' AS name,
             max(e.id) FILTER (WHERE e.action = 'plan_set') AS made,
             max(e.id) FILTER (WHERE e.action = 'plan_delete') AS deleted,
             min(e.id >> 48) = max(e.id >> 48) AS is_of_one_node
      FROM apikeys_data.event e
      WHERE e.action IN ('plan_set', 'plan_delete')
      GROUP BY 1) c
WHERE c.is_of_one_node
  AND c.made > coalesce(c.deleted, 0)
  AND NOT EXISTS (SELECT FROM apikeys_data.plan p WHERE p.name = c.name);
COMMENT ON VIEW apikeys_data.event_problem IS 'Where the audit log and the tables disagree.';
