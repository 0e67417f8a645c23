-- SPDX-License-Identifier: PostgreSQL

-- Problems of what keys have used.  Totals of tokens end at the largest bigint,
-- and then agree with nothing any more.

CREATE VIEW apikeys_data.usage_problem AS
-- A roll-up adds to the total and to the day; days may be deleted later.
SELECT 'error' AS level,
       'usage of key ' || coalesce(u.key_id, d.key_id) AS object,
       format('%s requests, %s tokens and a cost of %s in total, but %s, %s and %s in its days',
              coalesce(u.total_requests, 0), coalesce(u.total_tokens, 0), coalesce(u.total_cost, 0),
              coalesce(d.requests, 0), coalesce(d.tokens, 0), coalesce(d.cost, 0)) AS problem
FROM apikeys_data.usage u
FULL JOIN (SELECT t.key_id,
                  t.node,
                  sum(t.requests) AS requests,
                  sum(t.tokens) AS tokens,
                  sum(t.cost) AS cost,
                  bool_or(t.tokens = 9223372036854775807) AS is_cut_off
           FROM apikeys_data.usage_day t
           GROUP BY t.key_id, t.node) d ON d.key_id = u.key_id AND d.node = u.node
JOIN apikeys_data.key k ON k.id = coalesce(u.key_id, d.key_id)
CROSS JOIN apikeys_data.known_since s
CROSS JOIN LATERAL (
    SELECT coalesce(u.total_requests, 0) - coalesce(d.requests, 0) AS requests,
           CASE WHEN u.total_tokens = 9223372036854775807 OR d.is_cut_off THEN 0
                ELSE coalesce(u.total_tokens, 0) - coalesce(d.tokens, 0) END AS tokens,
           coalesce(u.total_cost, 0) - coalesce(d.cost, 0) AS cost
) excess
WHERE least(excess.requests, excess.tokens, excess.cost) < 0
   OR (greatest(excess.requests, excess.tokens, excess.cost) > 0 AND k.created_at >= s.usage)
UNION ALL
-- A void may be rolled up before the record that it takes back, but not alone.
SELECT 'error',
       'usage of key ' || a.key_id,
       format('%s requests, %s tokens and a cost of %s in all: more was taken back than recorded',
              sum(a.requests), sum(a.tokens), sum(a.cost))
FROM (SELECT u.key_id, u.total_requests AS requests, u.total_tokens::numeric AS tokens, u.total_cost AS cost
      FROM apikeys_data.usage u
      UNION ALL
      SELECT e.key_id, e.requests, e.tokens, e.cost
      FROM apikeys_data.usage_entry e) a
WHERE EXISTS (SELECT FROM apikeys_data.key k WHERE k.id = a.key_id)
GROUP BY a.key_id
HAVING least(sum(a.requests), sum(a.tokens), sum(a.cost)) < 0
   AND coalesce(max(a.tokens), 0) < 9223372036854775807
UNION ALL
-- What was recorded under an id, and not taken back, is part of its day.
SELECT 'error',
       format('usage of key %s on %s', r.key_id, r.day),
       format('%s requests, %s tokens and a cost of %s were recorded with an id, but only %s, %s and %s in all',
              r.requests, r.tokens, r.cost, coalesce(d.requests, 0), coalesce(d.tokens, 0), coalesce(d.cost, 0))
FROM (SELECT q.key_id,
             (q.recorded_at AT TIME ZONE 'UTC')::date AS day,
             count(*) AS requests,
             sum(q.tokens) AS tokens,
             sum(q.cost) AS cost
      FROM apikeys_data.usage_request q
      WHERE NOT q.is_void
      GROUP BY 1, 2) r
