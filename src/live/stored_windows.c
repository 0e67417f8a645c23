/*-------------------------------------------------------------------------
 *
 * stored_windows.c
 *	  Windows in shared memory, and the rows in which they are stored.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Shared memory has the windows of those that are in use.  Flush workers store
 * those that have changed in apikeys_data.window_state, one row for each owner;
 * what is stored and has not changed since may be evicted (tracked_space.c).  An
 * owner that is not in memory is read back before anything is decided about it.
 *
 * An entry is exact, in memory, while there is one: its row is read once, when it
 * is made.  So the one thing that must not happen is that a row is put into memory
 * after a later state of it was there and has gone again.
 *
 * - Windows count as stored when the transaction that has written them is
 *	 committed, and visible to every snapshot that is taken from then on; and only
 *	 if they have not changed since they were copied.  A rolled-back flush stores
 *	 nothing.  On a standby they count as stored when a row that has as much was
 *	 found there, after they were copied (flush/replayed_windows.c).
 * - Who reads a row takes down before, under the lock, how often the chain of the
 *	 owner has lost an entry, and takes a new snapshot then.  If that has changed
 *	 when he has the lock again, the owner may have been there and gone meanwhile,
 *	 and he reads again.  If somebody else has read the owner, his entry stands.
 *
 * What a standby has counted belongs to nobody else, and its primary goes on to
 * store rows.  So after a promotion a row is read again, and of each window the
 * state counts that has used more; likewise for windows of a state file that may
 * be older than the rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "live/counters.h"
#include "live/stored_windows.h"
#include "live/tracked_space.h"
#include "settings/guc.h"
#include "store/window_rows.h"

#define MAX_READS	100			/* of one row, while others come and go in its chain */

StaticAssertDecl(WINDOW_ROW_MAX == MAX_TRACKED_WINDOWS, "a row has space for all windows of an owner");

/* What became of a row that was read. */
typedef enum ReadOutcome
{
	READ_DONE,
	READ_NO_SPACE,
	READ_OUTDATED				/* it may have changed while it was read */
} ReadOutcome;

/* ------------------------------------------------------- reading a row */

/* Returns whether an owner's windows are known, and takes down the state of its chain. */
static bool
are_known(const TrackedKeyRef *ref, uint32 *removals)
{
	TrackedKey *entry;
	bool		known;

	tracked_keys_lock(ref->partition, LW_SHARED);
	entry = tracked_keys_find(ref);
	known = entry != NULL && tracked_limits_are_known(&entry->limits);
	*removals = ref->chain->removals;
	tracked_keys_unlock(ref->partition);

	return known;
}

/*
 * Adds the windows of a row to those of an entry; false if there is no space.  They
 * are all there is unless the entry has others that are not stored.  Exclusive lock.
 */
static bool
add_windows(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry, const WindowRow *row,
			TimestampTz now, bool *evicted)
{
	bool		has_space = true;

	if (tracked_limits_are_stored(&entry->limits))
		tracked_windows_clear(&ref->pools.windows, &entry->limits.windows);
	entry->pinned = true;
	for (int i = 0; i < row->n && has_space; i++)
	{
		const StoredWindow *stored = &row->windows[i];

		if (window_is_live(&stored->window, stored_window_length(stored), now))
			has_space = tracked_keys_merge_window(table, ref, entry, stored, now, evicted);
	}
	entry->pinned = false;

	return has_space;
}

/* A row that was read, and before. */
typedef struct ReadRow
{
	uint32		removals;		/* of the owner's chain */
	WindowsKnown known;			/* what its windows are */
	bool		found;
	WindowRow	row;
} ReadRow;

/* Puts a row that was read into memory.  Exclusive lock. */
static ReadOutcome
put_row(TrackedKeys *table, const TrackedKeyRef *ref, const ReadRow *read, bool *evicted)
{
	TimestampTz now = GetCurrentTimestamp();
	TrackedKey *entry;
	bool		was_stored;

	if (ref->chain->removals != read->removals)
		return READ_OUTDATED;
	entry = tracked_keys_find_or_add(table, ref, now, evicted);
	if (entry == NULL)
		return READ_NO_SPACE;
	if (tracked_limits_are_known(&entry->limits))
		return READ_DONE;
	was_stored = tracked_limits_are_stored(&entry->limits);
	if (!add_windows(table, ref, entry, &read->row, now, evicted))
		return READ_NO_SPACE;

	tracked_limits_change(&ref->pools, &entry->limits);
	if (was_stored)
		entry->limits.stored_version = entry->limits.version;
	entry->limits.known = read->known;
	entry->limits.has_row = read->found;
	entry->limits.used_at = now;
	return READ_DONE;
}

/*
 * Reads the windows of an owner into memory, unless they are there; false if there
 * is no space.  Needs a transaction, and shared memory.
 */
bool
stored_windows_read(const pg_uuid_t *owner)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref = tracked_keys_locate(table, MyDatabaseId, owner);
	ReadOutcome outcome = READ_OUTDATED;

	for (int n = 0; n < MAX_READS && outcome == READ_OUTDATED; n++)
	{
		bool		evicted = false;
		ReadRow		read;

		CHECK_FOR_INTERRUPTS();
		if (are_known(&ref, &read.removals))
			return true;
		read.known = RecoveryInProgress() ? WINDOWS_READ_ON_STANDBY : WINDOWS_READ;
		read.found = store_read_windows(owner, &read.row);
		tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
		outcome = put_row(table, &ref, &read, &evicted);
		tracked_keys_unlock(ref.partition);
		if (evicted)
			counters_add(COUNT_EVICTIONS, 1);
	}

	return outcome == READ_DONE;
}

