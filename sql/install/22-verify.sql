-- SPDX-License-Identifier: PostgreSQL

-- Is a key valid now?

CREATE FUNCTION apikey_verify(
    raw_key text, model text = NULL, endpoint text = NULL,
    required_permissions text[] = NULL, tokens bigint = NULL,
    client_ip text = NULL, reserve boolean = false, cost numeric = NULL,
    any_permissions text[] = NULL, budget_id uuid = NULL) RETURNS apikeys_data.verify_result
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_verify(text, text, text, text[], bigint, text, boolean, numeric, text[], uuid)
IS 'Checks whether a key is valid now, and valid for the request that the other arguments describe; what is null is not checked, except client_ip. reserve takes a reservation of tokens, cost and one of max_concurrent_requests, for apikey_record_usage or apikey_release. Always returns one row, for a text that is no key too; call it in FROM. Raises 22023 for an argument beyond its bounds, 53400 or 55000 if the limits of the key cannot be counted.';

CREATE FUNCTION apikey_check(
    raw_key text, model text = NULL, endpoint text = NULL,
    required_permissions text[] = NULL, tokens bigint = NULL,
    client_ip text = NULL, reserve boolean = false, cost numeric = NULL,
    any_permissions text[] = NULL, budget_id uuid = NULL) RETURNS text
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_check(text, text, text, text[], bigint, text, boolean, numeric, text[], uuid)
IS 'The code of apikey_verify alone, whose arguments it takes: VALID, or why not; never null. It counts as a verify, and spends what one spends; what it reserves stands until it times out, since its id is not returned. Raises what apikey_verify raises.';

CREATE FUNCTION apikey_release(reservation uuid) RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_release(uuid)
IS 'Gives back what a reservation of apikey_verify holds; true if it was held, false for null and for one that was settled or has timed out.';
