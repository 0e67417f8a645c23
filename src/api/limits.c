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
#include "live/limit_usage.h"
#include "live/reservation.h"
#include "model/cost.h"
#include "model/rate_limits.h"
#include "store/budgets.h"
#include "store/key_limits.h"
#include "verify/restriction.h"

#define LIMITS_NCOLUMNS 6

PG_FUNCTION_INFO_V1(apikey_limits);
PG_FUNCTION_INFO_V1(apikey_release);
PG_FUNCTION_INFO_V1(apikeys_reserved_cost);

/*
 * Adds the row (name, max, used, remaining, resets_in, reserved).  What is
 * reserved is used as well.  With resets_at 0 resets_in is null.
 */
static void
put_row(ReturnSetInfo *rsinfo, const LimitStatus *status, Numeric used, Numeric reserved, TimestampTz now)
{
	Datum		values[LIMITS_NCOLUMNS];
	bool		nulls[LIMITS_NCOLUMNS] = {0};
	Numeric		remaining;

	Assert(rsinfo->setDesc->natts == LIMITS_NCOLUMNS);

	values[0] = CStringGetTextDatum(status->name);
	values[1] = NumericGetDatum(limit_status_numbers(status, &remaining));
	values[2] = NumericGetDatum(used);
	values[3] = NumericGetDatum(remaining);
	nulls[4] = (status->resets_at == 0 || status->resets_at == DT_NOEND);
	if (!nulls[4])
		values[4] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(status->resets_at),
										TimestampTzGetDatum(now));
	values[5] = NumericGetDatum(reserved);

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Adds a row for each rate limit of a key family, or of whom budget says (limit_status_name()). */
static void
put_rate_limits(ReturnSetInfo *rsinfo, const pg_uuid_t *owner, const RateLimits *limits, const char *budget)
{
	LimitReading readings[MAX_LIMIT_READINGS];
	TimestampTz now;
	int			n;

	if (limits == NULL)
		return;

	n = limit_usage_read(owner, limits, budget, readings, &now);
	for (int i = 0; i < n; i++)
	{
		const LimitStatus *status = &readings[i].status;

		put_row(rsinfo, status, limit_status_amount(status, status->used),
				limit_status_amount(status, readings[i].reserved), now);
	}
}

/* Adds a row for a budget with a limit. */
static void
put_budget(ReturnSetInfo *rsinfo, const pg_uuid_t *id, const BudgetRow *budget)
{
	LimitStatus status = {.name = psprintf("budget:%s", budget->name), .resets_at = budget->ends_at};
	Numeric		reserved = cost_from_billionths(reservation_reserved(id));
	Numeric		used;

	if (budget->limit == NULL)
		return;

	used = DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(budget->spent),
											   NumericGetDatum(reserved)));
	limit_status_set_cost(&status, budget->limit, used);
	put_row(rsinfo, &status, used, reserved, GetCurrentTimestamp());
}

/*
 * Adds rows for the budget of a key and those above, with all committed
 * spending, and for their rate limits.
 */
static void
put_budgets(ReturnSetInfo *rsinfo, const KeyLimits *key)
{
	BudgetRow	budget = {.has_parent = key->has_budget, .parent_id = key->budget_id};

	for (int level = 0; level < BUDGET_MAX_LEVELS && budget.has_parent; level++)
	{
		pg_uuid_t	id = budget.parent_id;

		if (!store_find_budget(&id, true, &budget, NULL))
			break;
		put_budget(rsinfo, &id, &budget);
		put_rate_limits(rsinfo, &id, rate_limits_parse(budget.rate_limits, CurrentMemoryContext),
						budget.name);
	}
}

/* apikey_limits(id uuid): a row for each limit that the key has. */
Datum
apikey_limits(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	KeyLimits	key;

	require_not_null(fcinfo, 0, "id");
	if (!store_key_limits(PG_GETARG_UUID_P(0), restriction_for_reading(), &key))
		raise_key_not_found(PG_GETARG_UUID_P(0));

	InitMaterializedSRF(fcinfo, 0);
	put_rate_limits(rsinfo, PG_GETARG_UUID_P(0), key.own_limits, NULL);
	put_rate_limits(rsinfo, &key.root_id, key.limits, key.is_derived ? limit_status_of_parent : NULL);
	put_budgets(rsinfo, &key);

	return (Datum) 0;
}

/*
 * apikey_release(reservation uuid): boolean, whether it was held.  False for
 * null, which verify returns where nothing is limited.
 */
Datum
apikey_release(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && reservation_release(PG_GETARG_UUID_P(0)));
}

/* apikeys.reserved_cost(budget_id uuid): what is reserved of a budget. */
Datum
apikeys_reserved_cost(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(cost_from_billionths(reservation_reserved(PG_GETARG_UUID_P(0))));
}
