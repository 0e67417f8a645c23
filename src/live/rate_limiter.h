/*-------------------------------------------------------------------------
 *
 * rate_limiter.h
 *	  Rate limits and slots, checked and spent in one step.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_RATE_LIMITER_H
#define APIKEYS_LIVE_RATE_LIMITER_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "model/limit_status.h"
#include "model/rate_limits.h"

/* A request, as far as limits are concerned. */
typedef struct RateLimitRequest
{
	const pg_uuid_t *root_id;
	const pg_uuid_t *id;
	const RateLimits *limits;
	int64		tokens;			/* checked, not spent */
	bool		slot;
	int			use_max_lag;	/* of its last use, see last_used.c */
	bool		spend;			/* else only check whether it would pass */
} RateLimitRequest;

typedef struct RateLimitResult
{
	const char *reason;			/* palloc'd; NULL: it passes */
	TimestampTz retry_at;		/* DT_NOEND: never */
	int64		slot;			/* 0: none was acquired */
	bool		use_recorded;	/* last use, in the same entry */
	bool		use_newly_pending; /* as last_used_record() returns */
	bool		no_space;		/* in shared memory: it neither passes nor is rejected */
	LimitStatus nearest;		/* of the limits that apply to the request */
} RateLimitResult;

extern bool rate_limiter_available(void);
extern void rate_limiter_check_and_spend(const RateLimitRequest *request, TimestampTz now,
										 RateLimitResult *result);
extern bool rate_limiter_spend_tokens(const pg_uuid_t *root_id, const RateLimits *limits,
									  int64 tokens, TimestampTz recorded_at);
extern void rate_limiter_return_tokens(const pg_uuid_t *root_id, int64 tokens,
									   TimestampTz recorded_at);
extern void rate_limiter_report_no_space(int elevel);
extern bool rate_limiter_release(int64 slot);
extern TimestampTz rate_limiter_read(const pg_uuid_t *root_id, const RateLimits *limits,
									 LimitStatus *statuses);

#endif							/* APIKEYS_LIVE_RATE_LIMITER_H */
