-- SPDX-License-Identifier: PostgreSQL

-- Problems of stored windows; those of shared memory are compared with them there.

CREATE VIEW apikeys_data.window_problem AS
SELECT 'error'::text AS level, format('windows of %s', s.owner_id) AS object,
       'end after the row says that they do'::text AS problem
FROM apikeys_data.window_state s
WHERE s.ends_at < (SELECT max(timestamptz '2000-01-01 00:00+00'
                              + make_interval(secs => s.windows[6 * n + 4] / 1000000.0 + 2 * s.windows[6 * n + 2]))
                   FROM generate_series(0, cardinality(s.windows) / 6 - 1) n)
                  - interval '1 ms';
COMMENT ON VIEW apikeys_data.window_problem IS 'What is wrong with stored windows.';
