-- From the results, on standard input, to the lines of the report.

SET client_min_messages = warning;

CREATE TEMP TABLE result (
    n integer GENERATED ALWAYS AS IDENTITY,
    measure text, who text, round integer, value float8);
\copy result (measure, who, round, value) from pstdin

CREATE TEMP TABLE measure (
    n integer GENERATED ALWAYS AS IDENTITY,
    measure text, title text, unit text, looped boolean DEFAULT false);
INSERT INTO measure (measure, title, unit, looped) VALUES
    ('expression', 'In the backend, (f(k)).valid', 'µs', true),
    ('checks', 'In the backend, with everything checked', 'µs', true),
    ('from', 'In the backend, FROM f(k)', 'µs', true),
    ('1 client', 'End to end, 1 client', '/s', false),
    (:'cores' || ' clients', 'End to end, ' || :'cores' || ' clients', '/s', false),
    ('hot', 'One hot key, 16 clients, transactions of 5 ms', '/s', false),
    ('WAL', 'WAL a verify, each the first use in 5 minutes', 'bytes', false),
    ('row locks', 'Rows locked or changed a verify, each the first use in 5 minutes', '', false),
    ('size', 'In the backend, by number of keys', 'µs', true),
    ('index', 'Index on the hash', 'MB', false),
    ('100 clients', 'End to end, 100 clients, 1,000 keys', '/s', false),
    ('changes, 1 clients', 'Median verify of 1,000 keys, 1 client, beside changes of other keys', 'µs', false),
    ('hits, 1 clients', 'Hits meanwhile', '', false),
    ('changes, 50 clients', 'The same, 50 clients that share 5,000 a second', 'µs', false),
    ('hits, 50 clients', 'Hits meanwhile', '', false),
    ('many changes', 'A statement that changes 100,000 keys', 'ms', false),
    ('policy', 'A policy on a million rows, no index', 'ms', false),
    ('policy, index', 'A policy on a million rows, index on the owner', 'ms', false),
    ('memory', 'Memory of a backend, 100,000 keys', 'MB', false),
    ('usage, 1 client', 'Usage recorded, one a transaction, 1 client', '/s', false),
    ('usage, 8 clients', 'Usage recorded, one a transaction, 8 clients', '/s', false),
    ('usage, WAL', 'WAL of recorded usage, without the commit', 'bytes', false),
    ('Node, 1 client', 'From Node, 1 connection', '/s', false),
    ('Node, ' || :'cores' || ' clients', 'From Node, ' || :'cores' || ' connections', '/s', false),
    ('one by one', 'Keys generated, one a transaction', '/s', false),
    ('in bulk', 'Keys made, 100,000 a statement', '/s of CPU', false),
    ('clean-up', '100,000 expired keys deleted', 'µs of CPU a key', false),
    ('revocation', '100,000 keys revoked', 'µs of CPU a key', false),
    ('bytes', 'Bytes a key', 'bytes', false);

INSERT INTO measure (measure, title, unit)
SELECT k.measure || ', ' || c.n, format('%s, %s', k.title, CASE c.n WHEN 1 THEN '1 client' ELSE c.n || ' clients' END), k.unit
FROM (VALUES (1), (2), (8), (32)) c(n)
CROSS JOIN (VALUES ('statement', 'A statement end to end', '/s'),
                   ('p99', 'The same, the slowest hundredth', 'µs')) k(measure, title, unit)
ORDER BY c.n, k.unit;

-- What a call costs in the backend is net of the loop of the same round; a
-- size has a loop of its own.
CREATE TEMP VIEW net AS
SELECT r.n, r.measure, r.who, r.round,
       (r.value - coalesce(l.value, 0))
       / CASE m.measure WHEN 'index' THEN 1048576 WHEN 'memory' THEN 1024 ELSE 1 END AS value
FROM result r
JOIN measure m USING (measure)
LEFT JOIN result l ON m.looped AND l.measure = r.measure AND l.round = r.round
    AND l.who = regexp_replace(r.who, '^[^,]*', 'loop')
WHERE NOT (m.looped AND r.who LIKE 'loop%');

