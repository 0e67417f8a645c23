-- SPDX-License-Identifier: PostgreSQL

-- Changing budgets.

CREATE FUNCTION apikey_budget_create(
    name text, max_cost numeric = NULL, reset_every interval = NULL,
    warn_at numeric[] = NULL, starts_at timestamptz = NULL, time_zone text = 'UTC', metadata jsonb = '{}') RETURNS uuid
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_create(text, numeric, interval, numeric[], timestamptz, text, jsonb)
IS 'Makes a budget, a pool that keys share, and returns its id. max_cost is in any unit; without it nothing is limited, and without reset_every the budget is never reset. Raises 22023 for an invalid argument.';

CREATE FUNCTION apikey_budget_update(id uuid, changes jsonb) RETURNS apikeys_data.budget_info
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_update(uuid, jsonb)
IS 'Sets the members of a budget that the JSON object names (name, max_cost, reset_every), and returns its row of apikeys.budget_info. Raises P0002 for an unknown id, 22023 for an unknown or invalid member.';

CREATE FUNCTION apikey_budget_add(id uuid, amount numeric, note text = NULL) RETURNS apikeys_data.budget_info
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_add(uuid, numeric, text)
IS 'Adds to what may be spent of a budget in its period; a negative amount takes back what is left.';

CREATE FUNCTION apikey_budget_delete(id uuid) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_delete(uuid)
IS 'Deletes a budget. Revoked and expired keys lose their budget_id; raises 55000 if other keys have it, P0002 for an unknown id.';
