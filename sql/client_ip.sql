-- client_ip: what proxies and drivers pass for the address of a client

SELECT apikey_import(digest('client-ip-' || name, 'sha256'), 'client_ip ' || name, name, allowed_ips => ips) IS NOT NULL AS made
FROM (VALUES ('none', '{255.255.255.255/32}'::inet[]), ('free', NULL)) AS k (name, ips);

-- The address that a text is taken for; null: for none, so that it counts as
-- not given.  A key that allows nobody names it.
CREATE FUNCTION test.address(client_ip text) RETURNS text LANGUAGE SQL AS $$
  SELECT CASE WHEN v.code <> 'FORBIDDEN' THEN 'code ' || v.code
              WHEN v.reason <> 'client address is required' THEN substring(v.reason FROM '^client address (.*) is not allowed$') END
  FROM apikey_verify('client-ip-none', client_ip => client_ip) v
$$;

\pset null none
\pset format unaligned
SELECT '"' || replace(replace(client_ip, E'\r', '\r'), E'\n', '\n') || '"' AS client_ip, test.address(client_ip) FROM unnest(ARRAY[
  -- IPv4: with a mask of full length, or a port
  '1.2.3.4', '0.0.0.0', '255.255.255.254', '1.2.3.4/32', '1.2.3.4:5678', '1.2.3.4:0', '1.2.3.4:65535',
  '1.2.3.4:65536', '1.2.3.4:123456', '1.2.3.4:', '1.2.3.4:x', '1.2.3.4:-1', '1.2.3.4:80:80', '1.2.3.4:80/32', '1.2.3.4/32:80',
  '1.2.3.4/24', '1.2.3.4/', '1.2.3.4/032', '1.2.3.4/33', '10.0.0.0/8', '1.2.3.4/32/32',
  '1.2.3', '1', '1.2.3.4.5', '1.2.3.256', '1.2.3.04', '0x1.2.3.4', '1.2.3.4.', '.1.2.3.4', '1..2.3', '-1.2.3.4', '1.2.3.4%eth0', '[1.2.3.4]', '[1.2.3.4]:80',
  -- IPv6: with a mask, in brackets, with a port, with a zone
  '2001:db8::1', '::', '::1', '2001:DB8:0:0:0:0:0:1', '2001:db8::1/128', '[2001:db8::1]', '[2001:db8::1]:443',
  'fe80::1%eth0', 'fe80::1%12', 'fe80::1%br-4f.100', 'fe80::1%25eth0', '[fe80::1%eth0]', '[fe80::1%eth0]:443', 'fe80::1%eth0/128', '1:2:3:4:5:6:7:8', '64:ff9b::1.2.3.4', '::1.2.3.4',
  'fe80::1%', 'fe80::1%eth0%eth0', 'fe80::1%eth 0', 'fe80::1/128%eth0', '2001:db8::1/64', '2001:db8::1/', '2001:db8::/32', '2001:db8::1/32',
  '[2001:db8::1', '2001:db8::1]', '2001:db8::1]:443', '[2001:db8::1]443', '[2001:db8::1]:', '[2001:db8::1]:65536', '[2001:db8::1]:443:443', '[2001:db8::1/128]', '[2001:db8::1]/128', '[[2001:db8::1]]', '[]', '[]:80', '[', ']',
  '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1::2::3', ':::', ':', '::g', '12345::', '::1.2.3', '::1.2.3.256', ':1', '1:',
  -- IPv4 in IPv6: IPv4, but not where it is a translation or deprecated
  '::ffff:10.0.0.1', '::FFFF:10.0.0.1', '::ffff:a00:1', '0:0:0:0:0:ffff:10.0.0.1', '::ffff:10.0.0.1/128', '[::ffff:10.0.0.1]:443', '::ffff:10.0.0.1%eth0', '::ffff:0:0',
  '::ffff:10.0.0.1/32', '::ffff:10.0.0.1/96', '::ffff:10.0.0.1:443', '::fffe:10.0.0.1', '::ffff:0:10.0.0.1', '1::ffff:10.0.0.1',
  -- blanks around it
  ' 1.2.3.4', '1.2.3.4 ', E'\t1.2.3.4 \t', ' [::1]:80 ', '1.2.3.4 :80', '1. 2.3.4', E'1.2.3.4\n', E'1.2.3.4\r\n', E'1.2.3.4\f', E'1.2.3.4\n5',
  repeat(' ', 121) || '1.2.3.4', repeat(' ', 122) || '1.2.3.4',
  -- what is no address
  '', ' ', E'\t', 'unknown', 'null', 'localhost', '_hidden', 'for=1.2.3.4', '"1.2.3.4"', '1.2.3.4, 5.6.7.8', '1.2.3.4,', 'unix:', 'unix:/run/socket', '@', '/', '%', '/32', ':80', '%eth0',
  E'\x01', NULL]) client_ip;
\pset format aligned
\pset null ''

-- Whatever the size, in memory or in a table, compressed or not.
CREATE TABLE test.client_ip (what text, client_ip text);
INSERT INTO test.client_ip VALUES ('long', repeat('1', 10000000)), ('blanks', repeat(' ', 100000) || '1.2.3.4'), ('incompressible', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 10000) i)), ('short', '10.1.2.3');
SELECT what, test.address(client_ip) IS NULL AS is_none FROM test.client_ip ORDER BY what;
SELECT code FROM apikey_verify('client-ip-none', client_ip => repeat('1', 1000000));
-- A key without a list does not look at it.
SELECT what, code FROM test.client_ip, apikey_verify('client-ip-free', client_ip => client_ip) ORDER BY what;