CREATE TEMP TABLE target (
    n integer GENERATED ALWAYS AS IDENTITY,
    measure text, who text, against text, sense text, bound float8,
    difference boolean DEFAULT false);
INSERT INTO target (measure, who, against, sense, bound) VALUES
    ('expression', 'hit', 'hmac()', 'at most', 2.5),
    ('expression', 'PL/pgSQL', 'hit', 'at least', 3),
    ('expression', 'hit', 'cache off', 'at most', 0.5),
    ('checks', 'every check', 'hit', 'at most', 1.3),
    ('checks', 'every check, reserved', 'hit', NULL, NULL),
    ('checks', 'every check, three budgets', 'hit', NULL, NULL),
    ('checks', 'every check, three budgets, reserved', 'hit', 'at most', 3),
    ('from', 'hit', 'floor', NULL, NULL),
    ('from', 'PL/pgSQL', 'hit', NULL, NULL),
    ('1 client', 'hit', 'floor', 'at least', 0.93),
    ('1 client', 'hit', 'PL/pgSQL', NULL, NULL),
    (:'cores' || ' clients', 'hit', 'floor', 'at least', 0.93),
    (:'cores' || ' clients', 'hit', 'PL/pgSQL', NULL, NULL),
    ('hot', 'hit', 'floor', 'at least', 0.95),
    ('hot', 'PL/pgSQL', 'floor', NULL, NULL),
    ('hot', 'PL/pgSQL, each use written', 'floor', NULL, NULL),
    ('WAL', 'hit', NULL, 'at most', 0),
    ('row locks', 'hit', NULL, 'at most', 0),
    ('100 clients', 'hit', 'floor', 'at least', 0.7),
    ('changes, 1 clients', '1,000 changes a second', 'quiet', 'at most', 1.1),
    ('changes, 1 clients', '1,000 changes a second', '1,000 new keys a second', NULL, NULL),
    ('hits, 1 clients', '1,000 changes a second', NULL, 'at least', 0.99),
    ('changes, 50 clients', '1,000 changes a second', 'quiet', 'at most', 1.1),
    ('changes, 50 clients', '1,000 changes a second', '1,000 new keys a second', NULL, NULL),
    ('hits, 50 clients', '1,000 changes a second', NULL, 'at least', 0.99),
    ('many changes', 'fence', 'no fence', 'at most', 1.1),
    ('policy', 'apikey_current_user_id()', 'current_setting()', 'at most', 1),
    ('policy', '(SELECT apikey_current_user_id())', '(SELECT current_setting())', NULL, NULL),
    ('policy', '(SELECT apikey_current_user_id())', 'apikey_current_user_id()', NULL, NULL),
    ('policy, index', 'apikey_current_user_id()', 'current_setting()', NULL, NULL),
    ('memory', '1.5 million verifies', '1.0 million verifies', 'at most', 1.01),
    ('Node, 1 client', 'hit', 'better-auth', NULL, NULL),
    ('Node, ' || :'cores' || ' clients', 'hit', 'better-auth', NULL, NULL),
    ('one by one', 'apikey_generate', 'INSERT', NULL, NULL),
    ('in bulk', 'apikey_generate', 'INSERT', NULL, NULL),
    ('in bulk', 'apikey_generate_many', 'INSERT', 'at least', 0.5),
    ('in bulk', 'apikey_import_many', 'INSERT', 'at least', 0.5),
    ('clean-up', 'apikey_cleanup_expired', 'DELETE', 'at most', 3),
    ('clean-up', 'apikey_cleanup_expired', 'DELETE, and INSERT of events', NULL, NULL),
    ('revocation', 'apikey_revoke_where', 'UPDATE', 'at most', 3),
    ('bytes', '1M keys, with indexes', NULL, 'at most', 350);
INSERT INTO target (measure, who, against, sense, bound)
SELECT 'size', v.who || s.size, v.who || ', 1K keys', 'at most', v.bound
FROM (SELECT substring(who FROM ',.*') AS size, min(n) AS n FROM result
      WHERE measure = 'size' GROUP BY 1) s
CROSS JOIN (VALUES ('hit', 1.05), ('cache off', 1.5), ('unknown key', 1.5)) v(who, bound)
WHERE s.size <> ', 1K keys'
ORDER BY v.bound, v.who, s.n;

