/*-------------------------------------------------------------------------
 *
 * period.c
 *	  The periods at whose ends a budget is reset.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A period starts at each multiple of an interval from an origin, backwards as
 * well.  Months and days are those of the calendar in a time zone, so a day may
 * have 23 or 25 hours; hours and less are elapsed time.  Each start is computed
 * from the origin and not from the one before, so that monthly periods from
 * January 31 start on February 28 and again on March 31.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "model/period.h"
#include "model/raw_key_filter.h"

/* Between these, periods of any length are in the range of timestamps. */
#define MIN_TIME	((TimestampTz) (date2j(1, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)
#define MAX_TIME	((TimestampTz) (date2j(10000, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)

/* By more than this no two times in a zone can differ from the elapsed time. */
#define MAX_ZONE_CHANGE	(2 * USECS_PER_DAY)

PG_FUNCTION_INFO_V1(apikeys_period_at);

/* The starts of periods. */
typedef struct Series
{
	TimestampTz origin;
	const Interval *every;
	pg_tz	   *zone;
	Timestamp	local_origin;	/* in that zone */
} Series;

/* The length of an interval in microseconds, at so many days per month. */
static int64
interval_length(const Interval *every, int days_per_month)
{
	return ((int64) every->month * days_per_month + every->day) * USECS_PER_DAY + every->time;
}

/* The length of an interval in years, as if none of its parts were negative. */
static double
interval_years(const Interval *span)
{
	return fabs((double) span->month) / MONTHS_PER_YEAR +
		   (fabs((double) span->day) + fabs((double) span->time) / USECS_PER_DAY) / DAYS_PER_YEAR;
}

/*
 * Is an interval between 1 second and PERIOD_MAX_YEARS, and no part of it
 * negative?  The upper limit rules out overflows.
 */
bool
period_is_length(const Interval *span)
{
	return span->month >= 0 && span->day >= 0 && span->time >= 0 &&
		   interval_years(span) <= PERIOD_MAX_YEARS &&
		   interval_length(span, 28) >= USECS_PER_SEC;
}

/* Is a time in the years 1 to 9999, so that such an interval can be added? */
bool
period_is_origin(TimestampTz origin)
{
	return origin >= MIN_TIME && origin < MAX_TIME;
}

/*
 * Raises 22023 unless a member of a document can have this length; null_means
 * says what null stands for in its place.
 */
void
period_check_length(const char *what, const Interval *length, const char *null_means)
{
	if (period_is_length(length))
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be between 1 second and %d years", what, PERIOD_MAX_YEARS),
			 errdetail("None of its parts may be negative."),
			 errhint("Null stands for %s.", null_means)));
}

/* Raises 22023 unless periods can have this length. */
void
period_check_every(const Interval *every)
{
	period_check_length("reset_every", every, "a budget that is never reset");
}

/*
 * Raises 22023 for a span of more than max_years, in either direction: added to
 * a time, it may not give one.
 */
void
period_check_span(const char *what, const Interval *span, int max_years)
{
	if (interval_years(span) <= max_years)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is out of range", what),
			 errdetail("It may be at most %d years.", max_years)));
}

/* Raises 22023 unless periods can be counted from a time. */
void
period_check_origin(TimestampTz origin)
{
	if (period_is_origin(origin))
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("starts_at is out of range"),
			 errdetail("It must be in the years 1 to 9999.")));
}

/* Is this the name of a file of the server's time zone data? */
static bool
is_listed(const char *name)
{
	pg_tzenum  *zones = pg_tzenumerate_start();
	bool		found = false;
	pg_tz	   *zone;

	while (!found && (zone = pg_tzenumerate_next(zones)) != NULL)
		found = strcmp(pg_get_timezone_name(zone), name) == 0;
	pg_tzenumerate_end(zones);

	return found;
}

/*
 * Returns the name of a time zone as the server spells it.  Raises 22023 for
 * one that it does not know, and for a POSIX rule such as "CET-1CEST", whose
 * daylight saving need not be that of any place.  All of these have digits.
 */
const char *
period_check_time_zone(const char *name)
{
	pg_tz	   *zone = pg_tzset(name);

	if (zone != NULL &&
		(strpbrk(name, "0123456789") == NULL || is_listed(pg_get_timezone_name(zone))))
		return pg_get_timezone_name(zone);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown time_zone \"%s\"",
					raw_key_filter_quote(name, strlen(name), QUOTE_MAX_BYTES)),
			 errhint("The view pg_timezone_names has the names.")));
}

