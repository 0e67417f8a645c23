/*-------------------------------------------------------------------------
 *
 * spi.c
 *	  How the store executes its statements.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The store is the only user of SPI.  A call opens a scope, which switches to
 * the owner of the tables as a SECURITY DEFINER function does, executes
 * statements, copies the results, and closes the scope.  After an error the end
 * of the (sub)transaction restores the user and closes SPI.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "store/catalog.h"
#include "store/spi.h"

/* Returns the owner of apikeys_data.key, with whose rights the store works. */
static Oid
table_owner(void)
{
	Oid			relid = store_relation_oid("key");
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);

	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Switches to the owner's rights and connects to SPI. */
void
store_open(StoreScope *scope)
{
	Assert(IsTransactionState());
	Assert(InterruptHoldoffCount == 0); /* so no LWLock is held */

	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	SetUserIdAndSecContext(table_owner(),
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
}

/* Disconnects from SPI and returns to the caller's rights. */
void
store_close(const StoreScope *scope)
{
	Assert(InLocalUserIdChange());

	SPI_finish();
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

/* Prepares a statement unless it has a plan. */
static void
prepare(Statement *statement)
{
	SPIPlanPtr	plan;

	Assert(InLocalUserIdChange()); /* a scope is open */
	Assert(statement->nargs >= 0 && statement->nargs <= FUNC_MAX_ARGS);

	if (statement->plan != NULL)
		return;

	plan = SPI_prepare(statement->sql, statement->nargs,
					   unconstify(Oid *, statement->argtypes));
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare statement: %s",
			 SPI_result_code_string(SPI_result));
	statement->plan = plan;
}

/* Fills SPI's form of nulls, which may be NULL. */
static void
set_null_flags(char *flags, const Statement *statement, const bool *nulls)
{
	for (int i = 0; i < statement->nargs; i++)
		flags[i] = (nulls != NULL && nulls[i]) ? 'n' : ' ';
}

/*
 * Executes a statement and returns the number of rows that it returned or
 * changed.  A snapshot of NULL leaves the choice to SPI: the active snapshot if
 * read_only, else a new one according to the isolation level.
 */
static uint64
execute(Statement *statement, Datum *values, const bool *nulls,
		Snapshot snapshot, bool read_only)
{
	char		null_flags[FUNC_MAX_ARGS];
	int			result;

	prepare(statement);
	set_null_flags(null_flags, statement, nulls);

	result = SPI_execute_snapshot(statement->plan, values, null_flags,
								  snapshot, InvalidSnapshot,
								  read_only, true, 0);
	if (result < 0)
		elog(ERROR, "could not execute statement: %s",
			 SPI_result_code_string(result));

	return SPI_processed;
}

/* Reads with the snapshot of the calling statement. */
uint64
store_read(Statement *statement, Datum *values, const bool *nulls)
{
	return execute(statement, values, nulls, InvalidSnapshot, true);
}

/*
 * Reads what is committed now, in any isolation level and however old the
 * transaction's snapshot is, and what this transaction has written itself.
 */
uint64
store_read_latest(Statement *statement, Datum *values, const bool *nulls)
{
	prepare(statement);			/* first, since it may wait for locks */
	return execute(statement, values, nulls, GetLatestSnapshot(), true);
}

/* Reads with a given snapshot. */
uint64
store_read_at(Statement *statement, Datum *values, const bool *nulls, Snapshot snapshot)
{
	Assert(snapshot != InvalidSnapshot);

	return execute(statement, values, nulls, snapshot, true);
}

/* Writes, and makes it visible to later commands of this transaction. */
uint64
store_write(Statement *statement, Datum *values, const bool *nulls)
{
	uint64		processed = execute(statement, values, nulls,
									InvalidSnapshot, false);

	CommandCounterIncrement();
	return processed;
}

/*
 * Has JSON show times and intervals in the same form whatever the session's
 * settings are, until AtEOXact_GUC() with the result, or an error.
 */
static int
set_event_format(void)
{
	int			nest_level = NewGUCNestLevel();

	set_config_option("TimeZone", "UTC", PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
	set_config_option("IntervalStyle", "postgres", PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

/*
 * Writes a change and its event.  The commit waits for the disk even with
 * synchronous_commit = off: an acknowledged change of keys must not be lost.
 */
uint64
store_write_durably(Statement *statement, Datum *values, const bool *nulls)
{
	int			nest_level = set_event_format();
	uint64		processed;

	ForceSyncCommit();
	processed = store_write(statement, values, nulls);
	AtEOXact_GUC(true, nest_level);

	return processed;
}

/*
 * Writes without firing triggers that are not ENABLE ALWAYS, which only the
 * owner of a table can set.  For tables that are written in the background or
 * on behalf of readers: code of other users must not run then.
 */
uint64
store_write_silently(Statement *statement, Datum *values, const bool *nulls)
{
	int			role = SessionReplicationRole;
	uint64		processed;

	PG_TRY();
	{
		SessionReplicationRole = SESSION_REPLICATION_ROLE_REPLICA;
		processed = store_write(statement, values, nulls);
	}
	PG_FINALLY();
	{
		SessionReplicationRole = role;
	}
	PG_END_TRY();

	return processed;
}

/*
 * Raises 09000 for a row that was not written, or whose event was not, because
 * a user's trigger has prevented it.
 */
void
store_not_written(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("%s was not written", table),
			 errhint("Look for a trigger on apikeys_data.%s or apikeys_data.event that prevents it.",
					 table)));
}

/* Executes a statement that must change one row of a table, durably. */
void
store_write_one(Statement *statement, const char *table, Datum *values, const bool *nulls)
{
	if (store_write_durably(statement, values, nulls) != 1)
		store_not_written(table);
}

/*
 * Copies the first row of the result into the caller's memory.  Values are
 * fetched from the toast table, from which they could be removed.
 */
HeapTuple
store_copy_row(void)
{
	HeapTuple	tuple;

	Assert(SPI_tuptable != NULL && SPI_tuptable->numvals > 0);
	tuple = SPI_tuptable->vals[0];
	if (HeapTupleHasExternal(tuple))
		tuple = toast_flatten_tuple(tuple, SPI_tuptable->tupdesc);

	return SPI_copytuple(tuple);
}

/*
 * Returns the row of a view for the id of an existing object, as a composite in
 * the caller's memory.  Opens a scope of its own.
 */
Datum
store_read_info(Statement *statement, const char *view, const pg_uuid_t *id)
{
	StoreScope	scope;
	Datum		info;
	bool		isnull;

	store_open(&scope);
	if (store_read_latest(statement, (Datum[]) {UUIDPGetDatum(id)}, NULL) != 1)
		elog(ERROR, "apikeys_data.%s has no row for what exists", view);
	info = SPI_datumTransfer(SPI_getbinval(SPI_tuptable->vals[0],
										   SPI_tuptable->tupdesc, 1, &isnull),
							 false, -1);
	store_close(&scope);

	return info;
}

/* Returns the role that called the store, for apikeys_data.event. */
Datum
store_acting_role(const StoreScope *scope)
{
	return DirectFunctionCall1(namein,
							   CStringGetDatum(GetUserNameFromId(scope->userid, false)));
}
