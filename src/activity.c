/*-------------------------------------------------------------------------
 *
 * activity.c
 *	  What happens to keys all the time: their last use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "utils/timestamp.h"

#include "activity.h"
#include "guc.h"
#include "store.h"

/*
 * May this call write a last use?  Not in a transaction that may not write.
 * Not in one with a snapshot of its own either: there, a row that somebody
 * has just written is a serialization failure, and a verify must not fail.
 */
static bool
may_write(void)
{
	return !XactReadOnly && !IsolationUsesXactSnapshot() && !IsInParallelMode();
}

/*
 * Notes that a key was used.  It is written at most once each
 * apikeys.last_used_throttle, and only where nobody has to wait for it.
 */
void
activity_note_use(const pg_uuid_t *id, TimestampTz now)
{
	if (guc_last_used_throttle < 0 || !may_write())
		return;

	store_last_use(id, now,
				   TimestampTzPlusMilliseconds(now, -INT64CONST(1000) * guc_last_used_throttle));
}