pg_noreturn static void
raise_out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp out of range")));
}

/* Converts a time to that of the calendar in a zone. */
static Timestamp
to_local(TimestampTz at, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	Timestamp	local;

	if (timestamp2tm(at, &offset, &tm, &fsec, NULL, zone) != 0 ||
		tm2timestamp(&tm, fsec, NULL, &local) != 0)
		raise_out_of_range();
	return local;
}

/*
 * Converts it back.  What the zone has skipped is as much later, and of what it
 * has had twice this is the second.
 */
static TimestampTz
from_local(Timestamp local, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	TimestampTz at;

	if (timestamp2tm(local, NULL, &tm, &fsec, NULL, NULL) != 0)
		raise_out_of_range();
	offset = DetermineTimeZoneOffset(&tm, zone);
	if (tm2timestamp(&tm, fsec, &offset, &at) != 0)
		raise_out_of_range();
	return at;
}

/* Returns origin + n * every. */
static TimestampTz
nth_start(const Series *series, int64 n)
{
	const Interval *every = series->every;
	TimestampTz start = series->origin;
	Interval	span = {.month = every->month * n, .day = every->day * n};

	if (span.month != 0 || span.day != 0)
		start = from_local(DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
																 TimestampGetDatum(series->local_origin),
																 IntervalPGetDatum(&span))),
						   series->zone);
	return start + every->time * n;
}

/* Divides, rounding down. */
static int64
floor_div(int64 dividend, int64 divisor)
{
	return dividend / divisor - (dividend % divisor < 0);
}

/* Returns the number of the last period that starts at or before a time. */
static int64
find_number(const Series *series, TimestampTz at)
{
	const Interval *every = series->every;
	int64		slack = every->month != 0 || every->day != 0 ? MAX_ZONE_CHANGE : 0;
	int64		from = at - series->origin - slack;
	int64		to = at - series->origin + slack;

	/* A calendar month has 28 to 31 days. */
	int64		low = floor_div(from, interval_length(every, from < 0 ? 28 : 31));
	int64		high = floor_div(to, interval_length(every, to < 0 ? 31 : 28));

	while (low < high)
	{
		int64		middle = high - (high - low) / 2;

		if (nth_start(series, middle) <= at)
			low = middle;
		else
			high = middle - 1;
	}

	return low;
}

/*
 * Returns the period that contains a time.  If every is NULL, a single period
 * lasts forever, also before the origin.  A time zone that the server no longer
 * knows counts as UTC: its data may change, and verify must not fail for that.
 */
Period
period_at(TimestampTz origin, const Interval *every, const char *time_zone, TimestampTz at)
{
	Series		series = {.origin = origin, .every = every};
	int64		n;
	Period		period;

	Assert(origin >= MIN_TIME && origin < MAX_TIME);
	Assert(every == NULL || interval_length(every, 28) >= USECS_PER_SEC);

	if (every == NULL)
		return (Period){origin, DT_NOEND};

	series.zone = pg_tzset(time_zone);
	if (series.zone == NULL)
		series.zone = pg_tzset("UTC");
	series.local_origin = to_local(origin, series.zone);

	n = find_number(&series, at);
	period = (Period){nth_start(&series, n), nth_start(&series, n + 1)};
	Assert(period.started_at <= at && at < period.ends_at);
	return period;
}

/*
 * apikeys.period_at(origin timestamptz, every interval, at timestamptz,
 * time_zone text): one row (started_at, ends_at); ends_at is infinity if every
 * is null.
 */
Datum
apikeys_period_at(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Period		period;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i <= 2; i += 2)
	{
		if (PG_GETARG_TIMESTAMPTZ(i) < MIN_TIME || PG_GETARG_TIMESTAMPTZ(i) >= MAX_TIME)
			raise_out_of_range();
	}
	if (!PG_ARGISNULL(1))
		period_check_every(PG_GETARG_INTERVAL_P(1));

	period = period_at(PG_GETARG_TIMESTAMPTZ(0),
					   PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1),
					   text_to_cstring(PG_GETARG_TEXT_PP(3)),
					   PG_GETARG_TIMESTAMPTZ(2));

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  (Datum[]) {TimestampTzGetDatum(period.started_at),
																TimestampTzGetDatum(period.ends_at)},
													  (bool[]) {false, false})));
}
