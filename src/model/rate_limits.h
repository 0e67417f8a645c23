/*-------------------------------------------------------------------------
 *
 * rate_limits.h
 *	  The rate-limit document of a key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_RATE_LIMITS_H
#define APIKEYS_MODEL_RATE_LIMITS_H

#include "utils/jsonb.h"

#include "model/window.h"

/* Indexes of limits: WindowKind for the windows, then RATE_SLOTS. */
#define RATE_SLOTS		WINDOW_NKINDS
#define RATE_NLIMITS	(RATE_SLOTS + 1)

typedef struct RateLimits
{
	int64		max[RATE_NLIMITS]; /* 0: unlimited */
} RateLimits;

extern void rate_limits_parse(Jsonb *document, RateLimits *limits);
extern bool rate_limits_have_windows(const RateLimits *limits);
extern bool rate_limits_any(const RateLimits *limits);
extern const char *rate_limits_name(int limit);

#endif							/* APIKEYS_MODEL_RATE_LIMITS_H */
