-- A table of a million rows of a thousand owners, with a policy for each way
-- to say who is asking.  Each way is a role.

SET client_min_messages = warning;

CREATE TABLE bench.note AS
SELECT bench.id(-(1 + i % 1000)) AS owner, i FROM generate_series(1, 1000000) i;
CREATE INDEX note_owner_idx ON bench.note (owner);
ALTER TABLE bench.note ENABLE ROW LEVEL SECURITY;
VACUUM (FREEZE, ANALYZE) bench.note;

CREATE ROLE setting;
CREATE ROLE setting_once;
CREATE ROLE key;
CREATE ROLE key_once;
GRANT USAGE ON SCHEMA bench TO setting, setting_once, key, key_once;
GRANT SELECT ON bench.note TO setting, setting_once, key, key_once;
GRANT EXECUTE ON FUNCTION apikey_current_user_id TO key, key_once;

CREATE POLICY setting ON bench.note TO setting
USING (owner = current_setting('app.user_id')::uuid);
CREATE POLICY setting_once ON bench.note TO setting_once
USING (owner = (SELECT current_setting('app.user_id')::uuid));
CREATE POLICY key ON bench.note TO key
USING (owner = apikey_current_user_id());
CREATE POLICY key_once ON bench.note TO key_once
USING (owner = (SELECT apikey_current_user_id()));
