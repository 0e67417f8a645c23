-- SPDX-License-Identifier: PostgreSQL

-- Changing budgets.

CREATE FUNCTION apikey_budget_create(name text, max_cost numeric, reset_every interval = NULL) RETURNS uuid
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_create(text, numeric, interval)
IS 'Makes a budget, a pool of any unit that keys share.';

CREATE FUNCTION apikey_budget_update(id uuid, changes jsonb) RETURNS apikeys_data.budget_info
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_update(uuid, jsonb)
IS 'Changes the members of a budget that the document names.';

CREATE FUNCTION apikey_budget_delete(id uuid) RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_budget_delete(uuid)
IS 'Deletes a budget that no key points to.';
