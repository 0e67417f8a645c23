/*-------------------------------------------------------------------------
 *
 * budgets.c
 *	  Creates, changes and deletes budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "model/budget_config.h"
#include "store/budgets.h"

PG_FUNCTION_INFO_V1(apikey_budget_create);
PG_FUNCTION_INFO_V1(apikey_budget_update);
PG_FUNCTION_INFO_V1(apikey_budget_delete);

/*
 * Locks the budget whose id is argument 0; returns the id, and its
 * configuration.  Raises P0002, 22023.
 */
static pg_uuid_t *
lock_budget(FunctionCallInfo fcinfo, BudgetConfig *config)
{
	pg_uuid_t  *id;

	require_not_null(fcinfo, 0, "id");
	id = PG_GETARG_UUID_P(0);
	if (!store_lock_budget(id, config))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("budget not found"),
				 errdetail("There is no budget with id %s.",
						   DatumGetCString(DirectFunctionCall1(uuid_out,
															   UUIDPGetDatum(id))))));
	return id;
}

/*
 * apikey_budget_create(name text, max_cost numeric, reset_every interval):
 * uuid
 */
Datum
apikey_budget_create(PG_FUNCTION_ARGS)
{
	BudgetConfig config;
	pg_uuid_t  *id;

	budget_config_from_arguments(&config, fcinfo);

	id = DatumGetUUIDP(DirectFunctionCall1(gen_random_uuid, (Datum) 0));
	store_insert_budget(id, &config, GetCurrentTimestamp());

	PG_RETURN_UUID_P(id);
}

/*
 * apikey_budget_update(id uuid, changes jsonb): a row as of
 * apikeys.budget_info
 */
Datum
apikey_budget_update(PG_FUNCTION_ARGS)
{
	BudgetConfig config;
	pg_uuid_t  *id;

	require_not_null(fcinfo, 1, "changes");
	id = lock_budget(fcinfo, &config);
	budget_config_change(&config, PG_GETARG_JSONB_P(1));
	store_update_budget(id, &config, GetCurrentTimestamp());

	PG_RETURN_DATUM(store_budget_info(id));
}

/* apikey_budget_delete(id uuid): void */
Datum
apikey_budget_delete(PG_FUNCTION_ARGS)
{
	BudgetConfig config;
	pg_uuid_t  *id = lock_budget(fcinfo, &config);

	if (store_budget_has_keys(id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot delete budget \"%s\" because keys point to it",
						TextDatumGetCString(config.values[BUDGET_NAME])),
				 errhint("Give them another budget_id, or null; delete those that are revoked.")));
	store_delete_budget(id, GetCurrentTimestamp());

	PG_RETURN_VOID();
}
