/*-------------------------------------------------------------------------
 *
 * advisory_locks.c
 *	  The advisory locks of the extension.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "store/advisory_locks.h"
#include "store/lock_wait.h"

#define LOCK_CLASS	0xA9		/* SQL functions use 1 and 2 */

/* Who holds the lock on what there is one of; null for a prepared transaction. */
static Statement lock_holder = {
	.sql = "SELECT l.pid FROM pg_catalog.pg_locks l"
	" WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted"
	" AND l.database OPERATOR(pg_catalog.=) $1"
	" AND l.classid OPERATOR(pg_catalog.=) $3 AND l.objsubid OPERATOR(pg_catalog.=) $2",
	STATEMENT_ARGS(OIDOID, INT2OID, OIDOID)
};

PG_FUNCTION_INFO_V1(apikeys_try_lock_use);

/* What is locked: the classid of pg_locks. */
typedef enum Locked
{
	LOCKED_FLUSH,				/* of this database */
	LOCKED_USE,					/* the last use of a key */
	LOCKED_GRANTS,
	LOCKED_WARNINGS,			/* of a budget */
	LOCKED_BUDGET_TREE,			/* which budgets are above which */
	LOCKED_OWN_KEYS				/* how many keys a user has */
} Locked;

/*
 * Takes a lock until the transaction ends; hash is that of the key, budget or user.
 * No SQL function takes advisory locks of this class, so users cannot hold them.
 */
static bool
lock(Locked locked, uint32 hash, bool wait)
{
	LOCKTAG		tag;

	Assert(IsTransactionState());
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, locked, hash, LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static void
wait_for_lock(void *arg)
{
	lock(*(const Locked *) arg, 0, true);
}

static List *
lock_holders(void *arg)
{
	StoreScope	scope;
	MemoryContext caller = CurrentMemoryContext;
	List	   *pids = NIL;
	uint64		n;

	store_open(&scope);
	n = store_read_latest(&lock_holder,
						  (Datum[]) {ObjectIdGetDatum(MyDatabaseId), Int16GetDatum(LOCK_CLASS),
									ObjectIdGetDatum(*(const Locked *) arg)},
						  NULL);
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		pid = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(caller);

		pids = lappend_int(pids, isnull ? 0 : DatumGetInt32(pid));
		MemoryContextSwitchTo(old);
	}
	store_close(&scope);
	return pids;
}

/*
 * Takes a lock of which there is one in this database.  If another transaction
 * holds it, returns false unless wait is true; then the client is told who it
 * is if that takes long.
 */
static bool
lock_the_only(Locked locked, const char *what, bool wait)
{
	LockKind	kind = {what, wait_for_lock, lock_holders};

	if (lock(locked, 0, false))
		return true;
	if (wait)
		lock_and_tell(&kind, &locked);
	return wait;
}

/*
 * Takes the lock that serializes flushes of this database.  If another
 * transaction holds it, returns false unless wait is true.
 */
bool
store_lock_flush(bool wait)
{
	return lock_the_only(LOCKED_FLUSH, "the flush of this database", wait);
}

/*
 * Takes the lock that serializes changes of which budgets are above which.  To
 * be taken before the row of a budget is locked.
 */
void
store_lock_budget_tree(void)
{
	(void) lock_the_only(LOCKED_BUDGET_TREE, "the tree of budgets", true);
}

/* Takes the lock that serializes changes of who may do what. */
void
store_lock_grants(void)
{
	lock(LOCKED_GRANTS, 0, true);
}

/*
 * Takes the lock under which a budget warns; false if another transaction holds
 * it.
 */
bool
store_try_lock_warnings(const pg_uuid_t *budget_id)
{
	return lock(LOCKED_WARNINGS, hash_bytes(budget_id->data, UUID_LEN), false);
}

/* Takes the lock under which a user's keys are counted, before one is added. */
void
store_lock_own_keys(const pg_uuid_t *user_id)
{
	lock(LOCKED_OWN_KEYS, hash_bytes(user_id->data, UUID_LEN), true);
}

/* apikeys.try_lock_use(id uuid): boolean, for statements of the store. */
Datum
apikeys_try_lock_use(PG_FUNCTION_ARGS)
{
	uint32		hash = hash_bytes(PG_GETARG_UUID_P(0)->data, UUID_LEN);

	PG_RETURN_BOOL(lock(LOCKED_USE, hash, false));
}
