/*-------------------------------------------------------------------------
 *
 * idle_keys.c
 *	  When a key with an idle_timeout expires, by its last use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The last use is the later of that in shared memory, which every backend sees
 * at once, and that in the table apikeys_data.usage.  The table is read only if
 * the key would be idle without it.  Once it is, each check reads the table:
 * nothing has to be remembered, and a use that a primary has had arrives on its
 * standby when it is replayed.
 *
 * An entry of shared memory is removed only when the table has its use, so the
 * table is read after it.  A crash empties shared memory.  Then the table may
 * lack the uses of the time within which they have to be persisted, see
 * idleness_max_lag(): the key expires as much too early, and never too late.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "live/idle_keys.h"
#include "live/last_used.h"
#include "model/idleness.h"
#include "store/last_used.h"

/*
 * Returns until when a key may be used if it is not used before, DT_NOEND for
 * one without idle_timeout; a derived one, as long as its parent may be.  Reading
 * the table may have to wait for a lock; then now is the time after it, and keys
 * may have changed.
 */
TimestampTz
idle_keys_end(const KeyRow *key, TimestampTz *now)
{
	const Interval *timeout;
	const pg_uuid_t *id =
		DatumGetUUIDP(key->values[key->nulls[KEY_PARENT_ID] ? KEY_ID : KEY_PARENT_ID]);
	TimestampTz since;
	TimestampTz end;

	if (key->nulls[KEY_IDLE_TIMEOUT])
		return DT_NOEND;

	timeout = DatumGetIntervalP(key->values[KEY_IDLE_TIMEOUT]);
	since = Max(DatumGetTimestampTz(key->values[KEY_IDLE_SINCE]), last_used_get(id, NULL));
	end = idleness_end(timeout, since);
	if (*now <= end)
		return end;

	/* Whoever has used it during a wait has left that in shared memory. */
	since = Max(since, store_read_last_use(id));
	since = Max(since, last_used_get(id, NULL));
	*now = GetCurrentTimestamp();
	return idleness_end(timeout, since);
}
