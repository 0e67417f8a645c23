-- SPDX-License-Identifier: PostgreSQL

-- Usage by model, for dashboards.

-- What is not rolled up yet is named as the roll-up will name it: a model that
-- is new on a day becomes (other) where the day has 1,000 already.
CREATE VIEW apikeys.usage_report AS
SELECT r.day,
       k.id AS key_id,
       coalesce(k.root_id, k.id) AS root_id,
       k.user_id,
       k.team_id,
       k.external_id,
       k.budget_id,
       nullif(r.model, '') AS model,
       r.requests,
       r.tokens,
       r.cost
FROM apikeys_data.key k
CROSS JOIN LATERAL (
    SELECT n.day,
           n.model,
           sum(n.requests)::bigint AS requests,
           greatest(least(sum(n.tokens), 9223372036854775807), 0)::bigint AS tokens,
           sum(n.cost) AS cost
    FROM (SELECT m.day,
                 CASE WHEN m.is_counted
                       AND row_number() OVER (PARTITION BY m.day, m.is_counted ORDER BY m.first_entry, m.model) > 1000
                      THEN '(other)' ELSE m.model END AS model,
                 m.requests,
                 m.tokens,
                 m.cost
          FROM (SELECT u.day,
                       u.model,
                       u.model NOT IN ('', '(other)') AS is_counted,
                       min(u.entry) AS first_entry,
                       sum(u.requests) AS requests,
                       sum(u.tokens) AS tokens,
                       sum(u.cost) AS cost
                FROM (SELECT d.day, d.model, 0 AS entry, d.requests, d.tokens, d.cost
                      FROM apikeys_data.usage_day d
                      WHERE d.key_id = k.id
                      UNION ALL
                      SELECT (e.recorded_at AT TIME ZONE 'UTC')::date, coalesce(e.model, ''), e.id,
                             e.requests, e.tokens, e.cost
                      FROM apikeys_data.open_entry e
                      WHERE e.key_id = k.id) u
                GROUP BY u.day, u.model) m) n
    GROUP BY n.day, n.model
) r;
COMMENT ON VIEW apikeys.usage_report IS 'Usage by UTC day, key and model, exact to the last committed entry; model is null for usage recorded without one, (other) beyond 1,000 a key and day.';

COMMENT ON COLUMN apikeys.usage_report.day IS 'Day in UTC on which it was recorded.';
COMMENT ON COLUMN apikeys.usage_report.key_id IS 'Key that was used.';
COMMENT ON COLUMN apikeys.usage_report.root_id IS 'First key of its family, the same after rotation.';
COMMENT ON COLUMN apikeys.usage_report.user_id IS 'User of the key, as it is now; null: none.';
COMMENT ON COLUMN apikeys.usage_report.team_id IS 'Team of the key, as it is now; null: none.';
COMMENT ON COLUMN apikeys.usage_report.external_id IS 'External id of the key, as it is now; null: none.';
COMMENT ON COLUMN apikeys.usage_report.budget_id IS 'Budget of the key, as it is now; null: none.';
COMMENT ON COLUMN apikeys.usage_report.model IS 'Model as it was recorded; null: none; (other): beyond 1,000 models of a key and day.';
COMMENT ON COLUMN apikeys.usage_report.requests IS 'Number of requests.';
COMMENT ON COLUMN apikeys.usage_report.tokens IS 'Sum of the tokens.';
COMMENT ON COLUMN apikeys.usage_report.cost IS 'Sum of the costs, in the unit of the application.';
