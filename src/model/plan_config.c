/*-------------------------------------------------------------------------
 *
 * plan_config.c
 *	  The configuration of a plan: what keys that name it have in common.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A plan has some of the members of a key, by the same rules: key_config.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datum.h"

#include "base/compat.h"
#include "model/key_config.h"
#include "model/plan_config.h"

PG_FUNCTION_INFO_V1(apikeys_check_plan);

/* Which members of a key they are. */
static const ConfigMember members[] = {
	[PLAN_NAME] = CONFIG_NAME,
	[PLAN_PERMISSIONS] = CONFIG_PERMISSIONS,
	[PLAN_RATE_LIMITS] = CONFIG_RATE_LIMITS,
	[PLAN_DESCRIPTION] = CONFIG_DESCRIPTION,
};

StaticAssertDecl(lengthof(members) == PLAN_NMEMBERS, "each member is one of a key");

/* Makes the configuration of a plan from arguments.  Raises 22023. */
void
plan_config_from_arguments(PlanConfig *config, FunctionCallInfo fcinfo)
{
	Assert(PG_NARGS() == PLAN_NMEMBERS);

	for (int i = 0; i < PLAN_NMEMBERS; i++)
	{
		config->values[i] = PG_GETARG_DATUM(i);
		config->nulls[i] = PG_ARGISNULL(i);
		key_config_check_value(members[i], &config->values[i], &config->nulls[i]);
	}
}

/* Are two configurations the same? */
bool
plan_config_equal(const PlanConfig *a, const PlanConfig *b)
{
	for (int i = 0; i < PLAN_NMEMBERS; i++)
	{
		if (a->nulls[i] != b->nulls[i])
			return false;
		if (!a->nulls[i] && !datum_image_eq(a->values[i], b->values[i], false, -1))
			return false;
	}
	return true;
}

/*
 * apikeys.check_plan(...), with the members of PlanConfig: for the CHECK on
 * apikeys_data.plan.  Returns true or raises 22023.
 */
Datum
apikeys_check_plan(PG_FUNCTION_ARGS)
{
	Assert(PG_NARGS() == PLAN_NMEMBERS);
	for (int i = 0; i < PLAN_NMEMBERS; i++)
		key_config_check_stored(members[i], PG_GETARG_DATUM(i), PG_ARGISNULL(i));

	PG_RETURN_BOOL(true);
}
