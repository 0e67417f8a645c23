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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "live/counters.h"
#include "live/limit_check.h"
#include "live/limit_usage.h"

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

/* Returns the windows that count what was used. */
static WindowSet
counting_windows(const RateLimits *limits, const UsedAmounts *used)
{
	WindowSet	windows = rate_limits_match(limits, used->model, NULL);

	for (int i = 0; i < limits->nwindows; i++)
	{
		if (limit_usage_amount(used, limits->windows[i].unit) == 0)
			windows &= ~(1 << i);
	}
	return windows;
}

/*
 * Adds what was used to the windows of an entry, except those in which a
 * reservation will be settled.  False if there is no space.  Exclusive lock.
 */
static bool
add_use(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry, const RateLimits *limits,
		WindowSet windows, const UsedAmounts *used, TrackedWindowSet settled, TimestampTz now, bool *evicted)
{
	TrackedWindow *found[RATE_MAX_WINDOWS];
	bool		has_space = true;

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
			has_space = false;
		else
			tracked_windows_add_at(found[i], limit_usage_amount(used, limit->unit), used->at, now);
	}
	entry->pinned = false;
	entry->limits.version++;

	return has_space;
}

/*
 * Records what an owner has used, except in the windows in which a reservation
 * will be settled.  Without shared memory nothing is recorded: then the key does
 * not pass verify.  Returns false if there is no space in shared memory; what
 * there was space for has been recorded then.
 */
bool
limit_usage_record(const pg_uuid_t *owner, const RateLimits *limits, const UsedAmounts *used,
				   TrackedWindowSet settled)
{
	TrackedKeys *table = tracked_keys_attach();
	TransactionId xid = GetTopTransactionIdIfAny();
	TrackedKeyRef ref;
	TrackedKey *entry;
	WindowSet	windows;
	TimestampTz now;
	bool		evicted;
	bool		has_space;

	windows = table != NULL && limits != NULL ? counting_windows(limits, used) : 0;
	if (windows == 0)
		return true;

	ref = tracked_keys_locate(table, MyDatabaseId, owner);
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	now = GetCurrentTimestamp();
	entry = tracked_keys_find_or_add(table, &ref, now, &evicted);
	has_space = entry != NULL && add_use(table, &ref, entry, limits, windows, used, settled, now, &evicted);
	if (entry != NULL && TransactionIdIsValid(xid))
		entry->limits.xid = xid;
	tracked_keys_unlock(ref.partition);

	if (evicted)
		counters_add(COUNT_EVICTIONS, 1);
	return has_space;
}

/*
 * Returns what was used to a window that still counts it.  One that has counted
 * nothing since it was recorded, a limit being new, is not touched.  Raises no
 * error once shared memory is attached.
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
			tracked_windows_add_at(window, -amount, at, GetCurrentTimestamp());
	}
	if (entry != NULL)
		entry->limits.version++;
	tracked_keys_unlock(ref.partition);
}

/* Copies the windows and holds of an entry.  Exclusive lock. */
static void
copy_entry(const TrackedKeyRef *ref, TrackedKey *entry, const RateLimits *limits, TimestampTz now,
		   TrackedWindow *windows, HoldList *holds, TimestampTz *holds_reset_at)
{
	TrackedWindow *found[RATE_MAX_WINDOWS];

	tracked_limits_expire(&ref->pools, &entry->limits, now);
	tracked_windows_find(&ref->pools.windows, &entry->limits.windows, limits, found);
	for (int i = 0; i < limits->nwindows; i++)
	{
		if (found[i] != NULL)
			windows[i] = *found[i];
	}
	*holds = entry->limits.holds;
	if (holds->count > 0)
		*holds_reset_at = ref->pools.holds[holds->newest].reserved_at + tracked_limits_timeout();
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
	TrackedKeys *table = limit_check_table();
	TrackedKeyRef ref = tracked_keys_locate(table, MyDatabaseId, owner);
	TrackedWindow windows[RATE_MAX_WINDOWS] = {0};
	HoldList	holds = {0};
	TimestampTz holds_reset_at = 0;
	TrackedKey *entry;
	int			n = 0;

	*now = GetCurrentTimestamp();
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	if (entry != NULL)
		copy_entry(&ref, entry, limits, *now, windows, &holds, &holds_reset_at);
	tracked_keys_unlock(ref.partition);

	for (; n < limits->nwindows; n++)
	{
		limit_status_set_window(&readings[n].status, &limits->windows[n], budget, &windows[n].window, *now);
		readings[n].reserved = windows[n].reserved;
	}
	if (limits->max_concurrent > 0)
	{
		limit_status_set_concurrent(&readings[n].status, limits->max_concurrent, budget, holds.count, holds_reset_at);
		readings[n++].reserved = holds.count;
	}

	return n;
}
