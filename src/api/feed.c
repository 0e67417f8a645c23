/*-------------------------------------------------------------------------
 *
 * feed.c
 *	  The function by which a standby tells of its use, and how that goes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It writes to shared memory alone, so that a standby can be told by another
 * standby that follows it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "flush/flush_queue.h"
#include "live/counters.h"
#include "live/feed_apply.h"
#include "live/feed_changes.h"
#include "live/feed_links.h"
#include "live/feed_servers.h"
#include "live/tracked_keys.h"
#include "settings/feed_settings.h"

PG_FUNCTION_INFO_V1(apikeys_feed_exchange);
PG_FUNCTION_INFO_V1(apikeys_read_feed);
PG_FUNCTION_INFO_V1(apikeys_read_servers);

/* ------------------------------------------------------------- exchanging */

/* Reads the request in argument 0.  Raises 22004, 22023, 08P01. */
static FeedRequest *
request_argument(FunctionCallInfo fcinfo)
{
	FeedRequest *request = palloc(sizeof(FeedRequest));
	StringInfoData buffer;
	bytea	   *bytes;

	require_not_null(fcinfo, 0, "request");
	check_size("request", PG_GETARG_DATUM(0), feed_request_max_size());
	bytes = PG_GETARG_BYTEA_PP(0);
	initStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	request->items = palloc(FEED_BATCH * sizeof(FeedItem));
	if (!feed_request_read(&buffer, request))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("request is not one of this version of apikeys")));
	return request;
}

/* Takes what a request tells. */
static void
take(const FeedRequest *request)
{
	FeedSource	source = request->kind == FEED_WHOLE ? FEED_FROM_FOLLOWER_WHOLE : FEED_FROM_FOLLOWER_DELTAS;

	if (feed_apply(MyDatabaseId, source, request->items, request->nitems, request->collected_at) &&
		!RecoveryInProgress() && flush_queue_attach())
		flush_queue_wake();
}

/*
 * Has a server tell this one of its use, of which this one has told it?  It may be
 * that it did so before; then it forgets that when it knows whom it asks.
 */
static bool
is_ring(const FeedRequest *request)
{
	if (!feed_servers_name_this(request))
		return false;
	if (request->epoch == feed_state_attach()->node)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("servers follow each other in a ring"),
				 errdetail("This server is told of its own use."),
				 errhint("Set apikeys.primary_conninfo, or primary_conninfo, to a server that does not follow the one that asks.")));
	return true;
}

/* Takes what a request tells, and says what it was. */
static FeedRecognition
recognize_and_take(const FeedRequest *request)
{
	TimestampTz now = GetCurrentTimestamp();
	FeedRecognition recognition;

	if (request->kind != FEED_HELLO)
		feed_apply_prepare(request->items, request->nitems);
	recognition = feed_servers_recognize(MyDatabaseId, request, now);
	if (recognition == FEED_NO_SPACE)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%d servers tell this one of their use already", FEED_MAX_SERVERS)));
	if (recognition == FEED_EXCLUDED)
		ereport(FATAL,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("terminating connection because the database is being dropped, copied, renamed or moved")));
	feed_servers_record(MyDatabaseId, request, now);
	if (recognition == FEED_NEW)
		take(request);
	return recognition;
}

/* Fills in the answer to a request. */
static void
answer_request(const FeedRequest *request, FeedAnswer *answer)
{
	answer->epoch = feed_state_attach()->node;
	answer->cursor = request->cursor;
	answer->nitems = 0;
	answer->accepted = !is_ring(request) && recognize_and_take(request) != FEED_UNKNOWN_SERVER;
	if (answer->accepted && request->kind == FEED_DELTAS && answer->cursor.next != FEED_PASS_ENDED)
		answer->nitems = feed_changes_read(MyDatabaseId, &answer->cursor, answer->items, FEED_BATCH);
}

/* apikeys.feed_exchange(request bytea): bytea.  Raises also 55000, 53400. */
Datum
apikeys_feed_exchange(PG_FUNCTION_ARGS)
{
	FeedRequest *request = request_argument(fcinfo);
	FeedAnswer	answer;
	StringInfoData buffer;
	bytea	   *result;

	if (feed_state_attach() == NULL || tracked_keys_attach() == NULL || !counters_attach())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("servers need shared memory to tell each other of their use"),
				 hint_preload()));
	answer.items = palloc(FEED_BATCH * sizeof(FeedItem));
	answer_request(request, &answer);

	initStringInfo(&buffer);
	feed_answer_write(&buffer, &answer);
	result = palloc(VARHDRSZ + buffer.len);
	SET_VARSIZE(result, VARHDRSZ + buffer.len);
	memcpy(VARDATA(result), buffer.data, buffer.len);
	PG_RETURN_BYTEA_P(result);
}

