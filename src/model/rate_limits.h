/*-------------------------------------------------------------------------
 *
 * rate_limits.h
 *	  The rate-limit document of a key or a budget.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_RATE_LIMITS_H
#define APIKEYS_MODEL_RATE_LIMITS_H

#include "utils/jsonb.h"

#include "model/window_limit.h"

#define RATE_MAX_WINDOWS	12	/* four members, and eight in the array */

/* The set of a document's windows that meet a condition, by their indexes. */
typedef uint16 WindowSet;

typedef struct RateLimits
{
	int64		max_concurrent; /* requests; 0: unlimited */
	int			nwindows;
	WindowLimit windows[RATE_MAX_WINDOWS];
} RateLimits;

#define RATE_CONCURRENT_NAME	"max_concurrent_requests"

extern RateLimits *rate_limits_parse(Jsonb *document, MemoryContext memory);
extern WindowSet rate_limits_match(const RateLimits *limits, const text *model,
								   const text *endpoint);

#endif							/* APIKEYS_MODEL_RATE_LIMITS_H */
