/*-------------------------------------------------------------------------
 *
 * retention.c
 *	  The statements that delete old events and days of usage.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A function cannot commit, and what it deletes stays locked until its
 * transaction ends.  So each call deletes a batch, and rows that others have
 * locked are left for the next one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"

#include "store/retention.h"
#include "store/spi.h"

#define BATCH	"10000"

/* Deletes the rows that a query of ctids finds, and logs how many. */
#define DELETE_AND_LOG(table, ctids, action) \
	"WITH deleted AS (DELETE FROM " table " WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(" \
	ctids " LIMIT " BATCH " FOR UPDATE SKIP LOCKED)) RETURNING 1)," \
	" counted AS (SELECT pg_catalog.count(*) AS n FROM deleted)," \
	" logged AS (" ADD_EVENT \
	" SELECT $2, $3, '" action "', NULL," \
	" pg_catalog.jsonb_build_object('before', $1, 'deleted', counted.n)" \
	" FROM counted WHERE counted.n OPERATOR(pg_catalog.>) 0 RETURNING 1)" \
	" SELECT (SELECT counted.n FROM counted), (SELECT pg_catalog.count(*) FROM logged)"

static Statement delete_events = {
	.sql = DELETE_AND_LOG("apikeys_data.event",
						  "SELECT e.ctid FROM apikeys_data.event e"
						  " WHERE e.at OPERATOR(pg_catalog.<) $1 ORDER BY e.at, e.id",
						  "cleanup_events"),
	STATEMENT_ARGS(TIMESTAMPTZOID, TIMESTAMPTZOID, NAMEOID)
};

/* The totals of keys have what these days add up to. */
static Statement delete_usage_days = {
	.sql = DELETE_AND_LOG("apikeys_data.usage_day",
						  "SELECT d.ctid FROM apikeys_data.usage_day d WHERE d.day"
						  " OPERATOR(pg_catalog.<) pg_catalog.timezone('UTC', $1)::pg_catalog.date"
						  " ORDER BY d.day",
						  "cleanup_usage"),
	STATEMENT_ARGS(TIMESTAMPTZOID, TIMESTAMPTZOID, NAMEOID)
};

/* Executes such a statement; returns how many rows it has deleted. */
static int64
delete_and_log(Statement *statement, TimestampTz until, TimestampTz now)
{
	StoreScope	scope;
	Datum		row[2];
	bool		nulls[2];

	store_open(&scope);
	store_write_durably(statement,
						(Datum[]) {TimestampTzGetDatum(until), TimestampTzGetDatum(now),
								  store_acting_role(&scope)},
						NULL);
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, row, nulls);
	if (DatumGetInt64(row[0]) > 0 && DatumGetInt64(row[1]) != 1)
		store_not_written("event");
	store_close(&scope);

	return DatumGetInt64(row[0]);
}

/* Deletes a batch of events from before a time, the oldest; returns how many. */
int64
store_delete_events(TimestampTz until, TimestampTz now)
{
	return delete_and_log(&delete_events, until, now);
}

/* As store_delete_events(), rows of UTC days that had ended by then. */
int64
store_delete_usage_days(TimestampTz until, TimestampTz now)
{
	return delete_and_log(&delete_usage_days, until, now);
}
