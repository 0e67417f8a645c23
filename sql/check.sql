SELECT * FROM apikeys.check();
\timing on
SELECT count(*) FROM apikeys.check();
