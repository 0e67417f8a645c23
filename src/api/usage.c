/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  Records and reads the usage of keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "flush/pending_usage.h"
#include "flush/reclaim.h"
#include "live/budget_spend.h"
#include "live/last_used.h"
#include "live/rate_limiter.h"
#include "store/usage.h"

PG_FUNCTION_INFO_V1(apikey_record_usage);
PG_FUNCTION_INFO_V1(apikey_usage);
PG_FUNCTION_INFO_V1(apikeys_last_use);
PG_FUNCTION_INFO_V1(apikeys_utc_today);

/* Spends tokens from the limits of a key; warns if there is no space for it. */
static void
spend_tokens(const KeyLimits *key, int64 tokens)
{
	bool		retry = true;

	while (!rate_limiter_spend_tokens(&key->root_id, &key->limits, tokens))
	{
		if (!retry)
		{
			rate_limiter_report_no_space(WARNING);
			break;
		}
		retry = reclaim_for(&key->root_id);
	}
}

/*
 * apikey_record_usage(id uuid, tokens bigint, cost numeric): void.  Counts one
 * request.  Works for revoked keys: the usage may be from before.  Tokens are
 * spent at once, even if the transaction rolls back: the application has used
 * them.
 */
Datum
apikey_record_usage(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	int64		tokens;
	Numeric		cost;
	TimestampTz now = GetCurrentTimestamp();
	Charge		charge;

	require_not_null(fcinfo, 0, "id");
	require_not_null(fcinfo, 1, "tokens");
	require_not_null(fcinfo, 2, "cost");
	id = PG_GETARG_UUID_P(0);
	tokens = PG_GETARG_INT64(1);
	cost = round_amount(PG_GETARG_NUMERIC(2));

	if (tokens < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tokens must not be negative")));
	check_nonnegative_amount("cost", cost);

	if (!store_add_usage(id, tokens, cost, now, &charge))
		raise_key_not_found(id);
	spend_tokens(&charge.key, tokens);
	if (charge.key.has_budget)
		budget_spend_record(&charge.key.budget_id, charge.period, cost);
	pending_usage_record();

	PG_RETURN_VOID();
}

/* apikey_usage(id uuid): one row, with all usage that is committed. */
Datum
apikey_usage(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	UsageRow	row;

	require_not_null(fcinfo, 0, "id");
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	Assert(tupdesc->natts == USAGE_NCOLUMNS);
	if (!store_usage(PG_GETARG_UUID_P(0), &row))
		raise_key_not_found(PG_GETARG_UUID_P(0));

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  row.values, row.nulls)));
}

/* apikeys.last_use(id uuid): the last use in shared memory, or null. */
Datum
apikeys_last_use(PG_FUNCTION_ARGS)
{
	TimestampTz last_use = last_used_get(PG_GETARG_UUID_P(0));

	if (last_use == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(last_use);
}

/* apikeys.utc_today(): the day in UTC, by the wall clock. */
Datum
apikeys_utc_today(PG_FUNCTION_ARGS)
{
	/* A TimestampTz counts in UTC; division must round towards the past. */
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz days = now / USECS_PER_DAY;

	if (now % USECS_PER_DAY < 0)
		days--;
	PG_RETURN_DATEADT((DateADT) days);
}
