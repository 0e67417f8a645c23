/*-------------------------------------------------------------------------
 *
 * tracked_limits.c
 *	  What a tracked key or budget has used of its limits.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A reservation counts in windows like what has been used, from the time at
 * which it was made, and is a hold besides.  When the hold ends, what was
 * really used takes the place of the estimate.
 *
 * Nothing here locks: the caller holds the lock of the partition exclusively.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"

#include "live/tracked_limits.h"
#include "settings/guc.h"

void
tracked_limits_init(TrackedLimits *limits)
{
	tracked_windows_init(&limits->windows);
	holds_init(&limits->holds);
	limits->version = limits->stored_version = 0;
	limits->xid = InvalidTransactionId;
	limits->known = WINDOWS_UNREAD;
	limits->has_row = false;
	limits->used_at = limits->stored_at = 0;
}

/* apikeys.reservation_timeout in microseconds. */
int64
tracked_limits_timeout(void)
{
	return guc_reservation_timeout * INT64CONST(1000);
}

/*
 * Puts what was used in the place of what a hold has reserved in a window: at
 * the same time.
 */
static void
settle_window(TrackedWindow *window, const Hold *hold, int64 tokens, int64 cost, TimestampTz now)
{
	int64		reserved = 0;
	int64		used = 0;

	if (window->unit == WINDOW_TOKENS)
	{
		reserved = hold->tokens;
		used = tokens;
	}
	else if (window->unit == WINDOW_COST)
	{
		reserved = hold->cost;
		used = cost;
	}

	window->reserved = Max(window->reserved - reserved, 0);
	tracked_windows_settle_at(window, used - reserved, hold->reserved_at, now);
}

/* Does a hold reserve something in a window? */
static bool
reserves_in(const Hold *hold, const TrackedWindow *window)
{
	/* A later window may have been given the number of an earlier one. */
	return hold->windows & 1 << window->number && window->created_at <= hold->reserved_at;
}

/* Returns the windows in which a hold reserves something. */
TrackedWindowSet
tracked_limits_reserving(const LimitPools *pools, const TrackedLimits *limits, int hold)
{
	TrackedWindowSet windows = 0;

	for (int w = limits->windows.first; w != NO_TRACKED_WINDOW; w = pools->windows.windows[w].next)
	{
		if (reserves_in(&pools->holds[hold], &pools->windows.windows[w]))
			windows |= 1 << pools->windows.windows[w].number;
	}
	return windows;
}

/*
 * Puts what was used in the place of what a hold has reserved in all windows,
 * so that it reserves nothing in them any more.  cost is in billionths.
 */
void
tracked_limits_settle_windows(const LimitPools *pools, TrackedLimits *limits, int hold,
							  int64 tokens, int64 cost, TimestampTz now)
{
	Hold	   *settled = &pools->holds[hold];

	for (int w = limits->windows.first; w != NO_TRACKED_WINDOW; w = pools->windows.windows[w].next)
	{
		TrackedWindow *window = &pools->windows.windows[w];

		if (reserves_in(settled, window))
			settle_window(window, settled, tokens, cost, now);
	}
	settled->windows = 0;
	tracked_limits_change(pools, limits);
}

/* Ends a hold of an owner, likewise; 0 and 0 give all back. */
void
tracked_limits_end_hold(const LimitPools *pools, TrackedLimits *limits, int hold,
						int64 tokens, int64 cost, TimestampTz now)
{
	tracked_limits_settle_windows(pools, limits, hold, tokens, cost, now);
	holds_remove(pools->free_holds, pools->holds, &limits->holds, hold);
}

/* Gives back what all holds of an owner have reserved. */
void
tracked_limits_end_holds(const LimitPools *pools, TrackedLimits *limits, TimestampTz now)
{
	while (limits->holds.count > 0)
		tracked_limits_end_hold(pools, limits, limits->holds.oldest, 0, 0, now);
}

