/*-------------------------------------------------------------------------
 *
 * limit_usage.h
 *	  What keys and budgets have used of their rate limits: recorded, read.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_LIMIT_USAGE_H
#define APIKEYS_LIVE_LIMIT_USAGE_H

#include "live/tracked_windows.h"
#include "model/limit_status.h"
#include "utils/uuid.h"

/* What a request has used. */
typedef struct UsedAmounts
{
	const text *model;			/* NULL: unknown */
	int64		tokens;
	int64		cost;			/* in billionths */
	TimestampTz at;
} UsedAmounts;

/* The status of a limit, except for retry_at, and what of it is reserved. */
typedef struct LimitReading
{
	LimitStatus status;
	int64		reserved;
} LimitReading;

#define MAX_LIMIT_READINGS	(RATE_MAX_WINDOWS + 1)

extern int64 limit_usage_amount(const UsedAmounts *used, WindowUnit unit);
extern WindowSet limit_usage_windows(const RateLimits *limits, const UsedAmounts *used);
extern WindowSet limit_usage_record(const pg_uuid_t *owner, const RateLimits *limits, WindowSet windows,
									const UsedAmounts *used, TrackedWindowSet settled);
extern void limit_usage_return(const pg_uuid_t *owner, uint64 window_id, int64 amount, TimestampTz at);
extern int	limit_usage_read(const pg_uuid_t *owner, const RateLimits *limits, const char *budget,
							 LimitReading *readings, TimestampTz *now);

#endif							/* APIKEYS_LIVE_LIMIT_USAGE_H */
