/*-------------------------------------------------------------------------
 *
 * feed_uses.c
 *	  What a standby has yet to tell the server that it follows.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * In general these are last uses that are later than the one that is known there,
 * and what was added to windows since.  To a server that is new, or has lost its
 * memory, whole windows are told first, but for what is yet to be told of them: that
 * follows.
 *
 * No lock is held for more than CHUNK entries, so that a verify does not wait.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "live/feed_uses.h"
#include "live/tracked_keys.h"

#define CHUNK			64
#define ITEMS_PER_ENTRY	(1 + MAX_TRACKED_WINDOWS)

/* What is told of an entry; returns how many items. */
typedef int (*EntryReader)(const TrackedKeyRef *ref, TrackedKey *entry, FeedItem *items, TimestampTz now);

/* Sets an item to the window of an entry, without what was used of it. */
static void
set_window(FeedItem *item, const TrackedKey *entry, const TrackedWindow *window)
{
	memset(item, 0, sizeof(FeedItem));
	item->owner = entry->tag.id;
	item->limit_id = window->id;
	item->seconds = window->seconds;
	item->unit = window->unit;
}

/* Reads the last use of an entry if it is not known yet. */
static int
read_use(TrackedKey *entry, FeedItem *item)
{
	TimestampTz last_used = pg_atomic_read_u64(&entry->last_used);

	if (last_used <= (TimestampTz) pg_atomic_read_u64(&entry->told))
		return 0;
	memset(item, 0, sizeof(FeedItem));
	item->owner = entry->tag.id;
	item->used.start = last_used;
	item->used.current = pg_atomic_read_u32(&entry->max_lag);
	item->ip = entry->last_used_ip;
	return 1;
}

/* Reads what is yet to be told of an entry.  Exclusive lock. */
static int
read_untold_entry(const TrackedKeyRef *ref, TrackedKey *entry, FeedItem *items, TimestampTz now)
{
	const TrackedWindowPool *pool = &ref->pools.windows;
	int			nitems = read_use(entry, items);

	for (int w = entry->limits.windows.first; w != NO_TRACKED_WINDOW; w = pool->windows[w].next)
	{
		UseDelta	untold;

		if (!use_delta_read(tracked_windows_delta(&pool->windows[w]), tracked_window_length(&pool->windows[w]), now, &untold))
			continue;
		set_window(&items[nitems], entry, &pool->windows[w]);
		items[nitems++].used = untold;
	}
	return nitems;
}

/*
 * Reads the live windows of an entry without what is yet to be told; the last use is
 * to be told again.  Exclusive lock.
 */
static int
read_whole_entry(const TrackedKeyRef *ref, TrackedKey *entry, FeedItem *items, TimestampTz now)
{
	const TrackedWindowPool *pool = &ref->pools.windows;
	int			nitems = 0;

	pg_atomic_write_u64(&entry->told, 0);
	for (int w = entry->limits.windows.first; w != NO_TRACKED_WINDOW; w = pool->windows[w].next)
	{
		int64		length = tracked_window_length(&pool->windows[w]);
		Window		known = pool->windows[w].window;

		use_delta_change(tracked_windows_delta(&pool->windows[w]), -1, &known, length, now);
		if (!window_is_live(&known, length, now))
			continue;
		set_window(&items[nitems], entry, &pool->windows[w]);
		items[nitems++].used = (UseDelta){known.start, known.current, known.previous};
	}
	return nitems;
}

/*
 * Reads entries of a partition from one on; returns the next one, which is less
 * than the end if there is no space for more.
 */
static int
read_entries(const TrackedKeyRef *ref, Oid database, int from, int end, EntryReader reader,
			 FeedItem *items, int *nitems, TimestampTz now)
{
	int			i = from;

	tracked_keys_lock(ref->partition, LW_EXCLUSIVE);
	for (; i < end && *nitems + ITEMS_PER_ENTRY <= FEED_BATCH; i++)
	{
		if (ref->entries[i].tag.database == database)
			*nitems += reader(ref, &ref->entries[i], &items[*nitems], now);
	}
	tracked_keys_unlock(ref->partition);

	return i;
}

/* Reads items from an entry on, up to FEED_BATCH; advances next, or ends the pass. */
static int
read_table(Oid database, int *next, EntryReader reader, FeedItem *items, TimestampTz now)
{
	TrackedKeys *table = tracked_keys_attach();
	int			nentries = table->npartitions * table->nentries;
	int			nitems = 0;

	Assert(OidIsValid(database) && tracked_windows_delta(tracked_keys_partition(table, 0).pools.windows.windows) != NULL);
	while (*next < nentries && nitems + ITEMS_PER_ENTRY <= FEED_BATCH)
	{
		TrackedKeyRef ref = tracked_keys_partition(table, *next / table->nentries);
		int			from = *next % table->nentries;

		*next += read_entries(&ref, database, from, Min(from + CHUNK, table->nentries), reader, items, &nitems, now) - from;
	}
	if (nitems + ITEMS_PER_ENTRY <= FEED_BATCH)
		*next = FEED_PASS_ENDED;

	return nitems;
}

/* Reads what is yet to be told. */
int
feed_uses_read_untold(Oid database, int *next, FeedItem *items, TimestampTz now)
{
	return read_table(database, next, read_untold_entry, items, now);
}

/* Reads all that this server knows of windows but for what is yet to be told. */
int
feed_uses_read_whole(Oid database, int *next, FeedItem *items, TimestampTz now)
{
	return read_table(database, next, read_whole_entry, items, now);
}

/*
 * What was told of a window is not to be told again, unless the window is a later one,
 * which has none of it.  Exclusive lock.
 */
static void
take_out_of_window(const TrackedKeyRef *ref, const TrackedKey *entry, const FeedItem *item, TimestampTz read_at)
{
	const TrackedWindowPool *pool = &ref->pools.windows;

	for (int w = entry->limits.windows.first; w != NO_TRACKED_WINDOW; w = pool->windows[w].next)
	{
		const TrackedWindow *window = &pool->windows[w];

		if (window->id == item->limit_id && window->created_at <= read_at)
			use_delta_take_out(tracked_windows_delta(window), tracked_window_length(window), &item->used, GetCurrentTimestamp());
	}
}

/* Notes that what was read at a time is known to the server that this one follows. */
void
feed_uses_acknowledge(Oid database, const FeedItem *items, int nitems, TimestampTz read_at)
{
	TrackedKeys *table = tracked_keys_attach();

	for (int i = 0; i < nitems; i++)
	{
		TrackedKeyRef ref = tracked_keys_locate(table, database, &items[i].owner);
		TrackedKey *entry;

		tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
		entry = tracked_keys_find(&ref);
		if (entry != NULL && items[i].limit_id != 0)
			take_out_of_window(&ref, entry, &items[i], read_at);
		else if (entry != NULL)
			tracked_keys_advance(&entry->told, items[i].used.start);
		tracked_keys_unlock(ref.partition);
	}
}
