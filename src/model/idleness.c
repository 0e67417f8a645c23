/*-------------------------------------------------------------------------
 *
 * idleness.c
 *	  When a key that is not used expires.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The timeout counts by the calendar of UTC, so that the result is the same in
 * all sessions: a day has 24 hours, and a month 28 to 31 days.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "model/idleness.h"
#include "model/period.h"

/* A use is persisted within this part of the timeout. */
#define MAX_LAG_PART	10

PG_FUNCTION_INFO_V1(apikeys_ends_at);

/*
 * Returns until when a key that has been idle since a time is valid; DT_NOEND if
 * that is beyond all calendars, which only times can be that somebody has
 * written by hand.
 */
TimestampTz
idleness_end(const Interval *timeout, TimestampTz since)
{
	if (!period_is_origin(since))
		return since < 0 ? since : DT_NOEND;

	/* A TimestampTz counts in UTC, so it is a Timestamp there. */
	return DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
												 TimestampGetDatum(since),
												 IntervalPGetDatum(timeout)));
}

/*
 * Returns within how many milliseconds a use of a key has to be persisted; at
 * least 1.  After a crash the key may seem to have been idle for so much longer.
 */
int
idleness_max_lag(const Interval *timeout)
{
	int64		ms = ((int64) timeout->month * 28 + timeout->day) * (USECS_PER_DAY / 1000) +
			   timeout->time / 1000;

	Assert(ms >= MAX_LAG_PART); /* a timeout is a second or more */
	return (int) Min(ms / MAX_LAG_PART, INT_MAX);
}

/*
 * apikeys.ends_at(expires_at timestamptz, idle_timeout interval, idle_since
 * timestamptz): when a key expires that is not used any more, or null.
 */
Datum
apikeys_ends_at(PG_FUNCTION_ARGS)
{
	TimestampTz end = PG_ARGISNULL(0) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(0);

	if (!PG_ARGISNULL(1) && !PG_ARGISNULL(2))
		end = Min(end, idleness_end(PG_GETARG_INTERVAL_P(1), PG_GETARG_TIMESTAMPTZ(2)));

	if (end == DT_NOEND)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(end);
}