INSERT INTO target (measure, who, against, sense, bound)
SELECT r.measure, r.who, r.who || ', INSERT', CASE r.measure WHEN 'usage, WAL' THEN NULL ELSE 'at least' END,
       CASE r.measure WHEN 'usage, WAL' THEN NULL ELSE 0.7 END
FROM result r
WHERE r.measure LIKE 'usage, %' AND r.round = 1 AND r.who NOT LIKE '%, INSERT'
ORDER BY r.n;

INSERT INTO target (measure, who, against, sense, bound, difference)
SELECT k.measure || ', ' || c.n, w.who, 'no call', k.sense, coalesce(k.bound, w.bound), k.difference
FROM (VALUES (1), (2), (8), (32)) c(n)
CROSS JOIN (VALUES ('statement', 'at least', NULL, false), ('p99', 'at most', 50, true)) k(measure, sense, bound, difference)
CROSS JOIN (VALUES ('apikey_check', 0.96), ('four columns', 0.92), ('all columns', 0.88)) w(who, bound)
ORDER BY c.n, w.bound DESC;

-- A ratio, or a difference, is taken within a round.
CREATE TEMP VIEW ratio AS
SELECT t.n, t.measure, concat_ws(CASE WHEN t.difference THEN ' - ' ELSE ' / ' END, t.who, t.against) AS who,
       t.sense, t.bound,
       CASE WHEN t.against IS NULL THEN a.value WHEN t.difference THEN a.value - b.value ELSE a.value / b.value END AS value
FROM target t
JOIN net a ON a.measure = t.measure AND a.who = t.who
LEFT JOIN net b ON b.measure = t.measure AND b.who = t.against
    AND (b.round = a.round)
WHERE t.against IS NULL OR b.value IS NOT NULL;

-- Three digits that count.
CREATE FUNCTION pg_temp.show(v float8) RETURNS text LANGUAGE SQL AS $$
    SELECT CASE WHEN v = 0 THEN '0'
                WHEN abs(v) >= 1000 THEN to_char(v, 'FM999G999G990')
                WHEN abs(v) >= 100 THEN to_char(v, 'FM990')
                WHEN abs(v) >= 10 THEN to_char(v, 'FM90.0')
                WHEN abs(v) >= 1 THEN to_char(v, 'FM0.00')
                ELSE to_char(v, 'FM0.000') END
$$;

CREATE TEMP VIEW figure AS
SELECT m.n AS measure_n, 1 AS part, min(f.n) AS n, m.measure, f.who,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY f.value) AS median,
       min(f.value) AS least, max(f.value) AS most, m.unit, NULL AS sense, NULL::float8 AS bound
FROM net f JOIN measure m USING (measure)
GROUP BY m.n, m.measure, m.unit, f.who
UNION ALL
SELECT m.n, 2, r.n, m.measure, r.who,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY r.value),
       min(r.value), max(r.value), '', r.sense, r.bound
FROM ratio r JOIN measure m USING (measure)
GROUP BY m.n, r.n, m.measure, r.who, r.sense, r.bound;

CREATE TEMP VIEW plot AS
SELECT measure, row_number() OVER (PARTITION BY measure ORDER BY n) AS place,
       format('"%s"', replace(who, ', ', '\n')) AS label, median, least, most
FROM figure WHERE part = 1;

CREATE TEMP VIEW report AS
SELECT measure_n, part, n, who AS what,
       pg_temp.show(median) || ' ' || unit AS median,
       CASE WHEN least < most THEN pg_temp.show(least) || ' .. ' || pg_temp.show(most) ELSE '' END AS spread,
       coalesce(sense || ' ' || bound, '') AS target,
       CASE WHEN bound IS NULL THEN ''
            WHEN CASE sense WHEN 'at most' THEN median <= bound ELSE median >= bound END
            THEN 'reached' ELSE 'missed' END AS verdict
FROM figure
WHERE measure <> 'memory' OR part = 2 OR who ~ '^(0.1|1.0|1.5)'
UNION ALL
SELECT n, 0, 0, title, '', '', '', ''
FROM measure WHERE measure IN (SELECT measure FROM result);
