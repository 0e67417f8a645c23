/*-------------------------------------------------------------------------
 *
 * feed_changes.c
 *	  What has changed of last uses and windows, for servers that follow this one.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A verify does nothing for them.  Whoever asks what has changed passes over the
 * table of tracked keys, and compares each entry with its mark: if its last use or
 * the version of its limits is another, it has changed, and gets the position of
 * this pass.  He is told all entries with a position after the one up to which he
 * knows all, with their last use and all their windows that are not over: states, so being told
 * twice does no harm.  A pass may take several calls; an entry that changes after
 * its turn gets a later position, and its turn comes in the next pass.
 *
 * No lock is held for more than CHUNK entries, and no call looks at more than
 * MAX_EXAMINED.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "live/feed_changes.h"
#include "live/feed_state.h"
#include "live/tracked_keys.h"

#define CHUNK			64
#define MAX_EXAMINED	262144

/* The most items that an entry can be. */
#define ITEMS_PER_ENTRY	(1 + MAX_TRACKED_WINDOWS)

StaticAssertDecl(FEED_BATCH >= ITEMS_PER_ENTRY, "each entry fits in a message");

/* A reader of changes. */
typedef struct ChangeReader
{
	Oid			database;
	FeedCursor *cursor;
	FeedItem   *items;
	int			nitems;
	int			max;
	TimestampTz now;
} ChangeReader;

/*
 * Sets the mark of an entry that has changed since it was last seen, to a position
 * that no pass which has gone by it knows: others may have begun since this one.
 */
static void
update_mark(FeedMark *mark, TrackedKey *entry, uint64 position)
{
	TimestampTz last_used = pg_atomic_read_u64(&entry->last_used);

	if (mark->position != 0 && mark->seen_use == last_used && mark->seen_version == entry->limits.version)
		return;
	mark->position = position;
	mark->seen_use = last_used;
	mark->seen_version = entry->limits.version;
}

static void
add_use(ChangeReader *reader, TrackedKey *entry)
{
	FeedItem	item = {.owner = entry->tag.id, .ip = entry->last_used_ip};

	item.used.start = pg_atomic_read_u64(&entry->last_used);
	item.used.current = pg_atomic_read_u32(&entry->max_lag);
	if (item.used.start != 0)
		reader->items[reader->nitems++] = item;
}

/*
 * Is a window to be told?  Also if it counts nothing any more, since all was taken
 * back; not if its time is over.
 */
static bool
is_told(const TrackedWindow *window, TimestampTz now)
{
	return now - window->window.start < 2 * tracked_window_length(window);
}

static void
add_windows(ChangeReader *reader, const TrackedKeyRef *ref, const TrackedKey *entry)
{
	for (int w = entry->limits.windows.first; w != NO_TRACKED_WINDOW; w = ref->pools.windows.windows[w].next)
	{
		const TrackedWindow *window = &ref->pools.windows.windows[w];

		if (is_told(window, reader->now))
			reader->items[reader->nitems++] = (FeedItem){
				.owner = entry->tag.id,
				.limit_id = window->id,
				.seconds = window->seconds,
				.unit = window->unit,
				.used = {window->window.start, window->window.current, window->window.previous}};
	}
}

/*
 * Reads entries of a partition from one on; returns the next one, which is less
 * than the end if there is no space for more.
 */
static int
read_entries(ChangeReader *reader, FeedState *feed, const TrackedKeyRef *ref, FeedMark *marks, int from, int end)
{
	int			i = from;

	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	tracked_keys_lock(ref->partition, LW_SHARED);
	for (; i < end && reader->nitems + ITEMS_PER_ENTRY <= reader->max; i++)
	{
		TrackedKey *entry = &ref->entries[i];

		if (entry->tag.database != reader->database)
			continue;
		update_mark(&marks[i], entry, reader->cursor->upto == feed->position ? feed->position : feed->position + 1);
		if (marks[i].position <= reader->cursor->since)
			continue;
		add_use(reader, entry);
		add_windows(reader, ref, entry);
	}
	tracked_keys_unlock(ref->partition);
	LWLockRelease(&feed->lock);

	return i;
}

/* Begins a pass, if none has begun. */
static void
begin_pass(FeedState *feed, FeedCursor *cursor)
{
	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	/* A position that was never given is of no use. */
	if (cursor->upto == 0 || cursor->upto > feed->position)
	{
		cursor->upto = ++feed->position;
		cursor->next = 0;
	}
	cursor->since = Min(cursor->since, feed->position);
	LWLockRelease(&feed->lock);
}

/*
 * Reads what has changed in a database, at most max items, and advances the cursor;
 * when its pass has ended, what is known is up to cursor->upto.  There must be
 * shared memory.
 */
int
feed_changes_read(Oid database, FeedCursor *cursor, FeedItem *items, int max)
{
	FeedState  *feed = feed_state_attach();
	TrackedKeys *table = tracked_keys_attach();
	ChangeReader reader = {database, cursor, items, 0, max, GetCurrentTimestamp()};
	int			nentries = table->npartitions * table->nentries;
	int			last = 0;

	Assert(OidIsValid(database) && max >= ITEMS_PER_ENTRY);
	begin_pass(feed, cursor);
	last = Min(nentries, Min(cursor->next, nentries) + MAX_EXAMINED);
	while (cursor->next < last && reader.nitems + ITEMS_PER_ENTRY <= max)
	{
		TrackedKeyRef ref = tracked_keys_partition(table, cursor->next / table->nentries);
		int			from = cursor->next % table->nentries;
		FeedMark   *marks = &feed_state_marks(feed)[ref.number * table->nentries];

		cursor->next += read_entries(&reader, feed, &ref, marks, from, Min(from + CHUNK, table->nentries)) - from;
	}
	if (cursor->next >= nentries)
		cursor->next = FEED_PASS_ENDED;

	return reader.nitems;
}