CROSS JOIN apikeys_data.known_since s
LEFT JOIN (SELECT a.key_id, a.day, sum(a.requests) AS requests, sum(a.tokens) AS tokens, sum(a.cost) AS cost
           FROM (SELECT t.key_id, t.day, t.requests, t.tokens, t.cost
                 FROM apikeys_data.usage_day t
                 WHERE t.day >= (SELECT (min(q.recorded_at) AT TIME ZONE 'UTC')::date FROM apikeys_data.usage_request q)
                 UNION ALL
                 SELECT e.key_id, (e.recorded_at AT TIME ZONE 'UTC')::date, e.requests, e.tokens, e.cost
                 FROM apikeys_data.usage_entry e) a
           GROUP BY a.key_id, a.day) d ON d.key_id = r.key_id AND d.day = r.day
WHERE (r.requests > coalesce(d.requests, 0)
       OR (r.tokens > coalesce(d.tokens, 0) AND coalesce(d.tokens, 0) < 9223372036854775807)
       OR r.cost > coalesce(d.cost, 0))
  AND r.day > (s.usage AT TIME ZONE 'UTC')::date
  AND EXISTS (SELECT FROM apikeys_data.key k WHERE k.id = r.key_id)
UNION ALL
SELECT 'error', format('usage of key %s on %s', t.key_id, t.day), format('has %s models, more than 1000', count(*))
FROM apikeys_data.usage_day t
WHERE t.model NOT IN ('', '(other)')
GROUP BY t.key_id, t.day, t.node
HAVING count(*) > 1000
UNION ALL
SELECT 'error', 'usage of key ' || u.key_id, 'has the address of a last use, but not its time'
FROM apikeys_data.usage u
WHERE u.last_used_ip IS NOT NULL AND u.last_used_at IS NULL
UNION ALL
-- What was written when its key was just deleted waits for a clean-up.
SELECT 'error', o.name || ' of key ' || o.key_id, 'is there, but no such key, nor an event of its deletion'
FROM (SELECT 'usage' AS name, u.key_id, max(u.last_used_at) AS at
      FROM apikeys_data.usage u
      GROUP BY u.key_id
      UNION ALL
      SELECT 'usage of days', t.key_id, max(t.day)
      FROM apikeys_data.usage_day t
      GROUP BY t.key_id
      UNION ALL
      SELECT 'usage with an id', r.key_id, max(r.recorded_at)
      FROM apikeys_data.usage_request r
      GROUP BY r.key_id
      UNION ALL
      SELECT 'new usage', e.key_id, max(e.recorded_at)
      FROM apikeys_data.usage_entry e
      WHERE e.key_id IS NOT NULL
      GROUP BY e.key_id) o
CROSS JOIN apikeys_data.known_since s
WHERE coalesce(o.at, 'infinity') >= s.events
  AND NOT EXISTS (SELECT FROM apikeys_data.key k WHERE k.id = o.key_id)
  AND NOT EXISTS (SELECT FROM apikeys_data.deleted_owner d WHERE d.id = o.key_id);
COMMENT ON VIEW apikeys_data.usage_problem IS 'What is wrong with what keys have used.';

-- A sequence never goes back, but a part of a dump may bring rows without it.
CREATE VIEW apikeys_data.sequence_problem AS
SELECT 'error' AS level,
       'sequence ' || q.name AS object,
       format('is at %s, but there is a row with %s', q.last_value, q.max_id) AS problem
FROM (SELECT 'apikeys_data.event_id_seq' AS name,
             (SELECT s.last_value FROM apikeys_data.event_id_seq s),
             (SELECT max(e.id) FROM apikeys_data.event e WHERE e.id >> 48 = apikeys.this_node()) AS max_id
      UNION ALL
      SELECT 'apikeys_data.usage_entry_id_seq',
             (SELECT s.last_value FROM apikeys_data.usage_entry_id_seq s),
             (SELECT max(e.id) FROM apikeys_data.usage_entry e WHERE e.id >> 48 = apikeys.this_node())) q
WHERE q.max_id > apikeys.first_id() + q.last_value;
COMMENT ON VIEW apikeys_data.sequence_problem IS 'Sequences that have fallen behind.';
