/*-------------------------------------------------------------------------
 *
 * lists.c
 *	  apikey_list: a page of apikeys.info.
 *
 * The other readers are SQL functions.  This one is not, because a SQL
 * function has one plan for all its calls, and which index is right depends
 * on the filters that a call has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "store/lists.h"

PG_FUNCTION_INFO_V1(apikey_list);

/* Completes a filter that names the key after which the page starts. */
static void
find_page_start(ListFilter *filter)
{
	TimestampTz created_at;

	if (!store_page_start(DatumGetUUIDP(filter->values[LIST_AFTER]), &created_at))
		raise_key_not_found(DatumGetUUIDP(filter->values[LIST_AFTER]));

	filter->values[LIST_AFTER_CREATED_AT] = TimestampTzGetDatum(created_at);
	filter->nulls[LIST_AFTER_CREATED_AT] = false;
}

/*
 * apikey_list(status apikeys.key_status, user_id uuid, team_id uuid,
 * external_id text, row_limit integer, row_offset integer, after uuid):
 * rows of apikeys.info, newest first.
 */
Datum
apikey_list(PG_FUNCTION_ARGS)
{
	ListFilter	filter;

	for (int i = 0; i < PG_NARGS(); i++)
	{
		filter.values[i] = fcinfo->args[i].value;
		filter.nulls[i] = fcinfo->args[i].isnull;
	}
	filter.nulls[LIST_AFTER_CREATED_AT] = true;

	check_row_count(fcinfo, LIST_ROW_LIMIT, "row_limit");
	check_row_count(fcinfo, LIST_ROW_OFFSET, "row_offset");
	if (!filter.nulls[LIST_STATUS])
		filter.values[LIST_STATUS] =
			CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(enum_out,
																	filter.values[LIST_STATUS])));
	if (!filter.nulls[LIST_AFTER])
		find_page_start(&filter);

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	store_list_keys(&filter, (ReturnSetInfo *) fcinfo->resultinfo);

	return (Datum) 0;
}
