/*-------------------------------------------------------------------------
 *
 * lock_wait.c
 *	  Waiting for a lock, and telling the client who holds it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A revocation that waits for a transaction which somebody has left open would
 * wait in silence, and the key works meanwhile.  The server has no warning for
 * that, so the first wait is a subtransaction with a lock_timeout.  It is only
 * begun if the lock is not to be had at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "lib/stringinfo.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "store/catalog.h"
#include "store/lock_wait.h"

/* After deadlock_timeout, so that a deadlock is found first. */
#define TELL_AFTER_MS	(DeadlockTimeout + 10)

/* Takes a lock; returns false if that takes longer than a timeout in ms. */
static bool
wait_for(const LockKind *kind, void *arg, int timeout)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			lock_timeout = LockTimeout;
	volatile bool taken = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		LockTimeout = timeout;
		kind->wait(arg);
		LockTimeout = lock_timeout;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		LockTimeout = lock_timeout;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(error);
		FreeErrorData(error);
		taken = false;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return taken;
}

/* Tells the client who holds a lock, if anybody still does. */
static void
tell(const char *what, List *holders)
{
	StringInfoData pids;
	ListCell   *cell;

	if (holders == NIL)
		return;

	initStringInfo(&pids);
	foreach(cell, holders)
	{
		if (lfirst_int(cell) != 0)
			appendStringInfo(&pids, "%s%d", pids.len > 0 ? ", " : "", lfirst_int(cell));
	}
	ereport(WARNING,
			(errmsg("waiting for a lock on %s", what),
			 pids.len == 0
				 ? errhint("A prepared transaction holds it: pg_prepared_xacts shows it,"
						   " COMMIT PREPARED or ROLLBACK PREPARED ends it.")
				 : errhint("Process %s holds it until its transaction ends: pg_stat_activity"
						   " shows what it does, pg_terminate_backend() ends it.",
						   pids.data)));
	pfree(pids.data);
}

/*
 * Takes a lock that another session holds.  If that still holds it after
 * deadlock_timeout, the client gets a warning that names the session, unless
 * the caller's lock_timeout ends the wait earlier.
 */
void
lock_and_tell(const LockKind *kind, void *arg)
{
	if (LockTimeout > 0 && LockTimeout <= TELL_AFTER_MS)
		kind->wait(arg);
	else if (!wait_for(kind, arg, TELL_AFTER_MS))
	{
		tell(kind->what, kind->holders(arg));
		kind->wait(arg);
	}
}

/* The lock of one row. */
typedef struct RowLockTarget
{
	RowLock	   *lock;
	Datum	   *values;			/* of the statements' parameters */
	const bool *nulls;
} RowLockTarget;

static void
wait_for_row(void *arg)
{
	RowLockTarget *target = arg;

	store_write(&target->lock->wait, target->values, target->nulls);
}

/* Adds the process of a transaction, unless it has ended or is our own. */
static List *
add_holder(List *pids, TransactionId xid)
{
	if (!TransactionIdIsInProgress(xid) || TransactionIdIsCurrentTransactionId(xid))
		return pids;
	return list_append_unique_int(pids, BackendXidGetPid(SubTransGetTopmostTransaction(xid)));
}

/* Returns the processes of the transactions that have locked a tuple. */
static List *
tuple_holders(const char *table, ItemPointer tid)
{
	Relation	rel = store_open_table(table);
	HeapTupleData tuple = {.t_self = *tid};
	Buffer		buffer;
	TransactionId xmax = InvalidTransactionId;
	uint16		infomask = 0;
	MultiXactMember *members;
	List	   *pids = NIL;
	int			n;

	if (rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		heap_fetch(rel, SnapshotAny, &tuple, &buffer, false))
	{
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		infomask = tuple.t_data->t_infomask;
		xmax = HeapTupleHeaderGetRawXmax(tuple.t_data);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		ReleaseBuffer(buffer);
	}
	table_close(rel, AccessShareLock);

	if (infomask & HEAP_XMAX_INVALID || !TransactionIdIsValid(xmax))
		return NIL;
	if (!(infomask & HEAP_XMAX_IS_MULTI))
		return add_holder(NIL, xmax);

	n = GetMultiXactIdMembers(xmax, &members, false, HEAP_XMAX_IS_LOCKED_ONLY(infomask));
	for (int i = 0; i < n; i++)
		pids = add_holder(pids, members[i].xid);
	return pids;
}

static List *
row_holders(void *arg)
{
	RowLockTarget *target = arg;
	bool		isnull;
	Datum		tid;

	if (store_write(&target->lock->find, target->values, target->nulls) == 0)
		return NIL;
	tid = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return tuple_holders(target->lock->table, (ItemPointer) DatumGetPointer(tid));
}

/*
 * Locks the table of a row that a later statement changes as that will, since
 * from now on we have locks on its indexes, too: while one of the statements
 * waited for a REINDEX, that would wait for us.
 */
static void
lock_table_of_row(const RowLock *lock)
{
	store_lock_keys_first();
	if (strcmp(lock->strength, "KEY SHARE") != 0)
		LockRelationOid(store_relation_oid(lock->table), RowExclusiveLock);
}

/*
 * Locks a row until the transaction ends, in an open scope; false if there is
 * none that meets the condition of the lock's statements, whose parameters have
 * these values.  The row is the result.  The client is told if the lock is long
 * in coming.  Nobody waits for a row that does not meet the condition.
 */
bool
store_lock_row_if(RowLock *lock, Datum *values, const bool *nulls)
{
	RowLockTarget target = {lock, values, nulls};
	LockKind	kind = {lock->what, wait_for_row, row_holders};

	lock_table_of_row(lock);
	if (store_write(&lock->try, values, nulls) > 0)
		return true;
	if (store_write(&lock->find, values, nulls) == 0)
		return false;

	lock_and_tell(&kind, &target);
	return store_write(&lock->wait, values, nulls) > 0;
}

/* The same, for the row with a key and no further condition. */
bool
store_lock_row_by(RowLock *lock, Datum key)
{
	return store_lock_row_if(lock, &key, NULL);
}

/* The same, by the id of the row. */
bool
store_lock_row(RowLock *lock, const pg_uuid_t *id)
{
	return store_lock_row_by(lock, UUIDPGetDatum(id));
}
