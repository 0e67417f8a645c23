/*-------------------------------------------------------------------------
 *
 * ratelimit.h
 *	  Rate limits and slots, checked and spent together.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_RATELIMIT_H
#define APIKEYS_RATELIMIT_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "model/policy.h"

/* What a request wants of a key's limits. */
typedef struct RateLimitDemand
{
	const pg_uuid_t *root_id;
	const pg_uuid_t *id;
	const RateLimits *limits;
	int64		tokens;			/* to be checked, not spent */
	bool		slot;
	bool		spend;			/* else it is only asked whether it would pass */
} RateLimitDemand;

typedef struct RateLimitAnswer
{
	const char *reason;			/* palloc'd; NULL: it passes */
	TimestampTz retry_at;		/* DT_NOEND: never */
	int64		slot;			/* 0: none was taken */
	bool		use_noted;		/* with what was spent, */
	bool		use_is_news;	/* and there is something new to persist */
} RateLimitAnswer;

/* One limit as it stands. */
typedef struct RateLimitState
{
	int64		used;
	TimestampTz resets_at;		/* 0: nothing is used */
} RateLimitState;

extern bool ratelimit_available(void);
extern void ratelimit_judge(const RateLimitDemand *demand, TimestampTz now,
							RateLimitAnswer *answer);
extern void ratelimit_spend_tokens(const pg_uuid_t *root_id, const RateLimits *limits,
								   int64 tokens);
extern bool ratelimit_release(int64 slot);
extern TimestampTz ratelimit_read(const pg_uuid_t *root_id, RateLimitState *states);

#endif							/* APIKEYS_RATELIMIT_H */
