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
#include "model/json_document.h"
#include "store/budgets.h"
#include "store/events.h"

PG_FUNCTION_INFO_V1(apikey_budget_create);
PG_FUNCTION_INFO_V1(apikey_budget_update);
PG_FUNCTION_INFO_V1(apikey_budget_delete);

/* Raises P0002. */
static void
raise_budget_not_found(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("budget not found"),
			 errdetail("There is no budget with id %s.",
					   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))))));
}

/*
 * Locks the budget whose id is argument 0; returns the id, and its
 * configuration.  Raises P0002, 22023.
 */
static pg_uuid_t *
lock_budget(FunctionCallInfo fcinfo, bool for_deletion, BudgetConfig *config)
{
	pg_uuid_t  *id;

	require_not_null(fcinfo, 0, "id");
	id = PG_GETARG_UUID_P(0);
	if (!store_lock_budget(id, for_deletion, config))
		raise_budget_not_found(id);
	return id;
}

/*
 * Makes the configuration of a budget after the changes of argument 1; returns
 * whether it is another one.  Raises 22023.
 */
static bool
change_config(FunctionCallInfo fcinfo, BudgetConfig *config)
{
	BudgetConfig present = *config;

	budget_config_change(config, PG_GETARG_JSONB_P(1), GetCurrentTimestamp());
	return !budget_config_equal(config, &present);
}

/*
 * apikey_budget_create(name text, max_cost numeric, reset_every interval,
 * starts_at timestamptz, time_zone text, metadata jsonb): uuid
 */
Datum
apikey_budget_create(PG_FUNCTION_ARGS)
{
	BudgetConfig config;
	pg_uuid_t  *id;
	TimestampTz now = GetCurrentTimestamp();

	budget_config_from_arguments(&config, fcinfo, now);

	id = DatumGetUUIDP(DirectFunctionCall1(gen_random_uuid, (Datum) 0));
	store_insert_budget(id, &config, now);

	PG_RETURN_UUID_P(id);
}

/*
 * apikey_budget_update(id uuid, changes jsonb): a row as of
 * apikeys.budget_info.  What changes nothing locks nothing.
 */
Datum
apikey_budget_update(PG_FUNCTION_ARGS)
{
	BudgetConfig config;
	pg_uuid_t  *id;
	bool		changes;

	require_not_null(fcinfo, 0, "id");
	require_not_null(fcinfo, 1, "changes");
	json_document_check_size("changes", PG_GETARG_DATUM(1), JSON_CHANGES_MAX_BYTES);
	id = PG_GETARG_UUID_P(0);
	if (!store_read_budget(id, &config))
		raise_budget_not_found(id);
	changes = change_config(fcinfo, &config);
	if (changes)
	{
		lock_budget(fcinfo, false, &config);
		changes = change_config(fcinfo, &config);
	}

	if (changes)
		store_update_budget(id, &config, GetCurrentTimestamp());
	else
		store_add_budget_unchanged(id, GetCurrentTimestamp());

	PG_RETURN_DATUM(store_budget_info(id));
}

/* Raises 55000 if a key that is neither revoked nor expired has a budget. */
static void
check_no_live_keys(const pg_uuid_t *id, const BudgetConfig *config, TimestampTz now)
{
	if (store_budget_has_live_keys(id, now))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot delete budget \"%s\" because keys point to it",
						TextDatumGetCString(config->values[BUDGET_NAME])),
				 errhint("Give them another budget_id, or null, or revoke them.")));
}

/*
 * apikey_budget_delete(id uuid): void.  The second check is for an expired key
 * whose life was extended while its row was waited for: it has not been
 * detached.
 */
Datum
apikey_budget_delete(PG_FUNCTION_ARGS)
{
	BudgetConfig config;
	pg_uuid_t  *id = lock_budget(fcinfo, true, &config);
	TimestampTz now = GetCurrentTimestamp();

	check_no_live_keys(id, &config, now);
	store_delete_budget(id, now);
	check_no_live_keys(id, &config, now);

	PG_RETURN_VOID();
}
