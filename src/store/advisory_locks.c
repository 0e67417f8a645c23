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
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "store/advisory_locks.h"

#define LOCK_CLASS	0xA9		/* SQL functions use 1 and 2 */

PG_FUNCTION_INFO_V1(apikeys_try_lock_use);

/*
 * Takes a lock until the transaction ends: that of the last use of a key, or,
 * with an id of NULL, that of the flush of this database.  No SQL function takes
 * advisory locks of this class, so users cannot hold them.
 */
static bool
lock(const pg_uuid_t *id, bool wait)
{
	uint32		hash = id == NULL ? 0 : hash_bytes(id->data, UUID_LEN);
	LOCKTAG		tag;

	Assert(IsTransactionState());
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, id != NULL, hash, LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Takes the lock that serializes flushes of this database.  Returns false if
 * another transaction holds it and wait is false.
 */
bool
store_lock_flush(bool wait)
{
	return lock(NULL, wait);
}

/* apikeys.try_lock_use(id uuid): boolean, for statements of the store. */
Datum
apikeys_try_lock_use(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lock(PG_GETARG_UUID_P(0), false));
}