/*
 * Ends the holds of an owner that have timed out; returns how many.  Those that
 * were made after now, before the clock was set back, count as made now.
 */
int
tracked_limits_expire(const LimitPools *pools, TrackedLimits *limits, TimestampTz now)
{
	Hold	   *holds = pools->holds;
	int64		timeout = tracked_limits_timeout();
	int			hold = limits->holds.oldest;
	int			nexpired = 0;

	if (hold != NO_HOLD && holds[hold].reserved_at > now)
	{
		for (int i = hold; i != NO_HOLD; i = holds[i].newer)
			holds[i].reserved_at = Min(holds[i].reserved_at, now);
		for (int w = limits->windows.first; w != NO_TRACKED_WINDOW; w = pools->windows.windows[w].next)
			pools->windows.windows[w].created_at = Min(pools->windows.windows[w].created_at, now);
	}

	while (hold != NO_HOLD && now - holds[hold].reserved_at >= timeout)
	{
		int			newer = holds[hold].newer;

		if (!holds[hold].settling)
		{
			tracked_limits_end_hold(pools, limits, hold, 0, 0, now);
			nexpired++;
		}
		hold = newer;
	}

	return nexpired;
}

/* Has an owner a window or a hold that counts now? */
bool
tracked_limits_any(const LimitPools *pools, TrackedLimits *limits, TimestampTz now)
{
	tracked_limits_expire(pools, limits, now);
	return limits->holds.count > 0 || tracked_windows_any_live(&pools->windows, &limits->windows, now);
}

/* Are the windows of an owner all that has been counted for it, as far as can be known here? */
bool
tracked_limits_are_known(const TrackedLimits *limits)
{
	return limits->known == WINDOWS_READ ||
		   (limits->known == WINDOWS_READ_ON_STANDBY && RecoveryInProgress());
}

/* Are all windows of an owner over by their time? */
static bool
are_over(const LimitPools *pools, const TrackedLimits *limits, TimestampTz now)
{
	for (int w = limits->windows.first; w != NO_TRACKED_WINDOW; w = pools->windows.windows[w].next)
	{
		const TrackedWindow *window = &pools->windows.windows[w];

		if (!window_is_over(&window->window, tracked_window_length(window), now))
			return false;
	}
	return true;
}

/* On a standby: does the server that it follows know of all that was used here? */
bool
tracked_limits_are_told(const LimitPools *pools, const TrackedLimits *limits)
{
	for (int w = limits->windows.first; w != NO_TRACKED_WINDOW; w = pools->windows.windows[w].next)
	{
		const UseDelta *untold = tracked_windows_delta(&pools->windows.windows[w]);

		if (untold == NULL || untold->current != 0 || untold->previous != 0)
			return false;
	}
	return true;
}

/*
 * Can what an owner has used be forgotten, since its row has it, or nothing of it
 * counts?  Not if the row would then count what has been taken back since.  A standby
 * finds out what has been stored (flush/replayed_windows.c): who reads a row that has
 * less lets as much pass once more.
 */
bool
tracked_limits_can_forget(const LimitPools *pools, TrackedLimits *limits, TimestampTz now)
{
	tracked_limits_expire(pools, limits, now);
	if (limits->holds.count > 0)
		return false;
	if (tracked_limits_are_stored(limits))
		return true;
	if (RecoveryInProgress() && limits->windows.first != NO_TRACKED_WINDOW)
		return are_over(pools, limits, now);
	return limits->has_row ? are_over(pools, limits, now) : !tracked_windows_any_live(&pools->windows, &limits->windows, now);
}

/* Forgets what an owner has used, and ends its holds. */
void
tracked_limits_clear(const LimitPools *pools, TrackedLimits *limits)
{
	while (limits->holds.count > 0)
		holds_remove(pools->free_holds, pools->holds, &limits->holds, limits->holds.oldest);
	tracked_windows_clear(&pools->windows, &limits->windows);
	tracked_limits_init(limits);
}
