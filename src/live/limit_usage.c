/*-------------------------------------------------------------------------
 *
 * limit_usage.c
 *	  What keys and budgets have used of their rate limits: recorded, read.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Requests are counted by rate_limiter.c when they pass; tokens and costs here,
 * when it is known how many were used, even if they are more than was left.
 * They count from the time at which they are recorded, by which they are
 * returned if they are taken back.
 *
 * What is not in memory is read from its row first; only to show it, it is not put
 * into memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "live/counters.h"
#include "live/limit_check.h"
#include "live/limit_usage.h"
#include "live/stored_windows.h"
#include "live/tracked_space.h"

#define MAX_TRIES	100			/* while others evict what has been read */

/* What was used, in a unit. */
int64
limit_usage_amount(const UsedAmounts *used, WindowUnit unit)
{
	switch (unit)
	{
		case WINDOW_TOKENS:
			return used->tokens;
		case WINDOW_COST:
			return used->cost;
		default:
			return 0;
	}
}

/* Returns the windows that count what was used; limits may be NULL. */
WindowSet
limit_usage_windows(const RateLimits *limits, const UsedAmounts *used)
{
	WindowSet	windows = limits != NULL ? rate_limits_match(limits, used->model, NULL) : 0;

	for (int i = 0; windows >> i != 0; i++)
	{
		if (limit_usage_amount(used, limits->windows[i].unit) == 0)
			windows &= ~(1 << i);
	}
	return windows;
}

/*
 * Adds what was used to the windows of an entry, except those in which a
 * reservation will be settled.  Returns the windows for which there is no space.
 * Exclusive lock.
 */
static WindowSet
add_use(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry, const RateLimits *limits,
		WindowSet windows, const UsedAmounts *used, TrackedWindowSet settled, TimestampTz now, bool *evicted)
{
	TrackedWindow *found[RATE_MAX_WINDOWS];
	WindowSet	left = 0;

	entry->pinned = true;
	tracked_windows_find(&ref->pools.windows, &entry->limits.windows, limits, found);
	for (int i = 0; i < limits->nwindows; i++)
	{
		const WindowLimit *limit = &limits->windows[i];

		if (!(windows & 1 << i) || (found[i] != NULL && settled & 1 << found[i]->number))
			continue;
		if (found[i] == NULL)
			found[i] = tracked_keys_add_window(table, ref, entry, limits, limit, now, evicted);
		if (found[i] == NULL)
			left |= 1 << i;
		else
			tracked_windows_add_at(found[i], limit_usage_amount(used, limit->unit), used->at, now);
	}
	entry->pinned = false;
	tracked_limits_change(&ref->pools, &entry->limits);

	return left;
}

/*
 * Records what an owner has used, if its windows are known in shared memory; false
 * if they are not.  Leaves in windows those for which there was no space.
 */
static bool
try_to_record(const TrackedKeyRef *ref, const RateLimits *limits, WindowSet *windows, const UsedAmounts *used,
			  TrackedWindowSet settled)
{
	TransactionId xid = GetTopTransactionIdIfAny();
	bool		evicted = false;
	TrackedKey *entry;
	TimestampTz now;
	bool		known;

	tracked_keys_lock(ref->partition, LW_EXCLUSIVE);
	now = GetCurrentTimestamp();
	entry = tracked_keys_find(ref);
	known = entry != NULL && tracked_limits_are_known(&entry->limits);
	if (known)
	{
		*windows = add_use(tracked_keys_attach(), ref, entry, limits, *windows, used, settled, now, &evicted);
		if (TransactionIdIsValid(xid))
			entry->limits.xid = xid;
	}
	tracked_keys_unlock(ref->partition);

	if (evicted)
		counters_add(COUNT_EVICTIONS, 1);
	return known;
}

/*
 * Records what an owner has used in windows, except in those in which a
 * reservation will be settled.  Without shared memory nothing is recorded: then
 * the key does not pass verify.  Returns the windows for which there is no space
 * in shared memory: what was used has been recorded in the others.
 */
WindowSet
limit_usage_record(const pg_uuid_t *owner, const RateLimits *limits, WindowSet windows,
				   const UsedAmounts *used, TrackedWindowSet settled)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref;

	if (table == NULL || windows == 0)
		return 0;

	ref = tracked_keys_locate(table, MyDatabaseId, owner);
	for (int n = 0; n < MAX_TRIES; n++)
	{
		if (try_to_record(&ref, limits, &windows, used, settled) || !stored_windows_read(owner))
			return windows;
	}

	return windows;
}

/*
 * Returns what was used to a window that still counts it.  One that has counted
 * nothing since it was recorded, a limit being new, is not touched; nor is one that
 * is not in memory: see stored_windows_keep().  Raises no error once shared memory
 * is attached.
 */
