/*-------------------------------------------------------------------------
 *
 * limits.c
 *	  apikey_limits and apikey_release.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "live/rate_limiter.h"
#include "model/rate_limits.h"
#include "store/budgets.h"
#include "store/key_limits.h"

#define LIMITS_NCOLUMNS 5

PG_FUNCTION_INFO_V1(apikey_limits);
PG_FUNCTION_INFO_V1(apikey_release);

/*
 * Adds the row (name, max, used, remaining, resets_in).  With resets_at 0 the
 * last is null.
 */
static void
put_row(ReturnSetInfo *rsinfo, const char *name, Numeric max, Numeric used,
		Numeric remaining, TimestampTz resets_at, TimestampTz now)
{
	Datum		values[LIMITS_NCOLUMNS];
	bool		nulls[LIMITS_NCOLUMNS] = {0};

	Assert(rsinfo->setDesc->natts == LIMITS_NCOLUMNS);

	values[0] = CStringGetTextDatum(name);
	values[1] = NumericGetDatum(max);
	values[2] = NumericGetDatum(used);
	values[3] = NumericGetDatum(remaining);
	nulls[4] = (resets_at == 0);
	if (resets_at != 0)
		values[4] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(resets_at),
										TimestampTzGetDatum(now));

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Adds a row for each rate limit of a key. */
static void
put_rate_limits(ReturnSetInfo *rsinfo, const KeyLimits *key)
{
	LimitStatus statuses[RATE_NLIMITS];
	TimestampTz now;

	if (!rate_limits_any(&key->limits))
		return;

	now = rate_limiter_read(&key->root_id, &key->limits, statuses);
	for (int i = 0; i < RATE_NLIMITS; i++)
	{
		if (statuses[i].name != NULL)
			put_row(rsinfo, statuses[i].name, int64_to_numeric(statuses[i].max),
					int64_to_numeric(statuses[i].used),
					int64_to_numeric(limit_status_remaining(&statuses[i])),
					statuses[i].resets_at, now);
	}
}

/* Adds a row for a budget with a limit. */
static void
put_budget(ReturnSetInfo *rsinfo, const BudgetRow *budget)
{
	if (budget->limit == NULL)
		return;

	put_row(rsinfo, psprintf("budget:%s", budget->name), budget->limit, budget->spent, budget->remaining,
			budget->ends_at == DT_NOEND ? 0 : budget->ends_at, GetCurrentTimestamp());
}

/* Adds rows for the budget of a key and those above, with all committed spending. */
static void
put_budgets(ReturnSetInfo *rsinfo, const KeyLimits *key)
{
	BudgetRow	budget = {.has_parent = key->has_budget, .parent_id = key->budget_id};

	for (int level = 0; level < BUDGET_MAX_LEVELS && budget.has_parent; level++)
	{
		pg_uuid_t	id = budget.parent_id;

		if (!store_find_budget(&id, true, &budget, NULL))
			break;
		put_budget(rsinfo, &budget);
	}
}

/* apikey_limits(id uuid): a row for each limit that the key has. */
Datum
apikey_limits(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	KeyLimits	key;

	require_not_null(fcinfo, 0, "id");
	if (!store_key_limits(PG_GETARG_UUID_P(0), &key))
		raise_key_not_found(PG_GETARG_UUID_P(0));

	InitMaterializedSRF(fcinfo, 0);
	put_rate_limits(rsinfo, &key);
	put_budgets(rsinfo, &key);

	return (Datum) 0;
}

/*
 * apikey_release(slot bigint): boolean, whether it was held.  False for null,
 * which verify returns where no slot is needed.
 */
Datum
apikey_release(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && rate_limiter_release(PG_GETARG_INT64(0)));
}
