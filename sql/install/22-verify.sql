-- SPDX-License-Identifier: PostgreSQL

-- Is a key good now?

CREATE FUNCTION apikey_verify(
    raw_key text, model text = NULL, endpoint text = NULL,
    required_permissions text[] = NULL, tokens bigint = NULL,
    client_ip text = NULL, acquire_slot boolean = false,
    OUT valid boolean, OUT code text, OUT reason text, OUT id uuid, OUT root_id uuid,
    OUT name text, OUT key_prefix text, OUT user_id uuid, OUT team_id uuid,
    OUT budget_id uuid, OUT external_id text, OUT permissions jsonb,
    OUT rate_limits jsonb, OUT metadata jsonb, OUT expires_at timestamptz,
    OUT retry_after interval, OUT slot bigint) RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_verify(text, text, text, text[], bigint, text, boolean)
IS 'Says whether a key is good now, and good for what the other arguments say; what is not given is not checked. Always one row; call it in FROM.';

CREATE FUNCTION apikey_release(slot bigint) RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_release(bigint)
IS 'Gives a slot of apikey_verify back. True if it was held.';
