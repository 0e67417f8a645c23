/*-------------------------------------------------------------------------
 *
 * rate_limiter.h
 *	  Rate limits and slots, checked and spent together.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_RATE_LIMITER_H
#define APIKEYS_LIVE_RATE_LIMITER_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "model/rate_limits.h"

/* What a request wants of a key's limits. */
typedef struct RateLimitRequest
{
	const pg_uuid_t *root_id;
	const pg_uuid_t *id;
	const RateLimits *limits;
	int64		tokens;			/* to be checked, not spent */
	bool		slot;
	bool		spend;			/* else it is only asked whether it would pass */
} RateLimitRequest;

typedef struct RateLimitResult
{
	const char *reason;			/* palloc'd; NULL: it passes */
	TimestampTz retry_at;		/* DT_NOEND: never */
	int64		slot;			/* 0: none was taken */
	bool		use_recorded;	/* with what was spent, */
	bool		use_newly_pending; /* and there is something new to persist */
} RateLimitResult;

/* One limit as it stands. */
typedef struct RateLimitState
{
	int64		used;
	TimestampTz resets_at;		/* 0: nothing is used */
} RateLimitState;

extern bool rate_limiter_available(void);
extern void rate_limiter_check_and_spend(const RateLimitRequest *request, TimestampTz now,
										 RateLimitResult *result);
extern void rate_limiter_spend_tokens(const pg_uuid_t *root_id, const RateLimits *limits,
									  int64 tokens);
extern bool rate_limiter_release(int64 slot);
extern TimestampTz rate_limiter_read(const pg_uuid_t *root_id, RateLimitState *states);

#endif							/* APIKEYS_LIVE_RATE_LIMITER_H */
