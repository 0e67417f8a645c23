/*-------------------------------------------------------------------------
 *
 * advisory_locks.c
 *	  The locks that are not on a table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "store/advisory_locks.h"

#define LOCK_KIND	0xA9		/* SQL's advisory locks are of kinds 1 and 2 */

PG_FUNCTION_INFO_V1(apikeys_try_lock_use);

/*
 * Takes a lock of ours until the transaction ends: of the use of a key, or,
 * with an id of NULL, of the flush of this database.  They are advisory locks
 * of a kind that no SQL function makes, so nobody else can hold them.
 */
static bool
lock(const pg_uuid_t *id, bool wait)
{
	uint32		hash = id == NULL ? 0 : hash_bytes(id->data, UUID_LEN);
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, id != NULL, hash, LOCK_KIND);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Takes the lock that lets one flush at a time work in this database.  False
 * when another has it and we do not wait.
 */
bool
store_lock_flush(bool wait)
{
	return lock(NULL, wait);
}

/* apikeys.try_lock_use(id uuid): boolean, for the statements above. */
Datum
apikeys_try_lock_use(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lock(PG_GETARG_UUID_P(0), false));
}
