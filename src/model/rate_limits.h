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

#include "model/patterns.h"

/* What a window counts.  A cost is counted in billionths: model/cost.h. */
typedef enum WindowUnit
{
	WINDOW_REQUESTS,
	WINDOW_TOKENS,
	WINDOW_COST,
	WINDOW_NUNITS
} WindowUnit;

/* A limit on what passes within a time. */
typedef struct WindowLimit
{
	uint64		id;				/* of its name, unit and length: what is counted belongs to it */
	const char *name;			/* unique in the document */
	WindowUnit	unit;
	int64		length;			/* in microseconds, whole seconds */
	int64		max;			/* positive */
	Patterns   *models;			/* NULL: it counts all requests */
	Patterns   *endpoints;
} WindowLimit;

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
