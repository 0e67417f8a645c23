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
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "store/catalog.h"
#include "store/plan_relations.h"
#include "store/spi.h"

/*
 * Returns the owner of apikeys_data.key, with whose rights the store works.
 * Raises 42P01.
 */
static Oid
table_owner(void)
{
	Oid			relid = store_relation_oid("key");
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		store_undefined_table("key");

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
void
store_prepare(Statement *statement)
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

	store_prepare(statement);
	set_null_flags(null_flags, statement, nulls);

	result = SPI_execute_snapshot(statement->plan, values, null_flags,
								  snapshot, InvalidSnapshot,
								  read_only, true, 0);
	if (result < 0)
		elog(ERROR, "could not execute statement: %s",
			 SPI_result_code_string(result));

	return SPI_processed;
}

/* Is the plan that is saved the one whose relations are known? */
static bool
has_known_plan(const Statement *statement)
{
	const CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(statement->plan));

	return source->is_valid && source->gplan != NULL && source->gplan->is_valid &&
		   source->gplan->generation == statement->generation;
}

/* Plans a statement if necessary, and remembers which relations it reads. */
static void
look_up_relations(Statement *statement)
{
	CachedPlan *plan = SPI_plan_get_cached_plan(statement->plan);
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	Assert(plan != NULL);
	list_free(statement->relations);
	statement->relations = NIL;
	statement->relations = plan_relations(plan);
	statement->generation = plan->generation;
	MemoryContextSwitchTo(old);
	ReleaseCachedPlan(plan, CurrentResourceOwner);
}

/*
 * Locks what a statement is going to read.  A plan that has become invalid
 * during the wait is made again, for which the planner locks the tables and all
 * their indexes.  Meanwhile we have none: REINDEX may have one of the others, and
 * want ours.
 */
static void
lock_statement(Statement *statement)
{
	store_prepare(statement);
	lock_relations(statement->relations);
	if (!has_known_plan(statement))
	{
		unlock_relations(statement->relations);
		look_up_relations(statement);
		lock_relations(statement->relations);
	}
}

/*
 * Has a statement been planned since its relations were looked up?  That was
 * after its snapshot was taken, and planning may have waited for locks.
 */
static bool
was_planned_again(const Statement *statement)
{
	const CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(statement->plan));

	return source->generation != statement->generation;
}

/*
 * Fetches the values of the result from TOAST tables, while they are locked.
 * Returns whether there were any.
 */
static bool
detoast_result(void)
{
	bool		found = false;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple  *row = &SPI_tuptable->vals[i];

		if (HeapTupleHasExternal(*row))
		{
			*row = toast_flatten_tuple(*row, SPI_tuptable->tupdesc);
			found = true;
		}
	}
	return found;
}

/*
 * Locks first, then the snapshot: a statement that had to wait must not read
 * with a snapshot from before the wait.  If it then turns out to need other
 * locks, it is executed once more, now that they are held.
 *
 * The generic plan is used whatever plan_cache_mode says: a custom one is made
 * after the snapshot was taken.
 *
 * With others, what this transaction has written itself is not seen.
 */
static uint64
read_after_locks(Statement *statement, Datum *values, const bool *nulls,
				 bool others, SavedSnapshot *saved, MemoryContext context)
{
	int			attempts = 2;
	uint64		processed;
	bool		again;

	lock_statement(statement);
	do
	{
		Snapshot	snapshot = GetLatestSnapshot();

		if (others)
			snapshot->curcid = FirstCommandId;
		if (saved != NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(context);

			saved_snapshot_take(saved, snapshot);
			MemoryContextSwitchTo(old);
		}
		processed = execute(statement, values, nulls, snapshot, true);

		again = was_planned_again(statement);
		if (detoast_result() && attempts > 1)
		{
			lock_toast_of_relations(statement->relations);
			again = true;
		}
	} while (again && --attempts > 0);

	return processed;
}

/*
 * Reads with the latest snapshot, whose locks end with the read, as they do for
 * a catalog: they have a resource owner of their own.  So a
 * transaction that has verified a key and is left open, or prepared, does not
 * block ALTER TABLE or TRUNCATE, behind which all others would queue.  The result
 * must not point to TOAST.
 */
