-- SPDX-License-Identifier: PostgreSQL

-- What is shown of keys.

-- Usage is what has been rolled up and what has not: exact at any time,
-- since one statement sees both in one snapshot.  The planner leaves out a LEFT
-- JOIN of which nothing is asked, as when keys are counted; so idle_at, when a
-- key expires if it is not used any more, has a query of its own, which runs for
-- keys with an idle_timeout alone.  Of a derived key and its parent, the later
-- status in the order of the type holds.
CREATE VIEW apikeys_data.key_state AS
SELECT k.id,
       coalesce(k.root_id, k.id) AS root_id,
       k.rotated_from,
       k.key_prefix,
       k.name,
       k.description,
       k.user_id,
       k.team_id,
       k.budget_id,
       k.external_id,
       CASE WHEN k.parent_id IS NULL
            THEN apikeys.effective_status(k.revoked_at, least(k.expires_at, i.idle_at),
                                          k.enabled)::apikeys.key_status
            ELSE greatest(
                apikeys.effective_status(k.revoked_at, k.expires_at, k.enabled)::apikeys.key_status,
                coalesce((SELECT apikeys.effective_status(
                              o.revoked_at,
                              CASE WHEN o.idle_timeout IS NULL THEN o.expires_at
                                   ELSE apikeys.ends_at(o.expires_at, o.idle_timeout,
                                                        greatest(o.idle_since, o.created_at, apikeys.last_use(o.id),
                                                                 (SELECT max(v.last_used_at) FROM apikeys_data.usage v
                                                                  WHERE v.key_id = o.id))) END,
                              o.enabled AND apikeys_data.common_permissions(
                                  coalesce(p.permissions || o.permissions, o.permissions) || k.permissions,
                                  coalesce(p.permissions || o.permissions, o.permissions)) IS NOT NULL)::apikeys.key_status
                          FROM apikeys_data.key o LEFT JOIN apikeys_data.plan p ON p.name = o.plan
                          WHERE o.id = k.parent_id), 'revoked')) END AS status,
       k.permissions,
       k.rate_limits,
       k.metadata,
       k.allowed_ips,
       k.expires_at,
       k.idle_timeout,
       k.created_at,
       coalesce(k.updated_at, k.created_at) AS updated_at,
       k.revoked_at,
       k.revoke_reason,
       greatest(u.last_used_at, o.last_used_at, apikeys.last_use(k.id)) AS last_used_at,
       apikeys.last_used_ip(k.id, greatest(u.last_used_at, o.last_used_at),
                            CASE WHEN o.has_ip
                                 THEN (SELECT n.last_used_ip
                                       FROM apikeys_data.usage n
                                       WHERE n.key_id = k.id AND n.last_used_ip IS NOT NULL
                                       ORDER BY n.last_used_at DESC
                                       LIMIT 1)
                                 ELSE u.last_used_ip END) AS last_used_ip,
       coalesce(u.total_requests, 0) + coalesce(o.total_requests, 0) + e.requests AS total_requests,
       greatest(least(coalesce(u.total_tokens, 0) + coalesce(o.total_tokens, 0) + e.tokens, 9223372036854775807), 0)::bigint AS total_tokens,
       coalesce(u.total_cost, 0) + coalesce(o.total_cost, 0) + e.cost AS total_cost,
       d.requests + e.requests_today AS requests_today,
       greatest(least(d.tokens + e.tokens_today, 9223372036854775807), 0)::bigint AS tokens_today,
       d.cost + e.cost_today AS cost_today,
       k.plan,
       k.parent_id,
       k.enabled,
       i.idle_at