/* ------------------------------------------------------------ how it goes */

/* The columns of apikeys.read_feed(). */
enum
{
	FEED_STATE,
	FEED_SUCCEEDED_AT,
	FEED_LAG,
	FEED_ERROR,
	FEED_ERROR_AT,
	FEED_NCOLUMNS
};

/* The columns of apikeys.read_servers(). */
enum
{
	SERVER_ID,
	SERVER_NAME,
	SERVER_DIRECT,
	SERVER_PID,
	SERVER_HEARD_AT,
	SERVER_SINCE,
	SERVER_COUNTS,
	SERVER_NCOLUMNS = SERVER_COUNTS + FEED_NCOUNTS
};

static const char *const link_states[] = {
	[FEED_LINK_DOWN] = "down",
	[FEED_LINK_CATCHING_UP] = "catching up",
	[FEED_LINK_UP] = "up",
	[FEED_LINK_NO_EXTENSION] = "no extension",
	[FEED_LINK_LEFT_OUT] = "left out",
};

/* How long ago a time was, as an interval. */
static Datum
time_since(TimestampTz then)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = Max(GetCurrentTimestamp() - then, 0);
	return IntervalPGetDatum(interval);
}

/* Sets the columns of a link. */
static void
set_link_columns(const FeedLinkStatus *status, Datum *values, bool *nulls)
{
	nulls[FEED_STATE] = false;
	values[FEED_STATE] = CStringGetTextDatum(guc_feed_interval == 0 ? "off" : link_states[status->state]);
	nulls[FEED_SUCCEEDED_AT] = nulls[FEED_LAG] = (status->succeeded_at == 0);
	values[FEED_SUCCEEDED_AT] = TimestampTzGetDatum(status->succeeded_at);
	values[FEED_LAG] = time_since(status->succeeded_at);
	nulls[FEED_ERROR] = nulls[FEED_ERROR_AT] = (status->error_at == 0);
	values[FEED_ERROR] = CStringGetTextDatum(status->error);
	values[FEED_ERROR_AT] = TimestampTzGetDatum(status->error_at);
}

/* apikeys.read_feed(): one row; nulls where this is no standby. */
Datum
apikeys_read_feed(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[FEED_NCOLUMNS] = {0};
	bool		nulls[FEED_NCOLUMNS];
	FeedLinkStatus status;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	Assert(tupdesc->natts == FEED_NCOLUMNS);

	memset(nulls, true, sizeof(nulls));
	if (RecoveryInProgress() && feed_state_attach() != NULL)
	{
		feed_links_read(MyDatabaseId, &status);
		set_link_columns(&status, values, nulls);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* Adds the row of a server to a result. */
static void
add_server_row(ReturnSetInfo *rsinfo, const FeedServer *server)
{
	Datum		values[SERVER_NCOLUMNS];
	bool		nulls[SERVER_NCOLUMNS] = {[SERVER_PID] = server->pid == 0};

	values[SERVER_ID] = CStringGetTextDatum(psprintf(UINT64_FORMAT, server->state.node));
	values[SERVER_NAME] = CStringGetTextDatum(server->state.name);
	values[SERVER_DIRECT] = BoolGetDatum(server->direct);
	values[SERVER_PID] = Int32GetDatum(server->pid);
	values[SERVER_HEARD_AT] = TimestampTzGetDatum(server->heard_at);
	values[SERVER_SINCE] = TimestampTzGetDatum(server->state.since);
	for (int i = 0; i < FEED_NCOUNTS; i++)
		values[SERVER_COUNTS + i] = Int64GetDatum((int64) server->state.counts[i]);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* apikeys.read_servers(): a row for each server that has told this one of its use. */
Datum
apikeys_read_servers(PG_FUNCTION_ARGS)
{
	FeedServer *servers = palloc(FEED_MAX_SERVERS * sizeof(FeedServer));
	int			n = feed_state_attach() != NULL ? feed_servers_read(MyDatabaseId, servers) : 0;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
		add_server_row((ReturnSetInfo *) fcinfo->resultinfo, &servers[i]);
	return (Datum) 0;
}
