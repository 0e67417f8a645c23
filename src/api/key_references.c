/*-------------------------------------------------------------------------
 *
 * key_references.c
 *	  What the configuration of a key names must exist: its budget and its plan.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/uuid.h"

#include "api/key_references.h"
#include "store/budgets.h"
#include "store/plans.h"

/* Has a configuration a member that the key does not have already? */
static bool
is_new(const KeyConfig *config, ConfigMember member, const KeyRow *present,
	   KeyColumn column, int typlen)
{
	if (config->nulls[member])
		return false;
	return present == NULL || present->nulls[column] ||
		   !datum_image_eq(config->values[member], present->values[column], false, typlen);
}

/*
 * Locks the budget and the plan of a key's new configuration, so that they are
 * not deleted; not those that the key, present, has already.  Raises 23503 for
 * one that does not exist.
 */
void
key_references_lock(const KeyConfig *config, const KeyRow *present)
{
	Datum		budget = config->values[CONFIG_BUDGET_ID];
	Datum		plan = config->values[CONFIG_PLAN];

	if (is_new(config, CONFIG_BUDGET_ID, present, KEY_BUDGET_ID, UUID_LEN) &&
		!store_lock_budget_for_share(DatumGetUUIDP(budget)))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("budget_id names no budget"),
				 errdetail("There is no budget with id %s.",
						   DatumGetCString(DirectFunctionCall1(uuid_out, budget)))));
	if (is_new(config, CONFIG_PLAN, present, KEY_PLAN, -1) &&
		!store_lock_plan(DatumGetTextPP(plan), PLAN_LOCK_SHARE))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("plan names no plan"),
				 errdetail("There is no plan \"%s\".", TextDatumGetCString(plan))));
}
