/*-------------------------------------------------------------------------
 *
 * plans.c
 *	  Creates, changes and deletes plans.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "live/rate_limiter.h"
#include "model/key_config.h"
#include "model/plan_config.h"
#include "model/rate_limits.h"
#include "store/events.h"
#include "store/plans.h"

PG_FUNCTION_INFO_V1(apikey_plan_set);
PG_FUNCTION_INFO_V1(apikey_plan_delete);

/* Warns if a plan has rate limits that this server cannot count. */
static void
warn_of_rate_limits(const PlanConfig *config)
{
	if (rate_limiter_available())
		return;

	if (rate_limits_parse(DatumGetJsonbP(config->values[PLAN_RATE_LIMITS]), CurrentMemoryContext) != NULL)
		ereport(WARNING,
				(errmsg("apikey_verify will not accept keys with this plan"),
				 errdetail("Its rate limits need shared memory, which this server does not have."),
				 hint_preload()));
}

/*
 * apikey_plan_set(name text, permissions jsonb, rate_limits jsonb, description
 * text): void.  What changes nothing locks nothing, and empties no cache.
 */
Datum
apikey_plan_set(PG_FUNCTION_ARGS)
{
	PlanConfig	config;
	PlanConfig	present;
	text	   *name;

	plan_config_from_arguments(&config, fcinfo);
	name = DatumGetTextPP(config.values[PLAN_NAME]);

	if (store_read_plan(name, &present) && plan_config_equal(&config, &present))
		store_add_plan_unchanged(name, GetCurrentTimestamp());
	else
		store_set_plan(&config, GetCurrentTimestamp());
	warn_of_rate_limits(&config);

	PG_RETURN_VOID();
}

/* apikey_plan_delete(name text): void */
Datum
apikey_plan_delete(PG_FUNCTION_ARGS)
{
	Datum		value = PG_GETARG_DATUM(0);
	bool		isnull = PG_ARGISNULL(0);
	text	   *name;

	key_config_check_value(CONFIG_NAME, &value, &isnull);
	name = DatumGetTextPP(value);
	if (!store_lock_plan(name, PLAN_LOCK_DELETION))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("plan not found"),
				 errdetail("There is no plan \"%s\".", text_to_cstring(name))));
	if (store_plan_has_keys(name))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("cannot delete plan \"%s\" because keys have it", text_to_cstring(name)),
				 errhint("Give them another plan, or null; revoked keys can only be deleted.")));

	store_delete_plan(name, GetCurrentTimestamp());

	PG_RETURN_VOID();
}