/*
 * Reads the windows of an owner into memory, and keeps them there until they have
 * been stored once more: the caller will change them where no table can be read.
 * False if there is no space.
 */
bool
stored_windows_keep(const pg_uuid_t *owner)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref;
	TrackedKey *entry;

	if (table == NULL || !stored_windows_read(owner))
		return false;

	ref = tracked_keys_locate(table, MyDatabaseId, owner);
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	if (entry != NULL)
		tracked_limits_change(&ref.pools, &entry->limits);
	tracked_keys_unlock(ref.partition);

	return entry != NULL;
}

/*
 * Reads the row of an owner whose windows are not known in memory, to look at it;
 * false if they are, or have been meanwhile.
 */
bool
stored_windows_peek(const pg_uuid_t *owner, WindowRow *row)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref = tracked_keys_locate(table, MyDatabaseId, owner);
	uint32		before;
	uint32		after;

	if (are_known(&ref, &before))
		return false;
	(void) store_read_windows(owner, row);
	return !are_known(&ref, &after) && after == before;
}

/* ----------------------------------------------------- storing what has changed */

/*
 * When the windows of an entry are to be stored: at once if this server has not
 * done so yet, and later once in apikeys.flush_interval; DT_NOEND: they are.
 */
TimestampTz
stored_windows_due_at(const TrackedKey *entry)
{
	const TrackedLimits *limits = &entry->limits;

	if (tracked_limits_are_stored(limits))
		return DT_NOEND;
	return limits->stored_at == 0 ? 0 : TimestampTzPlusMilliseconds(limits->stored_at, guc_flush_interval);
}

/*
 * Copies what an entry has to have stored: the windows that count, without what is
 * reserved, since reservations end with the server.  The lock is held.
 */
void
stored_windows_copy_entry(const TrackedKeyRef *ref, const TrackedKey *entry, TimestampTz now,
						  ChangedWindows *changed)
{
	const TrackedLimits *limits = &entry->limits;
	WindowRow  *row = &changed->row;

	changed->version = limits->version;
	changed->is_known = tracked_limits_are_known(limits);
	changed->has_row = limits->has_row;
	row->owner = entry->tag.id;
	row->n = 0;
	for (int w = limits->windows.first; w != NO_TRACKED_WINDOW; w = ref->pools.windows.windows[w].next)
	{
		const TrackedWindow *window = &ref->pools.windows.windows[w];
		StoredWindow *stored = &row->windows[row->n];

		*stored = (StoredWindow){window->id, window->seconds, window->unit, window->window};
		if (window->unit != WINDOW_REQUESTS)
			window_take_back(&stored->window, window->reserved);
		if (window_is_live(&stored->window, stored_window_length(stored), now))
			row->n++;
	}
}

/* Sets a cursor to the beginning of a partition, or of all (ALL_PARTITIONS). */
void
stored_windows_begin(WindowCursor *cursor, int partition)
{
	bool		all = partition == ALL_PARTITIONS;

	*cursor = (WindowCursor){all ? 0 : partition, all ? TRACKED_KEYS_MAX_PARTITIONS : partition + 1, 0};
}

/*
 * Collects up to max owners of a database whose windows have changed and are due,
 * from where the cursor is, which it advances; 0: there are no others.
 */
int
stored_windows_collect(Oid database, TimestampTz due_by, WindowCursor *cursor, ChangedWindows *changed, int max)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	while (table != NULL && n < max && cursor->partition < Min(cursor->end, table->npartitions))
	{
		TrackedKeyRef ref = tracked_keys_partition(table, cursor->partition);

		tracked_keys_lock(ref.partition, LW_SHARED);
		for (; cursor->entry < table->nentries && n < max; cursor->entry++)
		{
			const TrackedKey *entry = &ref.entries[cursor->entry];

			if (entry->tag.database == database && !tracked_limits_are_stored(&entry->limits) &&
				stored_windows_due_at(entry) <= due_by)
				stored_windows_copy_entry(&ref, entry, now, &changed[n++]);
		}
		tracked_keys_unlock(ref.partition);
		if (cursor->entry == table->nentries)
			*cursor = (WindowCursor){cursor->partition + 1, cursor->end, 0};
	}

	return n;
}

/* Copies the windows of an owner once more; false if it is not in memory, or they are stored. */
bool
stored_windows_copy(const pg_uuid_t *owner, ChangedWindows *changed)
{
	TrackedKeyRef ref = tracked_keys_locate(tracked_keys_attach(), MyDatabaseId, owner);
	TimestampTz now = GetCurrentTimestamp();
	TrackedKey *entry;
	bool		found;

	tracked_keys_lock(ref.partition, LW_SHARED);
	entry = tracked_keys_find(&ref);
	found = entry != NULL && !tracked_limits_are_stored(&entry->limits);
	if (found)
		stored_windows_copy_entry(&ref, entry, now, changed);
	tracked_keys_unlock(ref.partition);

	return found;
}

/*
 * Marks the windows of an owner as stored in a version: to be called when the
 * transaction that has written them has committed, or has been replayed.  They are
 * if they have not changed meanwhile.  Raises no error once shared memory is attached.
 */
void
stored_windows_mark(const pg_uuid_t *owner, uint32 version, bool has_row, TimestampTz now)
{
	TrackedKeyRef ref = tracked_keys_locate(tracked_keys_attach(), MyDatabaseId, owner);
	TrackedKey *entry;

	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	if (entry != NULL)
	{
		entry->limits.has_row |= has_row;
		entry->limits.stored_at = now;
		if (entry->limits.version == version)
			entry->limits.stored_version = version;
	}
	tracked_keys_unlock(ref.partition);
}
