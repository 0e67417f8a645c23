-- SPDX-License-Identifier: PostgreSQL

-- Problems of keys: their families, and what they refer to.

CREATE VIEW apikeys_data.key_problem AS
-- Derived keys have the root of their parent.
SELECT 'error' AS level, 'key ' || k.id AS object, 'has the root of another key, though it succeeds none' AS problem
FROM apikeys_data.key k
WHERE k.root_id <> k.id AND k.rotated_from IS NULL AND k.parent_id IS NULL
UNION ALL
SELECT 'error', 'key ' || k.id, format('is derived from key %s, which does not exist', k.parent_id)
FROM apikeys_data.key k
CROSS JOIN apikeys_data.known_since s
WHERE k.parent_id IS NOT NULL
  AND k.created_at >= s.events
  AND NOT EXISTS (SELECT FROM apikeys_data.key p WHERE p.id = k.parent_id)
  -- Whoever deletes a key does not see what is derived from it on another node, or
  -- since his snapshot: a clean-up deletes it when it has expired.
  AND NOT EXISTS (SELECT FROM apikeys_data.deleted_owner d WHERE d.id = k.parent_id)
UNION ALL
SELECT 'error', 'key ' || k.id, format('has root %s, but key %s, from which it is derived, has root %s', coalesce(k.root_id, k.id), p.id, coalesce(p.root_id, p.id))
FROM apikeys_data.key k
JOIN apikeys_data.key p ON p.id = k.parent_id
WHERE coalesce(k.root_id, k.id) <> coalesce(p.root_id, p.id)
UNION ALL
SELECT 'error', 'key ' || k.id, format('is derived from key %s, which is derived itself', p.id)
FROM apikeys_data.key k
JOIN apikeys_data.key p ON p.id = k.parent_id
WHERE p.parent_id IS NOT NULL
UNION ALL
SELECT 'error', 'key ' || k.id, 'succeeds a key, but is its own root'
FROM apikeys_data.key k
WHERE k.rotated_from IS NOT NULL AND coalesce(k.root_id, k.id) = k.id
UNION ALL
SELECT 'error', 'key ' || k.id, format('has root %s, but its predecessor %s has root %s', coalesce(k.root_id, k.id), p.id, coalesce(p.root_id, p.id))
FROM apikeys_data.key k
JOIN apikeys_data.key p ON p.id = k.rotated_from
WHERE coalesce(k.root_id, k.id) <> coalesce(p.root_id, p.id)
UNION ALL
SELECT 'error', 'key ' || k.id, format('has root %s, which is no first key', k.root_id)
FROM apikeys_data.key k
JOIN apikeys_data.key r ON r.id = k.root_id
WHERE k.root_id <> k.id AND r.root_id <> r.id
UNION ALL
SELECT 'error', 'key ' || p.id, format('is not rotated, but key %s succeeds it', k.id)
FROM apikeys_data.key k
JOIN apikeys_data.key p ON p.id = k.rotated_from
WHERE p.rotated_at IS NULL
UNION ALL
SELECT 'error', 'key ' || k.rotated_from, format('has %s successors', count(*))
FROM apikeys_data.key k
WHERE k.rotated_from IS NOT NULL
GROUP BY k.rotated_from
HAVING count(*) > 1
UNION ALL
-- Whoever succeeds a key is found from the first of the line that still exists.
SELECT 'error', 'key ' || k.id, 'is in a circle of successors'
FROM apikeys_data.key k
LEFT JOIN (
    WITH RECURSIVE line(id) AS (
        SELECT f.id
        FROM apikeys_data.key f
        WHERE f.rotated_from IS NOT NULL
          AND NOT EXISTS (SELECT FROM apikeys_data.key p
                          WHERE p.id = f.rotated_from AND p.rotated_from IS NOT NULL)
        UNION
        SELECT s.id
        FROM line l
        JOIN apikeys_data.key s ON s.rotated_from = l.id
    )
    SELECT l.id FROM line l) r ON r.id = k.id
WHERE k.rotated_from IS NOT NULL AND r.id IS NULL
UNION ALL
SELECT 'error', 'key ' || k.id, 'has a reason for its revocation, but is not revoked'
FROM apikeys_data.key k
WHERE k.revoke_reason IS NOT NULL AND k.revoked_at IS NULL
UNION ALL
SELECT 'error', 'key ' || k.id, format('has a hash of %s bytes, not 32', length(k.key_hash))
FROM apikeys_data.key k
WHERE length(k.key_hash) <> 32
UNION ALL
SELECT 'error', 'key ' || k.id, 'was generated, but its key_prefix is not the masked form of a raw key'
FROM apikeys_data.key k
WHERE k.key_prefix !~ '^[-_0-9A-Za-z]{1,24}[0-9A-Za-z][.]{3}[0-9A-Za-z]{4}$'
  AND (k.rotated_from IS NOT NULL OR k.parent_id IS NOT NULL
       OR EXISTS (SELECT FROM apikeys_data.event e WHERE e.key_id = k.id AND e.action = 'generate'))
UNION ALL
-- It spends from no budget.
SELECT 'error', 'key ' || k.id, format('has budget %s, which does not exist', k.budget_id)
FROM apikeys_data.key k
WHERE k.budget_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM apikeys_data.budget b WHERE b.id = k.budget_id)
UNION ALL
SELECT 'error', 'key ' || k.id, format('has plan %L, which does not exist: it is NOT_FOUND', k.plan)
FROM apikeys_data.key k
WHERE k.plan IS NOT NULL
  AND NOT EXISTS (SELECT FROM apikeys_data.plan p WHERE p.name = k.plan)
UNION ALL
SELECT 'warning', 'HMAC secret ' || u.secret, format('is not loaded here: %s live keys are NOT_FOUND without it', u.live_keys)
FROM apikeys.secret_usage u
WHERE NOT u.loaded AND u.live_keys > 0;
COMMENT ON VIEW apikeys_data.key_problem IS 'What is wrong with keys.';

-- Notices are planned by a trigger; derived keys get none.
CREATE VIEW apikeys_data.notice_problem AS
SELECT 'error' AS level, 'key ' || k.id AS object, 'expires, but no notice of that is planned' AS problem
FROM apikeys_data.key k
WHERE k.revoked_at IS NULL
  AND isfinite(k.expires_at)
  AND k.parent_id IS NULL
  AND NOT EXISTS (SELECT FROM apikeys_data.key_notice n WHERE n.key_id = k.id AND NOT n.by_idleness)
UNION ALL
SELECT 'error', 'key ' || k.id, 'has an idle_timeout, but no notice of that is planned'
FROM apikeys_data.key k
WHERE k.revoked_at IS NULL
  AND k.idle_timeout IS NOT NULL
  AND NOT EXISTS (SELECT FROM apikeys_data.key_notice n WHERE n.key_id = k.id AND n.by_idleness)
UNION ALL
SELECT 'warning', 'notice of key ' || n.key_id,
       CASE WHEN k.id IS NULL THEN 'is left, though the key does not exist'
            ELSE 'is left, though the key is revoked' END
FROM apikeys_data.key_notice n
LEFT JOIN apikeys_data.key k ON k.id = n.key_id
WHERE k.id IS NULL OR k.revoked_at IS NOT NULL;
COMMENT ON VIEW apikeys_data.notice_problem IS 'What is wrong with the notices of keys that are going to expire.';
