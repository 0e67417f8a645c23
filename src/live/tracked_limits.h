/*-------------------------------------------------------------------------
 *
 * tracked_limits.h
 *	  What a tracked key or budget has used of its limits.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_TRACKED_LIMITS_H
#define APIKEYS_LIVE_TRACKED_LIMITS_H

#include "live/holds.h"
#include "live/tracked_windows.h"

/* What the windows of an owner are, compared with its row in apikeys_data.window_state. */
typedef enum WindowsKnown
{
	WINDOWS_UNREAD,				/* the row has not been read */
	WINDOWS_READ_ON_STANDBY,	/* it has, but after a promotion it may be another */
	WINDOWS_READ				/* these are all that there is */
} WindowsKnown;

typedef struct TrackedLimits
{
	TrackedWindowList windows;
	HoldList	holds;
	uint32		version;		/* changes with each of them; no two owners have had the same */
	uint32		stored_version; /* the version that the row has */
	TransactionId xid;			/* the last that spent and had an id */
	uint8		known;			/* WindowsKnown */
	bool		has_row;		/* there may be a row */
	TimestampTz used_at;		/* when they were last checked or read */
	TimestampTz stored_at;		/* when the row was committed; 0: not by this server */
} TrackedLimits;

/* Where windows and holds are. */
typedef struct LimitPools
{
	TrackedWindowPool windows;	/* of the partition */
	HoldPool   *free_holds;		/* of the table */
	Hold	   *holds;
	uint32	   *last_version;	/* that was given to an owner of the partition */
} LimitPools;

extern void tracked_limits_init(TrackedLimits *limits);
extern int64 tracked_limits_timeout(void);
extern TrackedWindowSet tracked_limits_reserving(const LimitPools *pools, const TrackedLimits *limits, int hold);
extern void tracked_limits_settle_windows(const LimitPools *pools, TrackedLimits *limits, int hold,
										  int64 tokens, int64 cost, TimestampTz now);
extern void tracked_limits_end_hold(const LimitPools *pools, TrackedLimits *limits, int hold,
									int64 tokens, int64 cost, TimestampTz now);
extern void tracked_limits_end_holds(const LimitPools *pools, TrackedLimits *limits, TimestampTz now);
extern int	tracked_limits_expire(const LimitPools *pools, TrackedLimits *limits, TimestampTz now);
extern bool tracked_limits_any(const LimitPools *pools, TrackedLimits *limits, TimestampTz now);
extern bool tracked_limits_can_forget(const LimitPools *pools, TrackedLimits *limits, TimestampTz now);
extern bool tracked_limits_are_told(const LimitPools *pools, const TrackedLimits *limits);
extern bool tracked_limits_are_known(const TrackedLimits *limits);
extern void tracked_limits_clear(const LimitPools *pools, TrackedLimits *limits);

/* Has an owner nothing that its row lacks? */
static inline bool
tracked_limits_are_stored(const TrackedLimits *limits)
{
	return limits->version == limits->stored_version;
}

/* Notes that an owner's windows or holds have changed. */
static inline void
tracked_limits_change(const LimitPools *pools, TrackedLimits *limits)
{
	limits->version = ++*pools->last_version;
}

#endif							/* APIKEYS_LIVE_TRACKED_LIMITS_H */
