/*-------------------------------------------------------------------------
 *
 * period.c
 *	  The periods at whose ends a budget is reset.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A period starts at each multiple of an interval from an origin, in UTC: days
 * always have 24 hours, months are calendar months.  Each start is computed
 * from the origin and not from the one before, so that monthly periods from
 * January 31 start on February 28 and again on March 31.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "model/period.h"

#define MAX_YEARS	1000
#define MAX_DAYS	(MAX_YEARS * 366)

PG_FUNCTION_INFO_V1(apikeys_period_at);

/* The length of an interval in microseconds, at so many days per month. */
static int64
interval_length(const Interval *every, int days_per_month)
{
	return ((int64) every->month * days_per_month + every->day) * USECS_PER_DAY + every->time;
}

/*
 * Raises 22023 unless periods can have this length.  Its upper limit rules out
 * overflows.
 */
void
period_check_length(const Interval *every)
{
	if (every->month >= 0 && every->month <= MAX_YEARS * MONTHS_PER_YEAR &&
		every->day >= 0 && every->day <= MAX_DAYS &&
		every->time >= 0 && every->time <= MAX_DAYS * USECS_PER_DAY &&
		interval_length(every, 28) >= USECS_PER_SEC)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("reset_every must be between 1 second and %d years", MAX_YEARS),
			 errdetail("None of its parts may be negative."),
			 errhint("Null stands for a budget that is never reset.")));
}

/*
 * Raises 22023 for a span of more than max_years, in either direction: added to
 * a time, it may not give one.
 */
void
period_check_span(const char *what, const Interval *span, int max_years)
{
	double		years = fabs((double) span->month) / MONTHS_PER_YEAR +
				   (fabs((double) span->day) + fabs((double) span->time) / USECS_PER_DAY) / DAYS_PER_YEAR;

	if (years <= max_years)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is out of range", what),
			 errdetail("It may be at most %d years.", max_years)));
}

/* Returns origin + n * every, in UTC. */
static TimestampTz
nth_start(TimestampTz origin, const Interval *every, int64 n)
{
	Interval	span;

	span.month = every->month * n;
	span.day = every->day * n;
	span.time = every->time * n;

	/* Without a time zone: the same microseconds, read as UTC. */
	return DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
												 TimestampGetDatum(origin),
												 IntervalPGetDatum(&span)));
}

/*
 * Returns the period that contains a time; times before the origin belong to
 * the first one.  If every is NULL, a single period lasts forever.
 */
Period
period_at(TimestampTz origin, const Interval *every, TimestampTz at)
{
	int64		low = 0;
	int64		high = 0;
	Period		period;

	Assert(!TIMESTAMP_NOT_FINITE(origin) && !TIMESTAMP_NOT_FINITE(at));
	Assert(every == NULL || interval_length(every, 28) >= USECS_PER_SEC);

	if (every == NULL)
		return (Period){origin, DT_NOEND};

	/* A calendar month has 28 to 31 days. */
	if (at > origin)
	{
		low = (at - origin) / interval_length(every, 31);
		high = (at - origin) / interval_length(every, 28);
	}
	while (low < high)
	{
		int64		middle = high - (high - low) / 2;

		if (nth_start(origin, every, middle) <= at)
			low = middle;
		else
			high = middle - 1;
	}

	period = (Period){nth_start(origin, every, low), nth_start(origin, every, low + 1)};
	Assert(at < period.ends_at && (period.started_at <= at || at < origin));
	return period;
}

/*
 * apikeys.period_at(origin timestamptz, every interval, at timestamptz): one
 * row (started_at, ends_at); ends_at is infinity if every is null.
 */
Datum
apikeys_period_at(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Period		period;
	int64		distance;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(0)) ||
		TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(2)) ||
		pg_sub_s64_overflow(PG_GETARG_TIMESTAMPTZ(2), PG_GETARG_TIMESTAMPTZ(0), &distance))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	if (!PG_ARGISNULL(1))
		period_check_length(PG_GETARG_INTERVAL_P(1));

	period = period_at(PG_GETARG_TIMESTAMPTZ(0),
					   PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1),
					   PG_GETARG_TIMESTAMPTZ(2));

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  (Datum[]) {TimestampTzGetDatum(period.started_at),
																TimestampTzGetDatum(period.ends_at)},
													  (bool[]) {false, false})));
}