static uint64
read_latest(Statement *statement, Datum *values, const bool *nulls,
			bool others, SavedSnapshot *saved, MemoryContext context)
{
	ResourceOwner caller = CurrentResourceOwner;
	ResourceOwner owner = ResourceOwnerCreate(caller, "apikeys read");
	int			mode = plan_cache_mode;
	uint64		processed;

	PG_TRY();
	{
		CurrentResourceOwner = owner;
		plan_cache_mode = PLAN_CACHE_MODE_FORCE_GENERIC_PLAN;
		processed = read_after_locks(statement, values, nulls, others, saved, context);
	}
	PG_FINALLY();
	{
		plan_cache_mode = mode;
		CurrentResourceOwner = caller;
	}
	PG_END_TRY();

	/* As for a commit, but locks are released, not passed on. */
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_BEFORE_LOCKS, true, false);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_LOCKS, false, false);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_AFTER_LOCKS, true, false);
	ResourceOwnerDelete(owner);

	return processed;
}

/*
 * Reads what is committed now, in any isolation level and however old the
 * transaction's snapshot is, and what this transaction has written itself.
 */
uint64
store_read_latest(Statement *statement, Datum *values, const bool *nulls)
{
	return read_latest(statement, values, nulls, false, NULL, NULL);
}

/* The same; its snapshot is saved in a memory context. */
uint64
store_read_latest_saved(Statement *statement, Datum *values, const bool *nulls,
						SavedSnapshot *saved, MemoryContext context)
{
	return read_latest(statement, values, nulls, false, saved, context);
}

/*
 * Reads what is committed now without the changes of this transaction, which
 * may yet be rolled back.  Its snapshot is saved in a memory context, unless
 * saved is NULL.
 */
uint64
store_read_committed_saved(Statement *statement, Datum *values, const bool *nulls,
						   SavedSnapshot *saved, MemoryContext context)
{
	return read_latest(statement, values, nulls, true, saved, context);
}

/*
 * Reads with the snapshot of the transaction where the isolation level has one,
 * and else what is committed now.
 */
uint64
store_read(Statement *statement, Datum *values, const bool *nulls)
{
	if (IsolationUsesXactSnapshot())
		return execute(statement, values, nulls, InvalidSnapshot, true);
	return store_read_latest(statement, values, nulls);
}

/*
 * Locks the table of keys until the transaction ends, before another table is
 * written.  DROP EXTENSION locks it first, too: holding another table, a later
 * statement of this transaction would wait for it in a deadlock.
 */
void
store_lock_keys_first(void)
{
	LockRelationOid(store_relation_oid("key"), AccessShareLock);
}

/*
 * Writes with a snapshot as execute() takes it, and makes it visible to later
 * commands of this transaction.
 */
static uint64
write_at(Statement *statement, Datum *values, const bool *nulls, Snapshot snapshot)
{
	uint64		processed = execute(statement, values, nulls, snapshot, false);

	CommandCounterIncrement();
	return processed;
}

/* Writes, and makes it visible to later commands of this transaction. */
uint64
store_write(Statement *statement, Datum *values, const bool *nulls)
{
	return write_at(statement, values, nulls, InvalidSnapshot);
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

	store_lock_keys_first();
	ForceSyncCommit();
	processed = store_write(statement, values, nulls);
	AtEOXact_GUC(true, nest_level);

	return processed;
}

/* As store_write_silently(), with a snapshot as execute() takes it. */
uint64
store_write_silently_at(Statement *statement, Datum *values, const bool *nulls,
						Snapshot snapshot)
{
	int			role = SessionReplicationRole;
	uint64		processed;

	PG_TRY();
	{
		SessionReplicationRole = SESSION_REPLICATION_ROLE_REPLICA;
		processed = write_at(statement, values, nulls, snapshot);
	}
	PG_FINALLY();
	{
		SessionReplicationRole = role;
	}
	PG_END_TRY();

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
	return store_write_silently_at(statement, values, nulls, InvalidSnapshot);
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
 * Reads the row of a view for the id of an object, as a composite in the caller's
 * memory; returns false if there is none.  Opens a scope of its own.
 */
bool
store_read_info(Statement *statement, const pg_uuid_t *id, Datum *info)
{
	StoreScope	scope;
	bool		found;
	bool		isnull;

	store_open(&scope);
	found = store_read_latest(statement, (Datum[]) {UUIDPGetDatum(id)}, NULL) == 1;
	if (found)
		*info = SPI_datumTransfer(SPI_getbinval(SPI_tuptable->vals[0],
												SPI_tuptable->tupdesc, 1, &isnull),
								  false, -1);
	store_close(&scope);

	return found;
}

/* Returns the role that called the store, for apikeys_data.event. */
Datum
store_acting_role(const StoreScope *scope)
{
	return DirectFunctionCall1(namein,
							   CStringGetDatum(GetUserNameFromId(scope->userid, false)));
}
