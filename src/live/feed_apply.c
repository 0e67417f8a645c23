/*-------------------------------------------------------------------------
 *
 * feed_apply.c
 *	  What another server tells of last uses and windows goes into the shared table.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A last use only advances, whoever tells it.  Windows come in three ways:
 *
 * - What a follower has added is added here, as if it had been used here; so a
 *   standby that is followed passes it on to the server that it follows.
 * - What a follower knows in total is taken if it is more than what is known here:
 *   then this server is new, or has lost its memory.
 * - What the leader knows takes the place of what is known here, and what has not
 *   been told to it yet is added.
 *
 * feed_apply() raises no error.  If there is no space, what was told is dropped
 * and counted.  Times of another server's clock that are in the future here count
 * as now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "live/counters.h"
#include "live/feed_apply.h"
#include "live/stored_windows.h"
#include "live/tracked_space.h"
#include "settings/guc.h"

/* What is being applied. */
typedef struct FeedApplier
{
	TrackedKeys *table;
	FeedSource	source;
	TimestampTz collected_at;
	TimestampTz now;
	int64		nevicted;
	int64		ndropped;
	bool		newly_pending;	/* a use or a window is to be written here now */
} FeedApplier;

/* Does a use in shared memory, or in this item, have to be known here? */
static bool
use_is_wanted(const FeedItem *item)
{
	return guc_last_used_throttle >= 0 || item->used.current != 0;
}

/* Applies a last use.  Exclusive lock. */
static void
apply_use(FeedApplier *applier, TrackedKey *entry, const FeedItem *item)
{
	TimestampTz used_at = Min(item->used.start, applier->now);
	bool		was_pending = tracked_keys_is_pending(entry);

	if (used_at > (TimestampTz) pg_atomic_read_u64(&entry->last_used))
	{
		tracked_keys_advance(&entry->last_used, used_at);
		if (guc_last_used_throttle >= 0 && ip_address_is_packed(&item->ip))
			entry->last_used_ip = item->ip;
		if (item->used.current != 0)
			pg_atomic_write_u32(&entry->max_lag, item->used.current);
	}
	if (applier->source == FEED_FROM_LEADER)
		tracked_keys_advance(&entry->told, used_at);
	applier->newly_pending |= !was_pending && tracked_keys_is_pending(entry);
}

/* Returns the window of an item, a new one if there is none; NULL: no space. */
static TrackedWindow *
find_window(FeedApplier *applier, const TrackedKeyRef *ref, TrackedKey *entry, const FeedItem *item)
{
	RateLimits	limits = {.nwindows = 1};
	TrackedWindow *window;
	bool		evicted = false;

	limits.windows[0].id = item->limit_id;
	limits.windows[0].length = item->seconds * USECS_PER_SEC;
	limits.windows[0].unit = item->unit;
	tracked_windows_find(&ref->pools.windows, &entry->limits.windows, &limits, &window);
	if (window != NULL)
		return window->seconds == item->seconds && window->unit == item->unit ? window : NULL;

	entry->pinned = true;
	window = tracked_keys_add_window(applier->table, ref, entry, &limits, &limits.windows[0], applier->now, &evicted);
	entry->pinned = false;
	applier->nevicted += evicted;
	return window;
}

/* Adds what a follower has added. */
static void
add_delta(FeedApplier *applier, TrackedWindow *window, const FeedItem *item)
{
	TimedAmount parts[USE_DELTA_PARTS];

	use_delta_split(&item->used, tracked_window_length(window), applier->collected_at, parts);
	for (int i = 0; i < USE_DELTA_PARTS; i++)
	{
		if (parts[i].amount != 0)
			tracked_windows_settle_at(window, parts[i].amount, parts[i].at, applier->now);
	}
}

/* Takes the place of a window if what was told is more; or in any case. */
static void
replace_window(FeedApplier *applier, TrackedWindow *window, const FeedItem *item)
{
	int64		length = tracked_window_length(window);
	UseDelta   *untold = tracked_windows_delta(window);
	Window		told = {item->used.start, Max(item->used.current, 0), Max(item->used.previous, 0)};
	Window		before = window->window;

	if (applier->source == FEED_FROM_FOLLOWER_WHOLE &&
		window_used(&told, length, applier->now) <= window_used(&before, length, applier->now))
		return;
	window->window = told;
	if (untold != NULL && applier->source == FEED_FROM_LEADER)
		use_delta_change(untold, 1, &window->window, length, applier->now);
}

/* Applies what was used of a limit.  Exclusive lock. */
static void
apply_window(FeedApplier *applier, const TrackedKeyRef *ref, TrackedKey *entry, const FeedItem *item)
{
	TrackedWindow *window = find_window(applier, ref, entry, item);
	Window		before;

	if (window == NULL)
	{
		applier->ndropped++;
		return;
	}

	before = window->window;
	if (applier->source == FEED_FROM_FOLLOWER_DELTAS)
		add_delta(applier, window, item);
	else
		replace_window(applier, window, item);
	/* What has not changed is not to be told to others. */
	if (memcmp(&before, &window->window, sizeof(Window)) != 0)
	{
		applier->newly_pending = true;
		tracked_limits_change(&ref->pools, &entry->limits);
	}
}

static void
apply_item(FeedApplier *applier, Oid database, const FeedItem *item)
{
	TrackedKeyRef ref = tracked_keys_locate(applier->table, database, &item->owner);
	TrackedKey *entry;
	bool		evicted;

	if (item->limit_id == 0 && !use_is_wanted(item))
		return;
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find_or_add(applier->table, &ref, applier->now, &evicted);
	applier->nevicted += evicted;
	if (entry == NULL)
		applier->ndropped++;
	else if (item->limit_id == 0)
		apply_use(applier, entry, item);
	else
		apply_window(applier, &ref, entry, item);
	tracked_keys_unlock(ref.partition);
}

/*
 * Has the windows in memory that feed_apply() will change by what a follower tells,
 * while a table can still be read, and an error changes nothing.
 */
void
feed_apply_prepare(const FeedItem *items, int nitems)
{
	for (int i = 0; i < nitems; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (items[i].limit_id != 0)
			(void) stored_windows_keep(&items[i].owner);
	}
}

/*
 * Applies items that were collected at a time.  Returns whether the flush workers
 * have to be woken.  There must be shared memory.
 */
bool
feed_apply(Oid database, FeedSource source, const FeedItem *items, int nitems, TimestampTz collected_at)
{
	FeedApplier applier = {.table = tracked_keys_attach(), .source = source, .now = GetCurrentTimestamp()};

	Assert(OidIsValid(database) && applier.table != NULL);
	applier.collected_at = Min(collected_at, applier.now);
	for (int i = 0; i < nitems; i++)
		apply_item(&applier, database, &items[i]);

	if (applier.nevicted > 0)
		counters_add(COUNT_EVICTIONS, applier.nevicted);
	if (applier.ndropped > 0)
		counters_add(COUNT_DROPPED, applier.ndropped);
	return applier.newly_pending;
}
