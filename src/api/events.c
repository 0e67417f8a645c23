/*-------------------------------------------------------------------------
 *
 * events.c
 *	  apikey_events: what has happened to keys.
 *
 * In C for the reason that lists.c gives.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "store/lists.h"

PG_FUNCTION_INFO_V1(apikey_events);

/*
 * apikey_events(id uuid, since timestamptz, row_limit integer): events of all
 * keys or of one, newest first.
 */
Datum
apikey_events(PG_FUNCTION_ARGS)
{
	EventFilter filter;

	for (int i = 0; i < EVENT_NARGUMENTS; i++)
	{
		filter.values[i] = fcinfo->args[i].value;
		filter.nulls[i] = fcinfo->args[i].isnull;
	}
	check_row_count(fcinfo, EVENT_ROW_LIMIT, "row_limit");

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	store_list_events(&filter, (ReturnSetInfo *) fcinfo->resultinfo);

	return (Datum) 0;
}
