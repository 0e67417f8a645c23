-- SPDX-License-Identifier: PostgreSQL

-- Changing budgets.

CREATE FUNCTION apikey_budget_create(
    name text, max_cost numeric = NULL, reset_every interval = NULL,
    parent_id uuid = NULL, rate_limits jsonb = '{}', warn_at numeric[] = NULL,
    starts_at timestamptz = NULL, time_zone text = 'UTC', metadata jsonb = '{}') RETURNS uuid
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_create(text, numeric, interval, uuid, jsonb, numeric[], timestamptz, text, jsonb)
IS 'Makes a budget, a pool that keys share, and returns its id. max_cost is in any unit; without it nothing is limited, and without reset_every the budget is never reset. What is spent of it is spent of parent_id as well. Raises 22023 for an invalid argument and a fifth level, 23503 for a parent_id that names no budget.';

CREATE FUNCTION apikey_budget_update(id uuid, changes jsonb) RETURNS apikeys_data.budget_info
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_update(uuid, jsonb)
IS 'Sets the members of a budget that the JSON object names, those of apikey_budget_create, and returns its row of apikeys.budget_info. Raises P0002 for an unknown id, 22023 for an unknown or invalid member, a fifth level and a budget above itself, 23503 for a parent_id that names no budget.';

CREATE FUNCTION apikey_budget_add(id uuid, amount numeric, note text = NULL) RETURNS apikeys_data.budget_info
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_add(uuid, numeric, text)
IS 'Adds to what may be spent of a budget in its period; a negative amount takes back what is left. Raises P0002 for an unknown id, 22023 for an invalid amount or note and for more than is left, 55000 for a budget without max_cost.';

CREATE FUNCTION apikey_budget_delete(id uuid) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_delete(uuid)
IS 'Deletes a budget. Revoked and expired keys lose their budget_id; raises 55000 if other keys have it, 23503 if other budgets do as parent_id, P0002 for an unknown id.';