FROM apikeys_data.key k
CROSS JOIN LATERAL (
    SELECT CASE WHEN k.idle_timeout IS NOT NULL
                THEN apikeys.ends_at(NULL, k.idle_timeout,
                                     greatest(k.idle_since, k.created_at, apikeys.last_use(k.id),
                                              (SELECT max(v.last_used_at) FROM apikeys_data.usage v
                                               WHERE v.key_id = k.id))) END AS idle_at
) i
LEFT JOIN apikeys_data.usage u ON u.key_id = k.id AND u.node = apikeys.this_node()
-- A server that is alone looks for other nodes once, not for each key.  It is asked
-- twice: PostgreSQL 15 spares itself the sums by the outer condition, and later ones,
-- which ask it when they have the sums, spare themselves to look for rows by the inner.
LEFT JOIN LATERAL (
    SELECT s.*
    FROM (SELECT max(n.last_used_at) AS last_used_at,
                 count(n.last_used_ip) > 0 AS has_ip,
                 sum(n.total_requests)::bigint AS total_requests,
                 sum(n.total_tokens) AS total_tokens,
                 sum(n.total_cost) AS total_cost
          FROM apikeys_data.usage n
          WHERE n.key_id = k.id AND n.node <> apikeys.this_node()
            AND (apikeys.this_node() > 0 OR (SELECT max(a.node) FROM apikeys_data.usage a WHERE a.node > 0) > 0)) s
    WHERE apikeys.this_node() > 0 OR (SELECT max(a.node) FROM apikeys_data.usage a WHERE a.node > 0) > 0
) o ON true
LEFT JOIN LATERAL (
    SELECT coalesce(sum(m.requests), 0)::bigint AS requests,
           coalesce(sum(m.tokens), 0) AS tokens,
           coalesce(sum(m.cost), 0) AS cost
    FROM apikeys_data.usage_day m
    WHERE m.key_id = k.id AND m.day = apikeys.utc_today()
) d ON true
LEFT JOIN LATERAL (
    SELECT coalesce(sum(p.requests), 0) AS requests,
           coalesce(sum(p.tokens), 0) AS tokens,
           coalesce(sum(p.cost), 0) AS cost,
           coalesce(sum(p.requests) FILTER (WHERE p.today), 0) AS requests_today,
           coalesce(sum(p.tokens) FILTER (WHERE p.today), 0) AS tokens_today,
           coalesce(sum(p.cost) FILTER (WHERE p.today), 0) AS cost_today
    FROM (SELECT l.requests, l.tokens, l.cost,
                 (l.recorded_at AT TIME ZONE 'UTC')::date = apikeys.utc_today() AS today
          FROM apikeys_data.open_entry l
          WHERE l.key_id = k.id) p
) e ON true;
COMMENT ON VIEW apikeys_data.key_state IS 'What apikeys.info shows, and the rest that keys are found by.';

CREATE VIEW apikeys_data.key_info AS
SELECT s.id, s.root_id, s.rotated_from, s.key_prefix, s.name, s.description, s.user_id, s.team_id,
       s.budget_id, s.external_id, s.status, s.permissions, s.rate_limits, s.metadata, s.allowed_ips,
       s.expires_at, s.idle_timeout, s.created_at, s.updated_at, s.revoked_at, s.revoke_reason,
       s.last_used_at, s.last_used_ip, s.total_requests, s.total_tokens, s.total_cost, s.requests_today,
       s.tokens_today, s.cost_today, s.plan, s.parent_id
FROM apikeys_data.key_state s;
COMMENT ON VIEW apikeys_data.key_info IS 'What apikeys.info shows; read by the functions of the extension.';

-- For people.  No function reads it or returns its type: whoever can name a
-- view can keep its readers waiting, with CREATE RULE beside an open
-- transaction that has read it.
CREATE VIEW apikeys.info AS SELECT i.* FROM apikeys_data.key_info i;
COMMENT ON VIEW apikeys.info IS 'Keys for administrators, one row per key: no hashes; effective status, latest use and usage.';

