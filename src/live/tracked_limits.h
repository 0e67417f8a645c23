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

typedef struct TrackedLimits
{
	TrackedWindowList windows;
	HoldList	holds;
	uint32		version;		/* changes with each of them */
	TransactionId xid;			/* the last that spent and had an id */
} TrackedLimits;

/* Where windows and holds are. */
typedef struct LimitPools
{
	TrackedWindowPool windows;	/* of the partition */
	HoldPool   *free_holds;		/* of the table */
	Hold	   *holds;
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
extern void tracked_limits_clear(const LimitPools *pools, TrackedLimits *limits);

#endif							/* APIKEYS_LIVE_TRACKED_LIMITS_H */
