/*-------------------------------------------------------------------------
 *
 * notify.c
 *	  NOTIFY for each event of the audit log.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A trigger on apikeys_data.event calls this, so no event goes unsent, whether a
 * session or a flush worker inserts it.  Rows that COPY loads from a dump, or
 * that logical replication applies, are of past events and are not sent: only
 * the store switches to the owner's rights before it inserts.
 *
 * The server delivers notifications at commit, and discards them at rollback.
 * It keeps them in memory, and in a queue that all listeners share.  So of what
 * functions in bulk do, the first events of a transaction are sent; after them
 * one notification says that there are more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_relation.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "settings/guc.h"
#include "store/bulk.h"

/* The longest payload of NOTIFY: NOTIFY_PAYLOAD_MAX_LENGTH of async.c. */
#define PAYLOAD_MAX_LEN	(BLCKSZ - NAMEDATALEN - 128 - 1)

#define MAX_EVENTS	64			/* in bulk, of one transaction, that are sent */
#define MORE_EVENTS	"more_events"

/* The last transaction with events in bulk, how many it has sent, and where it said that there are more. */
static FullTransactionId sender;
static int	nsent;
static SubTransactionId said_more_in;

PG_FUNCTION_INFO_V1(apikeys_notifies);
PG_FUNCTION_INFO_V1(apikeys_notify_event);

static char *
row_as_json(HeapTuple row, TupleDesc desc)
{
	Datum		composite = heap_copy_tuple_as_datum(row, desc);

	return TextDatumGetCString(DirectFunctionCall1(row_to_json, composite));
}

/* Returns the event as JSON, without its details if they make it too long. */
static char *
event_payload(HeapTuple event, Relation table)
{
	TupleDesc	desc = RelationGetDescr(table);
	char	   *payload = row_as_json(event, desc);
	int			details = attnameAttNum(table, "details", false);
	Datum		nothing = (Datum) 0;
	bool		isnull = true;

	if (strlen(payload) <= PAYLOAD_MAX_LEN)
		return payload;

	return row_as_json(heap_modify_tuple_by_cols(event, desc, 1, &details,
												 &nothing, &isnull),
					   desc);
}

/*
 * Returns what says that this event and others are not sent: when, and by whom
 * they were made.
 */
static char *
more_events_payload(HeapTuple event, Relation table)
{
	static const char *const columns[] = {"action", "key_id", "details"};
	TupleDesc	desc = RelationGetDescr(table);
	int			attnums[lengthof(columns)];
	Datum		values[lengthof(columns)] = {CStringGetTextDatum(MORE_EVENTS)};
	bool		nulls[lengthof(columns)] = {false, true, true};

	for (size_t i = 0; i < lengthof(columns); i++)
		attnums[i] = attnameAttNum(table, columns[i], false);
	return row_as_json(heap_modify_tuple_by_cols(event, desc, lengthof(columns), attnums, values, nulls),
					   desc);
}

static void
send(HeapTuple event, Relation table)
{
	Async_Notify(guc_notify_channel, event_payload(event, table));
}

/*
 * Sends one of many events, or, for the first that is too many, that there are
 * more.  A savepoint that is rolled back takes along what was said in it.
 */
static void
send_one_of_many(HeapTuple event, Relation table)
{
	if (!FullTransactionIdIsValid(sender) ||
		!FullTransactionIdEquals(sender, GetTopFullTransactionIdIfAny()))
	{
		sender = GetTopFullTransactionId();
		nsent = 0;
		said_more_in = InvalidSubTransactionId;
	}

	if (nsent < MAX_EVENTS)
	{
		send(event, table);
		nsent++;
	}
	else if (said_more_in != GetCurrentSubTransactionId())
	{
		Async_Notify(guc_notify_channel, more_events_payload(event, table));
		said_more_in = GetCurrentSubTransactionId();
	}
}

/*
 * apikeys.notifies(): boolean, is there a channel?  The condition of the trigger:
 * without one no row is kept for it until the statement ends.
 */
Datum
apikeys_notifies(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(guc_notify_channel[0] != '\0');
}

/* Row trigger AFTER INSERT on apikeys_data.event. */
Datum
apikeys_notify_event(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("apikeys.notify_event() is the trigger of apikeys_data.event")));

	/*
	 * The condition has seen a channel; but whoever makes the trigger anew may leave
	 * the condition out, and NOTIFY without a channel is an error: then no key could be
	 * revoked.
	 */
	if (guc_notify_channel[0] == '\0' || !InLocalUserIdChange())
		return PointerGetDatum(NULL);

	if (store_is_writing_many(false))
		send_one_of_many(trigger->tg_trigtuple, trigger->tg_relation);
	else
		send(trigger->tg_trigtuple, trigger->tg_relation);

	return PointerGetDatum(NULL);
}