COMMENT ON COLUMN apikeys.info.id IS 'Id of the key.';
COMMENT ON COLUMN apikeys.info.root_id IS 'Id of the first key of its family: the same after each rotation.';
COMMENT ON COLUMN apikeys.info.rotated_from IS 'Id of the key that it replaced by rotation, or null.';
COMMENT ON COLUMN apikeys.info.key_prefix IS 'Masked form of the raw key, to recognize it by.';
COMMENT ON COLUMN apikeys.info.name IS 'Name of the key; need not be unique.';
COMMENT ON COLUMN apikeys.info.description IS 'Free text, or null.';
COMMENT ON COLUMN apikeys.info.user_id IS 'Id of the user it belongs to, by your own reckoning, or null.';
COMMENT ON COLUMN apikeys.info.team_id IS 'Id of the team it belongs to, by your own reckoning, or null.';
COMMENT ON COLUMN apikeys.info.budget_id IS 'Id of the budget it spends from, or null.';
COMMENT ON COLUMN apikeys.info.external_id IS 'Its id in another system, or null.';
COMMENT ON COLUMN apikeys.info.status IS 'Effective status now.';
COMMENT ON COLUMN apikeys.info.permissions IS 'What the key itself says that it may do: allowed_models, allowed_endpoints, max_tokens_per_request, is_admin, custom_permissions; {} limits nothing.';
COMMENT ON COLUMN apikeys.info.rate_limits IS 'Its own limits: requests_per_minute, tokens_per_minute, requests_per_day, tokens_per_day, max_concurrent_requests, windows; {} means none.';
COMMENT ON COLUMN apikeys.info.metadata IS 'A JSON object for your own use.';
COMMENT ON COLUMN apikeys.info.allowed_ips IS 'Addresses and networks it may be used from; null means everywhere.';
COMMENT ON COLUMN apikeys.info.expires_at IS 'From when on it is expired; null or infinity: never.';
COMMENT ON COLUMN apikeys.info.idle_timeout IS 'It is expired when it has not been used for so long; null: may be idle for ever.';
COMMENT ON COLUMN apikeys.info.created_at IS 'When it was made, here or in the system it was imported from.';
COMMENT ON COLUMN apikeys.info.updated_at IS 'When its row was last changed.';
COMMENT ON COLUMN apikeys.info.revoked_at IS 'When it was revoked, or null.';
COMMENT ON COLUMN apikeys.info.revoke_reason IS 'Why it was revoked, as far as that was said; rotated: by its rotation without grace.';
COMMENT ON COLUMN apikeys.info.last_used_at IS 'Its latest use, or of a key that is derived from it, including one that is not yet written to disk; null if it was never used.';
COMMENT ON COLUMN apikeys.info.last_used_ip IS 'Address that verify was told at the latest use with one (client_ip); null if there was none.';
COMMENT ON COLUMN apikeys.info.total_requests IS 'Requests recorded by apikey_record_usage.';
COMMENT ON COLUMN apikeys.info.total_tokens IS 'Tokens recorded; at most 9223372036854775807.';
COMMENT ON COLUMN apikeys.info.total_cost IS 'Cost recorded, in the unit that the application uses.';
COMMENT ON COLUMN apikeys.info.requests_today IS 'Requests recorded today (UTC).';
COMMENT ON COLUMN apikeys.info.tokens_today IS 'Tokens recorded today (UTC).';
COMMENT ON COLUMN apikeys.info.cost_today IS 'Cost recorded today (UTC).';
COMMENT ON COLUMN apikeys.info.plan IS 'Name of its plan, or null. What its own permissions and rate_limits don''t say, they take from there.';
COMMENT ON COLUMN apikeys.info.parent_id IS 'Id of the key it was derived from, or null. What is not its own, it has from there, and usage is recorded there; without it, it is revoked.';

CREATE TYPE apikeys_data.found_key AS (
    key_prefix text,
    at_character integer,
    id uuid,
    status apikeys.key_status
);
COMMENT ON TYPE apikeys_data.found_key IS 'A key that apikey_scan has found in a text.';
COMMENT ON COLUMN apikeys_data.found_key.key_prefix IS 'Its masked form.';
COMMENT ON COLUMN apikeys_data.found_key.at_character IS 'Which character of the text it starts at, from 1.';
COMMENT ON COLUMN apikeys_data.found_key.id IS 'Id of the key; null if there is none: it was deleted, or is of another database.';
COMMENT ON COLUMN apikeys_data.found_key.status IS 'Effective status now; null if there is no such key.';
