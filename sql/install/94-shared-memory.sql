-- SPDX-License-Identifier: PostgreSQL

-- Shared memory may know keys of an earlier installation in this database: DROP
-- EXTENSION in a session that has not loaded the library tells nobody of it.
CREATE FUNCTION apikeys_data.forget_database() RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'apikeys_forget_database';
SELECT apikeys_data.forget_database();
DROP FUNCTION apikeys_data.forget_database();
