-- Who does not get the code that is to be expected.
\set ON_ERROR_STOP 1
SELECT g.what, g.code AS expected, v.code
FROM given g, apikey_verify(g.raw_key, model => 'a', client_ip => '10.0.0.1') v
WHERE v.code <> g.code
ORDER BY g.what COLLATE "C";
