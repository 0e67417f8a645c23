-- SPDX-License-Identifier: PostgreSQL

-- What is shown of keys.

-- Usage is what has been rolled up and what has not: exact at any time,
-- since one statement sees both in one snapshot.
CREATE VIEW apikeys_data.key_info AS
SELECT k.id,
       k.root_id,
       k.rotated_from,
       k.key_prefix,
       k.name,
       k.description,
       k.user_id,
       k.team_id,
       k.budget_id,
       k.external_id,
       apikeys.effective_status(k.revoked_at, k.expires_at, k.enabled)::apikeys.key_status AS status,
       k.permissions,
       k.rate_limits,
       k.metadata,
       k.allowed_ips,
       k.expires_at,
       k.created_at,
       k.updated_at,
       k.revoked_at,
       greatest(u.last_used_at, apikeys.last_use(k.id)) AS last_used_at,
       coalesce(u.total_requests, 0) + e.requests AS total_requests,
       greatest(least(coalesce(u.total_tokens, 0) + e.tokens, 9223372036854775807), 0)::bigint AS total_tokens,
       coalesce(u.total_cost, 0) + e.cost AS total_cost,
       d.requests + e.requests_today AS requests_today,
       greatest(least(d.tokens + e.tokens_today, 9223372036854775807), 0)::bigint AS tokens_today,
       d.cost + e.cost_today AS cost_today
FROM apikeys_data.key k
LEFT JOIN apikeys_data.usage u ON u.key_id = k.id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(m.requests), 0)::bigint AS requests,
           coalesce(sum(m.tokens), 0) AS tokens,
           coalesce(sum(m.cost), 0) AS cost
    FROM apikeys_data.usage_day m
    WHERE m.key_id = k.id AND m.day = apikeys.utc_today()
) d
CROSS JOIN LATERAL (
    SELECT coalesce(sum(p.requests), 0) AS requests,
           coalesce(sum(p.tokens), 0) AS tokens,
           coalesce(sum(p.cost), 0) AS cost,
           coalesce(sum(p.requests) FILTER (WHERE p.today), 0) AS requests_today,
           coalesce(sum(p.tokens) FILTER (WHERE p.today), 0) AS tokens_today,
           coalesce(sum(p.cost) FILTER (WHERE p.today), 0) AS cost_today
    FROM (SELECT l.requests, l.tokens, l.cost,
                 (l.recorded_at AT TIME ZONE 'UTC')::date = apikeys.utc_today() AS today
          FROM apikeys_data.usage_entry l
          WHERE l.key_id = k.id) p
) e;
COMMENT ON VIEW apikeys_data.key_info IS 'What apikeys.info shows; read by the functions of the extension.';

-- For people.  No function reads it or returns its type: whoever can name a
-- view can keep its readers waiting, with CREATE RULE beside an open
-- transaction that has read it.
CREATE VIEW apikeys.info AS SELECT i.* FROM apikeys_data.key_info i;
COMMENT ON VIEW apikeys.info IS 'Keys for administrators: no hashes; effective status, latest use and usage.';
