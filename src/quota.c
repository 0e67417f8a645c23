/*-------------------------------------------------------------------------
 *
 * quota.c
 *	  What SQL asks of limits: apikey_limits and apikey_release.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "errors.h"
#include "ratelimit.h"
#include "store.h"

#define LIMITS_NCOLUMNS 5

PG_FUNCTION_INFO_V1(apikey_limits);
PG_FUNCTION_INFO_V1(apikey_release);

/* Adds the row (name, max, used, remaining, resets_in) of a limit. */
static void
put_limit(ReturnSetInfo *rsinfo, const char *name, int64 max,
		  const RateLimitState *state, TimestampTz now)
{
	Datum		values[LIMITS_NCOLUMNS];
	bool		nulls[LIMITS_NCOLUMNS] = {0};

	values[0] = CStringGetTextDatum(name);
	values[1] = NumericGetDatum(int64_to_numeric(max));
	values[2] = NumericGetDatum(int64_to_numeric(state->used));
	values[3] = NumericGetDatum(int64_to_numeric(Max(max - state->used, 0)));
	nulls[4] = (state->resets_at == 0);
	if (state->resets_at != 0)
		values[4] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(state->resets_at),
										TimestampTzGetDatum(now));

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* apikey_limits(id uuid): a row for each limit that the key has. */
Datum
apikey_limits(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	KeyLimits	key;
	RateLimitState states[RATE_NLIMITS];

	require_argument(fcinfo, 0, "id");
	if (!store_key_limits(PG_GETARG_UUID_P(0), &key))
		key_not_found(PG_GETARG_UUID_P(0));

	InitMaterializedSRF(fcinfo, 0);
	if (policy_is_limited(&key.limits))
	{
		ratelimit_read(&key.root_id, now, states);
		for (int i = 0; i < RATE_NLIMITS; i++)
		{
			if (key.limits.max[i] > 0)
				put_limit((ReturnSetInfo *) fcinfo->resultinfo, policy_limit_name(i),
						  key.limits.max[i], &states[i], now);
		}
	}

	return (Datum) 0;
}

/*
 * apikey_release(slot bigint): boolean, was it held?  Null, which verify
 * gives where no slot is needed, is not.
 */
Datum
apikey_release(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!PG_ARGISNULL(0) &&
				   ratelimit_release(PG_GETARG_INT64(0), GetCurrentTimestamp()));
}
