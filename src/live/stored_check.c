/*-------------------------------------------------------------------------
 *
 * stored_check.c
 *	  Is stored what shared memory takes for stored?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Entries are copied under their lock, and compared with their rows without it.
 * Only if one is still the same afterwards, a difference is a fault.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "live/stored_check.h"
#include "live/stored_windows.h"
#include "store/dirty_read.h"
#include "store/window_rows.h"

/* Copies those of a batch of entries that are said to be stored; returns how many. */
static int
copy_stored(TrackedKeys *table, int p, int first, ChangedWindows *copies)
{
	TrackedKeyRef ref = tracked_keys_partition(table, p);
	int			n = 0;

	tracked_keys_lock(ref.partition, LW_SHARED);
	for (int i = first; i < Min(first + TRACKED_CHECK_BATCH, table->nentries); i++)
	{
		const TrackedKey *entry = &ref.entries[i];

		if (entry->tag.database == MyDatabaseId && entry->limits.known == WINDOWS_READ &&
			tracked_limits_are_stored(&entry->limits))
			stored_windows_copy_entry(&ref, entry, GetCurrentTimestamp(), &copies[n++]);
	}
	tracked_keys_unlock(ref.partition);

	return n;
}

/* Finds a limit of which one row has used another amount than the other; false if there is none. */
static bool
find_difference(const WindowRow *row, const WindowRow *other, TimestampTz now, int64 *used, int64 *other_used)
{
	for (int i = 0; i < row->n; i++)
	{
		*used = window_row_used(row, row->windows[i].id, now);
		*other_used = window_row_used(other, row->windows[i].id, now);
		if (*used != *other_used)
			return true;
	}
	return false;
}

/* Is an entry still as it was copied? */
static bool
is_unchanged(TrackedKeys *table, const ChangedWindows *copy)
{
	TrackedKeyRef ref = tracked_keys_locate(table, MyDatabaseId, &copy->row.owner);
	TrackedKey *entry;
	bool		unchanged;

	tracked_keys_lock(ref.partition, LW_SHARED);
	entry = tracked_keys_find(&ref);
	unchanged = entry != NULL && tracked_limits_are_stored(&entry->limits) && entry->limits.version == copy->version;
	tracked_keys_unlock(ref.partition);

	return unchanged;
}

/* Compares an entry with its row.  That of an owner that is gone may have been deleted. */
static void
check_stored(TrackedKeys *table, int p, const ChangedWindows *copy, TrackedFaults *faults)
{
	TimestampTz now = GetCurrentTimestamp();
	WindowRow	row;
	int64		found;
	int64		expected;

	(void) store_read_windows(&copy->row.owner, &row);
	if (!find_difference(&copy->row, &row, now, &expected, &found) &&
		!find_difference(&row, &copy->row, now, &found, &expected))
		return;
	if (!is_unchanged(table, copy) ||
		(!store_exists_for_anyone("key", &copy->row.owner) && !store_exists_for_anyone("budget", &copy->row.owner)))
		return;

	tracked_check_expect(faults, p, &(TrackedKeyTag){MyDatabaseId, copy->row.owner},
						 "what its row has counted", found, expected);
}

/* Checks a batch of the entries of a partition, from first on.  Reads tables. */
void
stored_check_entries(TrackedKeys *table, int p, int first, TrackedFaults *faults)
{
	ChangedWindows *copies = palloc(TRACKED_CHECK_BATCH * sizeof(ChangedWindows));
	int			n = copy_stored(table, p, first, copies);

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		check_stored(table, p, &copies[i], faults);
	}
	pfree(copies);
}
