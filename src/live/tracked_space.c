/*-------------------------------------------------------------------------
 *
 * tracked_space.c
 *	  Space for entries and windows in the shared table of keys and budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * When a partition is three quarters full for the first time, and when it is full
 * and half of those looked at for a victim have a pending use or windows that are
 * not stored, the table is crowded: they must be written now, or others find no
 * space.  A flush worker does so for one partition after the other.
 *
 * If a partition is full, a new entry replaces the least recently used one
 * among those with no pending use, no hold, and no live window but those that are
 * stored in a table: stored_windows.c reads them back.  If there is
 * no such entry, nothing is evicted, but flush/reclaim.c may find entries
 * whose keys can no longer be used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "live/tracked_space.h"

#define EVICTION_SAMPLE			64	/* entries from which a victim is chosen */
#define EVICTION_EFFORT			1024	/* entries examined before giving up */

/* Can an entry be evicted?  Exclusive lock. */
static bool
can_evict(const TrackedKeyRef *ref, TrackedKey *entry, TimestampTz now)
{
	return OidIsValid(entry->tag.database) && !entry->pinned &&
		   !tracked_keys_is_pending(entry) && tracked_limits_can_forget(&ref->pools, &entry->limits, now);
}

/* When an entry was last used. */
static TimestampTz
last_used_at(TrackedKey *entry)
{
	return Max((TimestampTz) pg_atomic_read_u64(&entry->last_used), entry->limits.used_at);
}

/*
 * Evicts the least recently used entry among those that can be lost, or of
 * those that have windows: of a sample in a large partition, or the first one
 * found after the sample if it has none.  False if no entry can be evicted.
 * Exclusive lock.
 */
static bool
evict_entry(TrackedKeys *table, const TrackedKeyRef *ref, bool with_windows, TimestampTz now)
{
	Partition  *partition = ref->partition;
	TrackedKey *victim = NULL;
	TrackedKeyRef victim_ref;
	int			nunwritten = 0;
	int			examined = 0;

	AssertLockedExclusively(ref->partition);
	for (; examined < Min(table->nentries, EVICTION_EFFORT); examined++)
	{
		TrackedKey *entry = &ref->entries[partition->next_victim];

		if (examined >= EVICTION_SAMPLE && victim != NULL)
			break;
		partition->next_victim = (partition->next_victim + 1) % table->nentries;
		nunwritten += tracked_keys_is_pending(entry) || !tracked_limits_are_stored(&entry->limits);
		if (with_windows && entry->limits.windows.first == NO_TRACKED_WINDOW)
			continue;
		if ((victim == NULL || last_used_at(entry) < last_used_at(victim)) &&
			can_evict(ref, entry, now))
			victim = entry;
	}
	if (2 * nunwritten > examined)
		tracked_keys_set_crowded(table);
	if (victim == NULL)
		return false;

	victim_ref = tracked_keys_locate(table, victim->tag.database, &victim->tag.id);
	tracked_keys_remove(&victim_ref, victim);
	return true;
}

/*
 * Adds an entry for a key that has none, evicting another if necessary.
 * Returns NULL if there is no space.  Exclusive lock.
 */
TrackedKey *
tracked_keys_add(TrackedKeys *table, const TrackedKeyRef *ref, TimestampTz now, bool *evicted)
{
	Partition  *partition = ref->partition;
	TrackedKey *entry;
	int			i;

	AssertLockedExclusively(partition);
	Assert(tracked_keys_find(ref) == NULL);

	*evicted = partition->first_free == NO_ENTRY && evict_entry(table, ref, false, now);
	if (partition->first_free == NO_ENTRY)
		return NULL;

	i = partition->first_free;
	entry = &ref->entries[i];
	Assert(!OidIsValid(entry->tag.database));
	partition->first_free = entry->next;
	if (++partition->nused == table->nentries / 4 * 3)
		tracked_keys_set_crowded(table);
	entry->tag = ref->tag;
	entry->next = ref->chain->first;
	ref->chain->first = i;

	return entry;
}

/*
 * Returns the entry of a key, adding it if there is none; NULL if there is no
 * space.  Exclusive lock.
 */
TrackedKey *
tracked_keys_find_or_add(TrackedKeys *table, const TrackedKeyRef *ref, TimestampTz now, bool *evicted)
{
	TrackedKey *entry = tracked_keys_find(ref);

	*evicted = false;
	return entry != NULL ? entry : tracked_keys_add(table, ref, now, evicted);
}

/*
 * Adds the window of a limit to an entry that has none, evicting other entries
 * if necessary; NULL if there is no space.  Sets evicted if any was.  Exclusive
 * lock.
 */
TrackedWindow *
tracked_keys_add_window(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry,
						const RateLimits *limits, const WindowLimit *limit,
						TimestampTz now, bool *evicted)
{
	TrackedWindow *window;

	AssertLockedExclusively(ref->partition);
	Assert(entry->pinned);

	window = tracked_windows_add(&ref->pools.windows, &entry->limits.windows, limits,
								 limit->id, limit->length, limit->unit, now);
	if (window == NULL && evict_entry(table, ref, true, now))
	{
		*evicted = true;
		window = tracked_windows_add(&ref->pools.windows, &entry->limits.windows, limits,
									 limit->id, limit->length, limit->unit, now);
	}

	return window;
}

/* Returns the window of an entry that belongs to a limit, or NULL. */
static TrackedWindow *
find_window(const TrackedKeyRef *ref, const TrackedKey *entry, uint64 id)
{
	for (int w = entry->limits.windows.first; w != NO_TRACKED_WINDOW; w = ref->pools.windows.windows[w].next)
	{
		if (ref->pools.windows.windows[w].id == id)
			return &ref->pools.windows.windows[w];
	}

	return NULL;
}

/*
 * Adds a window that was stored to an entry, or merges it with the one that the
 * entry has; false if there is no space.  As tracked_keys_add_window().
 */
bool
tracked_keys_merge_window(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry,
						  const StoredWindow *stored, TimestampTz now, bool *evicted)
{
	RateLimits	limits = {.nwindows = 1};
	TrackedWindow *window = find_window(ref, entry, stored->id);

	if (window != NULL)
	{
		window_merge(&window->window, tracked_window_length(window), &stored->window, now);
		return true;
	}

	limits.windows[0].id = stored->id;
	limits.windows[0].length = stored_window_length(stored);
	limits.windows[0].unit = stored->unit;
	window = tracked_keys_add_window(table, ref, entry, &limits, &limits.windows[0], now, evicted);
	if (window != NULL)
		window->window = stored->window;
	return window != NULL;
}
