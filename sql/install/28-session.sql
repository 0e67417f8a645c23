-- SPDX-License-Identifier: PostgreSQL

-- The identity of a transaction.  It is in this backend's memory alone, which
-- no parallel worker sees: hence PARALLEL RESTRICTED.

CREATE FUNCTION apikey_login(
    raw_key text, model text = NULL, endpoint text = NULL,
    required_permissions text[] = NULL, tokens bigint = NULL,
    client_ip text = NULL, reserve boolean = false, cost numeric = NULL,
    any_permissions text[] = NULL, budget_id uuid = NULL) RETURNS apikeys_data.verify_result
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_login(text, text, text, text[], bigint, text, boolean, numeric, text[], uuid)
IS 'Makes a key the identity of the running transaction, and returns the row of apikey_verify, whose arguments it takes. Raises 28000, with the code in DETAIL, unless the key is valid for the request.';

CREATE FUNCTION apikey_logout() RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_logout()
IS 'Ends the login of the running transaction.';

CREATE FUNCTION apikey_current_id() RETURNS uuid
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_id()
IS 'Id of the key that the running transaction has logged in with, or null.';

CREATE FUNCTION apikey_current_root_id() RETURNS uuid
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_root_id()
IS 'root_id of the key that the running transaction has logged in with, the same after each rotation, or null.';

CREATE FUNCTION apikey_current_user_id() RETURNS uuid
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_user_id()
IS 'user_id of the key that the running transaction has logged in with, or null.';

CREATE FUNCTION apikey_current_team_id() RETURNS uuid
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_team_id()
IS 'team_id of the key that the running transaction has logged in with, or null.';

CREATE FUNCTION apikey_current_external_id() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_external_id()
IS 'external_id of the key that the running transaction has logged in with, or null.';

CREATE FUNCTION apikey_current_has_permission(permission text) RETURNS boolean
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_current_has_permission(text)
IS 'True if the key that the running transaction has logged in with has a permission or is an admin''s; false without a login.';
