-- SPDX-License-Identifier: PostgreSQL

-- A key that leaked.  What takes a raw key, or a text that may have some, is
-- written in C, as apikey_verify is: SQL would pass it on to a statement, whose
-- plan and parameters may be logged.

CREATE FUNCTION apikey_identify(raw_key text) RETURNS SETOF apikeys_data.key_info
LANGUAGE C VOLATILE ROWS 1
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_identify(text)
IS 'The row of apikeys.info of a raw key, whatever its status; no row for any other text. This is no use of the key: nothing is counted or limited.';

CREATE FUNCTION apikey_revoke_raw(raw_key text, reason text = NULL) RETURNS uuid
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_revoke_raw(text, text)
IS 'Revokes a key for good, for who has only the raw key, and returns its id; null if there is no such key. A key that is revoked already stays as it is. Raises 22023 for an invalid reason.';

CREATE FUNCTION apikey_scan(document text) RETURNS SETOF apikeys_data.found_key
LANGUAGE C VOLATILE ROWS 10
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_scan(text)
IS 'Finds the generated keys in a text, such as a log or a dump: masked, with the place of each, and its id and status if it exists. Imported keys look like any other text and are not found.';