-- Random addresses are taken for what type inet takes them for, and what is
-- damaged never is an error.
SELECT count(*) FILTER (WHERE test.address(address) IS DISTINCT FROM host(CASE WHEN mapped THEN split_part(address, 'ffff:', 2) ELSE address END::inet)) AS differ,
       count(*) > 2000 AS many
FROM (
  SELECT address, address LIKE '::ffff:%' AS mapped FROM (
    SELECT concat_ws('.', b[1], b[2], b[3], b[4]) AS v4, left(regexp_replace(h, '(....)', '\1:', 'g'), -1) AS v6
    FROM (SELECT md5(i::text) AS h, ARRAY(SELECT get_byte(decode(md5(i::text), 'hex'), n) FROM generate_series(0, 3) n) AS b FROM generate_series(1, 500) i) r) r,
    unnest(ARRAY[v4, '::ffff:' || v4, '64:ff9b::' || v4, v6, regexp_replace(v6, '^(....:....):.*:(....)$', '\1::\2')]) address) a;
SELECT count(*) AS damaged, count(test.address(overlay(address PLACING c FROM at FOR length))) > 100 AS some_are_addresses
FROM unnest('{1.2.3.4,1.2.3.4:80,::ffff:10.0.0.1/128,[fe80::1%eth0]:443}'::text[]) address, generate_series(1, 12) at,
     regexp_split_to_table(E'[]%/:.0f ~\n\x01', '') c, generate_series(0, 2) length;

-- A list means the same in either form: which address is in which network?
WITH lists (list) AS (
  SELECT unnest('{10.0.0.0/8,10.1.2.3,10.1.2.3/8,0.0.0.0/0,::ffff:10.0.0.0/104,::ffff:10.1.2.3,::ffff:0:0/96,::ffff:0:0/95,::/0,2001:db8::/32,::1}'::inet[])
), made AS (
  SELECT list, 'client-ip-' || list AS key, apikey_import(digest('client-ip-' || list, 'sha256'), 'client_ip ' || list, 'x', allowed_ips => ARRAY[list, '192.0.2.1', '::ffff:192.0.2.2']) FROM lists
)
SELECT count(*) FROM made;
SELECT k.allowed_ips[1] AS list, array_agg(c.client_ip ORDER BY n) FILTER (WHERE v.valid) AS passes,
       array_agg(c.client_ip ORDER BY n) FILTER (WHERE NOT v.valid) AS does_not
FROM apikeys_data.key k,
     unnest('{10.1.2.3,11.0.0.1,::ffff:10.1.2.3,::ffff:11.0.0.1,2001:db8::5,::1,192.0.2.1,::ffff:192.0.2.2}'::text[]) WITH ORDINALITY c (client_ip, n),
     apikey_verify('client-ip-' || k.allowed_ips[1], client_ip => c.client_ip) v
WHERE k.key_prefix = 'x' AND k.name LIKE 'client!_ip %' ESCAPE '!'
GROUP BY k.allowed_ips[1] ORDER BY family(k.allowed_ips[1]), masklen(k.allowed_ips[1]), k.allowed_ips[1];

-- Of type inet: as text.
SELECT code, reason FROM apikey_verify('client-ip-none', client_ip => '10.1.2.3'::inet::text);
SELECT code, reason FROM apikey_verify('client-ip-none', client_ip => host('10.1.2.3'::inet));
SELECT * FROM test.errors($$SELECT apikey_login('client-ip-none', client_ip => 'unknown')$$, $$SELECT apikey_login('client-ip-none', client_ip => '[::ffff:1.2.3.4]:80')$$);

-- It stays with the last use, whatever its form.
CREATE FUNCTION test.used_from(client_ip text) RETURNS inet LANGUAGE plpgsql AS $$
DECLARE
  key record;
BEGIN
  SELECT * INTO key FROM apikey_generate('client_ip used');
  PERFORM apikey_verify(key.raw_key, client_ip => client_ip);
  RETURN (SELECT last_used_ip FROM apikey_get(key.id));
END $$;
SELECT client_ip, test.used_from(client_ip) IS NOT DISTINCT FROM CASE WHEN test.keeps_last_use() THEN ip END AS right
FROM (VALUES ('192.0.2.1', '192.0.2.1'::inet), ('255.255.255.255', '255.255.255.255'), ('192.0.2.1:80', '192.0.2.1'), ('::ffff:192.0.2.1', '192.0.2.1'), ('2001:db8::1', '2001:db8::1'),
  ('[fe80::1%eth0]:443', 'fe80::1'), ('::1', '::1'), ('64:ff9b::1.2.3.4', '64:ff9b::102:304'), ('::', NULL), ('nobody', NULL), ('', NULL), (NULL, NULL)) v (client_ip, ip);
-- What is refused is no use.
SELECT last_used_at, last_used_ip FROM apikey_get(test.id('client_ip none'));
-- Of two, that of the later use; a stored one if there is no other.
SELECT apikeys.last_used_ip(id, now(), '::1'), apikeys.last_used_ip(id, NULL, NULL), apikeys.last_used_ip(id, NULL, '::1'), apikeys.last_used_ip(NULL, now(), '::1')
FROM gen_random_uuid() id;
DELETE FROM apikeys_data.key WHERE name LIKE 'client!_ip %' ESCAPE '!';
