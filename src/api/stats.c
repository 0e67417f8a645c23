/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  The function that the view apikeys.stats reads.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "cache/shared_keys.h"
#include "live/counters.h"
#include "live/flush_problems.h"
#include "live/tracked_keys_fill.h"

/* The columns of apikeys.stats. */
enum
{
	STATS_SINCE,
	STATS_SHARED_MEMORY,
	STATS_OUTCOMES,				/* the first counter of verify */
	STATS_ENTRIES_USED = STATS_OUTCOMES + COUNT_EVICTIONS,
	STATS_ENTRIES_FREE,
	STATS_ENTRIES_LIMITED,
	STATS_ENTRIES_OTHER_DATABASES,
	STATS_PENDING,
	STATS_EVICTIONS,			/* the first of the other counters */
	STATS_LAST_FLUSH_AT = STATS_EVICTIONS + COUNT_NCOUNTERS - COUNT_EVICTIONS,
	STATS_LAST_FLUSH_ERROR,
	STATS_LAST_FLUSH_ERROR_AT,
	STATS_CACHE_ENTRIES,
	STATS_CACHE_BYTES,
	STATS_CACHE_EVICTIONS,
	STATS_NCOLUMNS
};

StaticAssertDecl(STATS_NCOLUMNS == COUNT_NCOUNTERS + 13, "each counter has a column");

PG_FUNCTION_INFO_V1(apikeys_read_stats);

/* Returns an error as text, with the database it was in if that still exists. */
static Datum
error_text(const FlushError *error)
{
	char	   *database = get_database_name(error->database);

	if (database == NULL)
		return CStringGetTextDatum(error->message);
	return CStringGetTextDatum(psprintf("database \"%s\": %s", database, error->message));
}

/* apikeys.read_stats(): one row; nulls where there is no shared memory. */
Datum
apikeys_read_stats(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[STATS_NCOLUMNS] = {0};
	bool		nulls[STATS_NCOLUMNS];
	uint64		totals[COUNT_NCOUNTERS];
	TrackedKeysFill fill;
	SharedKeysFill cache;
	FlushError	error;
	TimestampTz since;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	Assert(tupdesc->natts == STATS_NCOLUMNS);

	memset(nulls, true, sizeof(nulls));
	nulls[STATS_SHARED_MEMORY] = false;

	if (counters_read(totals, &since) && tracked_keys_read_fill(&fill))
	{
		memset(nulls, false, sizeof(nulls));
		values[STATS_SHARED_MEMORY] = BoolGetDatum(true);
		values[STATS_SINCE] = TimestampTzGetDatum(since);
		for (int c = 0; c < COUNT_NCOUNTERS; c++)
		{
			int			column = c < COUNT_EVICTIONS ? STATS_OUTCOMES + c : STATS_EVICTIONS + c - COUNT_EVICTIONS;

			values[column] = Int64GetDatum((int64) totals[c]);
		}
		values[STATS_ENTRIES_USED] = Int64GetDatum(fill.used);
		values[STATS_ENTRIES_FREE] = Int64GetDatum(fill.free);
		values[STATS_ENTRIES_LIMITED] = Int64GetDatum(fill.limited);
		values[STATS_ENTRIES_OTHER_DATABASES] = Int64GetDatum(fill.other_databases);
		values[STATS_PENDING] = Int64GetDatum(fill.pending);

		values[STATS_LAST_FLUSH_AT] = TimestampTzGetDatum(fill.last_flush);
		nulls[STATS_LAST_FLUSH_AT] = (fill.last_flush == 0);

		nulls[STATS_LAST_FLUSH_ERROR] = !flush_problems_read_error(&error);
		nulls[STATS_LAST_FLUSH_ERROR_AT] = nulls[STATS_LAST_FLUSH_ERROR];
		if (!nulls[STATS_LAST_FLUSH_ERROR])
		{
			values[STATS_LAST_FLUSH_ERROR] = error_text(&error);
			values[STATS_LAST_FLUSH_ERROR_AT] = TimestampTzGetDatum(error.at);
		}
	}

	nulls[STATS_CACHE_ENTRIES] = nulls[STATS_CACHE_BYTES] = nulls[STATS_CACHE_EVICTIONS] = !shared_keys_read_fill(&cache);
	values[STATS_CACHE_ENTRIES] = Int64GetDatum(cache.entries);
	values[STATS_CACHE_BYTES] = Int64GetDatum(cache.bytes);
	values[STATS_CACHE_EVICTIONS] = Int64GetDatum(cache.evictions);

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}
