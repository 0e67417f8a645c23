/*-------------------------------------------------------------------------
 *
 * budgets.c
 *	  Creates, changes, tops up and deletes budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "api/text_argument.h"
#include "base/arguments.h"
#include "model/budget_config.h"
#include "model/json_document.h"
#include "model/key_config.h"
#include "store/advisory_locks.h"
#include "store/budget_tree.h"
#include "store/budgets.h"
#include "store/events.h"

PG_FUNCTION_INFO_V1(apikey_budget_create);
PG_FUNCTION_INFO_V1(apikey_budget_update);
PG_FUNCTION_INFO_V1(apikey_budget_add);
PG_FUNCTION_INFO_V1(apikey_budget_delete);

#define NOTE_MAX_CHARS	1000

static char *
uuid_to_cstring(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

/* Raises P0002. */
static void
raise_budget_not_found(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("budget not found"),
			 errdetail("There is no budget with id %s.", uuid_to_cstring(id))));
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
 * Raises 23503 for a parent_id that names no budget, and 22023 for one below
 * which the budget cannot be.  The tree is locked.
 */
static void
check_place(const pg_uuid_t *id, const BudgetConfig *config)
{
	const pg_uuid_t *parent_id = DatumGetUUIDP(config->values[BUDGET_PARENT_ID]);
	BudgetPlace place;

	if (config->nulls[BUDGET_PARENT_ID])
		return;

	store_find_budget_place(id, parent_id, &place);
	if (!place.has_parent)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("parent_id names no budget"),
				 errdetail("There is no budget with id %s.", uuid_to_cstring(parent_id))));
	if (place.is_below_itself)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a budget must not be above itself"),
				 errdetail("The budget with id %s is this one, or below it.", uuid_to_cstring(parent_id))));
	if (place.nlevels > BUDGET_MAX_LEVELS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("budgets can have %d levels at most", BUDGET_MAX_LEVELS),
				 errdetail("With this parent_id there would be %d.", place.nlevels)));
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
 * parent_id uuid, rate_limits jsonb, warn_at numeric[], starts_at timestamptz,
 * time_zone text, metadata jsonb): uuid
 */
Datum
apikey_budget_create(PG_FUNCTION_ARGS)
{
	BudgetConfig config;
	pg_uuid_t  *id;
	TimestampTz now = GetCurrentTimestamp();

	budget_config_from_arguments(&config, fcinfo, now);

	id = DatumGetUUIDP(DirectFunctionCall1(gen_random_uuid, (Datum) 0));
	if (!config.nulls[BUDGET_PARENT_ID])
		store_lock_budget_tree();
	check_place(id, &config);
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
	bool		names_parent = false;

	require_not_null(fcinfo, 0, "id");
	require_not_null(fcinfo, 1, "changes");
	json_document_check_size("changes", PG_GETARG_DATUM(1), JSON_CHANGES_MAX_BYTES);
	id = PG_GETARG_UUID_P(0);
	if (!store_read_budget(id, &config))
		raise_budget_not_found(id);
	changes = change_config(fcinfo, &config);
	if (changes)
	{
		names_parent = budget_config_names_parent(PG_GETARG_JSONB_P(1));
		if (names_parent)
			store_lock_budget_tree();
		lock_budget(fcinfo, false, &config);
		changes = change_config(fcinfo, &config);
	}
	if (names_parent)
		check_place(id, &config);

	if (changes)
		store_update_budget(id, &config, GetCurrentTimestamp());
	else
		store_add_budget_unchanged(id, GetCurrentTimestamp());

	PG_RETURN_DATUM(store_budget_info(id));
}

/* Returns the amount in argument 1, rounded.  Raises 22023. */
static Numeric
get_amount(FunctionCallInfo fcinfo)
{
	Numeric		amount;

	require_not_null(fcinfo, 1, "amount");
	amount = round_amount(PG_GETARG_NUMERIC(1));
	check_nonnegative_amount("amount",
							 DatumGetNumeric(DirectFunctionCall1(numeric_abs,
																 NumericGetDatum(amount))));
	return amount;
}

/*
 * Raises 55000 for a budget without a limit, and 22023 if an amount cannot be
 * added to it: so much is not left, or it would be too large.
 */
static void
check_addition(const BudgetRow *budget, Numeric amount)
{
	Datum		left;			/* afterwards */

	if (budget->limit == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot add to budget \"%s\" because it has no max_cost", budget->name)));

	left = DirectFunctionCall2(numeric_add, NumericGetDatum(budget->remaining),
							   NumericGetDatum(amount));
	if (amount_sign(amount) < 0 && amount_sign(DatumGetNumeric(left)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot take back more than what is left of budget \"%s\"", budget->name)));
	check_nonnegative_amount("max_cost with what is added",
							 DatumGetNumeric(DirectFunctionCall2(numeric_add,
																 NumericGetDatum(budget->limit),
																 NumericGetDatum(amount))));
}

/*
 * apikey_budget_add(id uuid, amount numeric, note text): a row as of
 * apikeys.budget_info
 */
Datum
apikey_budget_add(PG_FUNCTION_ARGS)
{
	Numeric		amount = get_amount(fcinfo);
	text	   *note = optional_text_argument(fcinfo, 2, "note", NOTE_MAX_CHARS);
	BudgetConfig config;
	BudgetRow	budget;
	pg_uuid_t  *id = lock_budget(fcinfo, false, &config);

	if (!store_find_budget(id, true, &budget, NULL))
		raise_budget_not_found(id);
	check_addition(&budget, amount);
	store_add_credit(id, budget.started_at, amount, note, GetCurrentTimestamp());

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

/* Raises 23503 if other budgets are below a budget.  The tree is locked. */
static void
check_no_children(const pg_uuid_t *id, const BudgetConfig *config)
{
	if (store_budget_has_children(id))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("cannot delete budget \"%s\" because budgets are below it",
						TextDatumGetCString(config->values[BUDGET_NAME])),
				 errhint("Give them another parent_id, or null.")));
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
	pg_uuid_t  *id;
	TimestampTz now;

	store_lock_budget_tree();
	id = lock_budget(fcinfo, true, &config);
	now = GetCurrentTimestamp();
	check_no_children(id, &config);
	check_no_live_keys(id, &config, now);
	store_delete_budget(id, now);
	check_no_live_keys(id, &config, now);

	PG_RETURN_VOID();
}