void
limit_usage_return(const pg_uuid_t *owner, uint64 window_id, int64 amount, TimestampTz at)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref;
	TrackedKey *entry;

	Assert(amount > 0);
	if (table == NULL)
		return;

	ref = tracked_keys_locate(table, MyDatabaseId, owner);
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	for (int w = entry != NULL ? entry->limits.windows.first : NO_TRACKED_WINDOW;
		 w != NO_TRACKED_WINDOW; w = ref.pools.windows.windows[w].next)
	{
		TrackedWindow *window = &ref.pools.windows.windows[w];

		if (window->id == window_id)
		{
			tracked_windows_add_at(window, -amount, at, GetCurrentTimestamp());
			tracked_limits_change(&ref.pools, &entry->limits);
		}
	}
	tracked_keys_unlock(ref.partition);
}

/* A copy of what an owner has used of its limits. */
typedef struct UseCopy
{
	bool		known;			/* the windows are all that there is in memory or a table */
	TrackedWindow windows[RATE_MAX_WINDOWS]; /* those of the document; all zeroes: nothing is counted */
	HoldList	holds;
	TimestampTz holds_reset_at;
} UseCopy;

/* Copies the windows and holds of an entry.  Exclusive lock. */
static void
copy_entry(const TrackedKeyRef *ref, TrackedKey *entry, const RateLimits *limits, TimestampTz now, UseCopy *copy)
{
	TrackedWindow *found[RATE_MAX_WINDOWS];

	copy->known = tracked_limits_are_known(&entry->limits);
	tracked_limits_expire(&ref->pools, &entry->limits, now);
	tracked_windows_find(&ref->pools.windows, &entry->limits.windows, limits, found);
	for (int i = 0; i < limits->nwindows; i++)
	{
		if (found[i] != NULL)
			copy->windows[i] = *found[i];
	}
	copy->holds = entry->limits.holds;
	if (copy->holds.count > 0)
		copy->holds_reset_at = ref->pools.holds[copy->holds.newest].reserved_at + tracked_limits_timeout();
}

/* Copies what shared memory has of an owner. */
static void
copy_from_memory(const pg_uuid_t *owner, const RateLimits *limits, TimestampTz now, UseCopy *copy)
{
	TrackedKeyRef ref = tracked_keys_locate(limit_check_table(), MyDatabaseId, owner);
	TrackedKey *entry;

	memset(copy, 0, sizeof(UseCopy));
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	if (entry != NULL)
		copy_entry(&ref, entry, limits, now, copy);
	tracked_keys_unlock(ref.partition);
}

/* Adds what the row of an owner has, where memory has less. */
static void
add_row(const WindowRow *row, const RateLimits *limits, TimestampTz now, UseCopy *copy)
{
	for (int r = 0; r < row->n; r++)
	{
		const StoredWindow *stored = &row->windows[r];

		for (int i = 0; i < limits->nwindows; i++)
		{
			if (limits->windows[i].id == stored->id)
				window_merge(&copy->windows[i].window, limits->windows[i].length, &stored->window, now);
		}
	}
}

/* Copies what an owner has used, read from its row if it is not in memory; it stays there. */
static void
copy_use(const pg_uuid_t *owner, const RateLimits *limits, TimestampTz *now, UseCopy *copy)
{
	WindowRow	row;

	for (int n = 0; n < MAX_TRIES; n++)
	{
		*now = GetCurrentTimestamp();
		copy_from_memory(owner, limits, *now, copy);
		if (copy->known || limits->nwindows == 0)
			return;
		if (stored_windows_peek(owner, &row))
		{
			add_row(&row, limits, *now, copy);
			return;
		}
	}
}

/*
 * Reads how much an owner has used of its limits, windows first; returns how
 * many limits there are, and when they were read.  budget is the owner's name if
 * it is one.  Raises 55000 if there is no shared memory.
 */
int
limit_usage_read(const pg_uuid_t *owner, const RateLimits *limits, const char *budget,
				 LimitReading *readings, TimestampTz *now)
{
	UseCopy		copy;
	int			n = 0;

	copy_use(owner, limits, now, &copy);
	for (; n < limits->nwindows; n++)
	{
		const WindowLimit *limit = &limits->windows[n];
		TrackedWindow *window = &copy.windows[n];

		limit_status_set_window(&readings[n].status, limit, &window->window, *now);
		limit_status_describe_window(&readings[n].status, limit, budget, &window->window, *now);
		readings[n].reserved = window->reserved;
	}
	if (limits->max_concurrent > 0)
	{
		limit_status_set_number(&readings[n].status, limits->max_concurrent, copy.holds.count);
		limit_status_describe_concurrent(&readings[n].status, budget, copy.holds_reset_at);
		readings[n++].reserved = copy.holds.count;
	}

	return n;
}
