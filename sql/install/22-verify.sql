-- SPDX-License-Identifier: PostgreSQL

-- Is a key valid now?

CREATE FUNCTION apikey_verify(
    raw_key text, model text = NULL, endpoint text = NULL,
    required_permissions text[] = NULL, tokens bigint = NULL,
    client_ip text = NULL, reserve boolean = false, cost numeric = NULL,
    any_permissions text[] = NULL, budget_id uuid = NULL,
    OUT valid boolean, OUT code text, OUT reason text, OUT id uuid, OUT root_id uuid,
    OUT name text, OUT key_prefix text, OUT user_id uuid, OUT team_id uuid,
    OUT budget_id uuid, OUT external_id text, OUT permissions jsonb,
    OUT rate_limits jsonb, OUT metadata jsonb, OUT expires_at timestamptz,
    OUT retry_after integer, OUT reservation uuid, OUT limit_name text, OUT limit_max numeric,
    OUT limit_remaining numeric, OUT limit_resets_in integer,
    OUT budget_remaining numeric) RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_verify(text, text, text, text[], bigint, text, boolean, numeric, text[], uuid)
IS 'Checks whether a key is valid now, and valid for the request that the other arguments describe; what is null is not checked, except client_ip. reserve takes a reservation of tokens, cost and one of max_concurrent_requests, for apikey_record_usage or apikey_release. Always returns one row, for a text that is no key too; call it in FROM. Raises 22023 for an argument beyond its bounds, 53400 or 55000 if the limits of the key cannot be counted.';

CREATE FUNCTION apikey_release(reservation uuid) RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_release(uuid)
IS 'Gives back what a reservation of apikey_verify holds; true if it was held, false for null and for one that was settled or has timed out.';
