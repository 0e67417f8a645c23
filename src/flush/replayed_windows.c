/*-------------------------------------------------------------------------
 *
 * replayed_windows.c
 *	  On a standby: which windows in memory have been stored.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * What a standby has told of its use, another server stores, some time; and what it
 * has stored, this one replays, some time.  No clock says when: a flush may be late,
 * the replay may be paused, and the other server may have had no space for what it
 * was told.  So who finds no space reads the rows.  If one has as much of each window
 * as the entry in memory, which has not changed meanwhile, the entry is stored, and
 * may be evicted as it may on the other server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "flush/replayed_windows.h"
#include "live/stored_windows.h"
#include "store/window_rows.h"

#define REPLAYED_BATCH	256		/* entries that are copied under one lock */

/*
 * Copies those of a batch of entries of a partition that may have been stored: all
 * that was used here is told.  Returns how many.
 */
static int
copy_told(const TrackedKeys *table, const TrackedKeyRef *ref, int first, ChangedWindows *told)
{
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	tracked_keys_lock(ref->partition, LW_SHARED);
	for (int i = first; i < Min(first + REPLAYED_BATCH, table->nentries); i++)
	{
		const TrackedKey *entry = &ref->entries[i];

		if (entry->tag.database == MyDatabaseId && !tracked_limits_are_stored(&entry->limits) &&
			entry->limits.holds.count == 0 && tracked_limits_are_told(&ref->pools, &entry->limits))
			stored_windows_copy_entry(ref, entry, now, &told[n++]);
	}
	tracked_keys_unlock(ref->partition);

	return n;
}

/* Has a row as much of each window? */
static bool
has_all(const WindowRow *row, const WindowRow *told)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < told->n; i++)
	{
		uint64		id = told->windows[i].id;

		if (window_row_used(row, id, now) < window_row_used(told, id, now))
			return false;
	}
	return true;
}

/* Marks what has been stored of some entries; returns of how many. */
static int
mark_stored(const ChangedWindows *told, int n)
{
	int			nstored = 0;

	for (int i = 0; i < n; i++)
	{
		WindowRow	row;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		found = store_read_windows(&told[i].row.owner, &row);
		if (has_all(&row, &told[i].row))
		{
			stored_windows_mark(&told[i].row.owner, told[i].version, found, GetCurrentTimestamp());
			nstored++;
		}
	}
	return nstored;
}

/*
 * Looks for entries of a partition that have been stored, until some are found;
 * returns how many.  Reads a table.
 */
int
replayed_windows_mark(TrackedKeys *table, const TrackedKeyRef *ref)
{
	ChangedWindows *told = palloc(REPLAYED_BATCH * sizeof(ChangedWindows));
	int			nstored = 0;

	Assert(RecoveryInProgress());
	for (int first = 0; first < table->nentries && nstored == 0; first += REPLAYED_BATCH)
		nstored = mark_stored(told, copy_told(table, ref, first, told));
	pfree(told);

	return nstored;
}
