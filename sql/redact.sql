-- Raw keys in messages and in what the server shows of statements.  These are
-- keys by their checksum; a text that is none stays as it is.
\set key gw-regress0redaction0test0key1Kljql
\set other My_app-regress0redaction0test0key2WPvfH
\set none gw-nothing0to0hide0in0this0text0000

-- Without preloading, a session is covered from its first call on.
SELECT code FROM apikey_verify('none');
-- Where the server is set not to, redact_1.out ends here.
SELECT current_setting('apikeys.redact_log') = 'on' AS redacts \gset
\if :redacts
\else
\quit
\endif
SHOW apikeys.redact_log;
SET apikeys.redact_log = off;

-- Messages that are logged.
DO $$ BEGIN RAISE WARNING 'gw-regress0redaction0test0key1Kljql and My_app-regress0redaction0test0key2WPvfH' USING DETAIL = 'key=gw-regress0redaction0test0key1Kljql&x=gw-nothing0to0hide0in0this0text0000', HINT = 'xMy_app-regress0redaction0test0key2WPvfHyMy_app-regress0redaction0test0key2WPvfH'; END $$;
DO $$ BEGIN RAISE EXCEPTION 'gw-regress0redaction0test0key1Kljqlgw-regress0redaction0test0key1Kljql'; END $$;
DO $$ BEGIN EXECUTE 'SELECT ''gw-regress0redaction0test0key1Kljql''::int'; END $$;

-- Pieces of a key that is in the statement: without quotes, in lower case, cut.
DO $$ BEGIN RAISE WARNING 'Regress0Redact0, on0test0key1, on0test' USING DETAIL = 'egress0redaction0test0key1Kljq, gw-regress0redaction0test0key1Kljql', HINT = 'the last is redaction0test0key1'; END $$;
SELECT '["text text text text text text My_app-regress0redaction0test0key2WPvfH", 1, 2, 3, 4, 5, text]'::jsonb IS NULL AS none;
SELECT gw-7Egress0redaction0test0key3FGm6B;
SELECT skRegress0REDACTION0test0key4jwBVI;

-- Pieces of a key that is in the message alone.
DO $$ BEGIN EXECUTE 'SELECT skRegress0REDACTION0' || 'test0key4jwBVI'; END $$;

-- Results are not messages.
SELECT :'key' AS key;

-- What the server shows of statements.
SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND 'gw-regress0redaction0test0key1Kljql' <> 'gw-nothing0to0hide0in0this0text0000';
PREPARE p AS SELECT code FROM apikey_verify('My_app-regress0redaction0test0key2WPvfH');
SELECT statement FROM pg_prepared_statements WHERE name = 'p';
EXECUTE p;
BEGIN;
DECLARE c CURSOR FOR SELECT 'gw-regress0redaction0test0key1Kljql' AS key;
SELECT statement FROM pg_cursors WHERE name = 'c';
FETCH c;
COMMIT;
