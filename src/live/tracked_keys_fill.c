/*-------------------------------------------------------------------------
 *
 * tracked_keys_fill.c
 *	  How full the shared table of keys is.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "live/tracked_keys.h"
#include "live/tracked_keys_fill.h"

/*
 * Has an entry windows or holds that count?  In contrast to
 * tracked_keys_is_limiting() this changes nothing, so that the shared lock is
 * enough, and counts holds that have timed out.
 */
static bool
has_limits(const TrackedKeyRef *ref, const TrackedKey *entry, TimestampTz now)
{
	return entry->limits.holds.count > 0 ||
		   tracked_windows_any_live(&ref->pools.windows, &entry->limits.windows, now);
}

/* Reads how full the table is; false if there is no shared memory. */
bool
tracked_keys_read_fill(TrackedKeysFill *fill)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now = GetCurrentTimestamp();

	if (table == NULL)
		return false;

	memset(fill, 0, sizeof(TrackedKeysFill));
	fill->last_flush = pg_atomic_read_u64(&table->last_flush);
	for (int p = 0; p < table->npartitions; p++)
	{
		TrackedKeyRef ref = tracked_keys_partition(table, p);
		TrackedKey *entries = ref.entries;

		tracked_keys_lock(ref.partition, LW_SHARED);
		fill->used += ref.partition->nused;
		for (int i = 0; i < table->nentries; i++)
		{
			Oid			database = entries[i].tag.database;

			fill->limited += has_limits(&ref, &entries[i], now);
			fill->other_databases += OidIsValid(database) && database != MyDatabaseId;
			fill->pending += tracked_keys_is_pending(&entries[i]);
		}
		tracked_keys_unlock(ref.partition);
	}
	fill->free = (int64) table->npartitions * table->nentries - fill->used;

	return true;
}
