/*-------------------------------------------------------------------------
 *
 * window.h
 *	  Sliding windows, which count what passes a rate limit.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_WINDOW_H
#define APIKEYS_MODEL_WINDOW_H

#include "datatype/timestamp.h"

/* All zeroes: nothing has passed. */
typedef struct Window
{
	TimestampTz start;			/* of the current bucket */
	int64		current;		/* what has passed in it */
	int64		previous;		/* and in the one before it */
} Window;

/* The windows of a key family, in the order of the rate-limit document. */
typedef enum WindowKind
{
	WINDOW_REQUESTS_MINUTE,
	WINDOW_TOKENS_MINUTE,
	WINDOW_REQUESTS_DAY,
	WINDOW_TOKENS_DAY,
	WINDOW_NKINDS
} WindowKind;

#define NO_WINDOW	(-1)

extern int64 window_used(Window *windows, WindowKind kind, TimestampTz now);
extern TimestampTz window_wait(Window *windows, WindowKind kind, int64 limit,
							   int64 cost, TimestampTz now);
extern int	window_find_full(Window *windows, const int64 *limits,
							 const int64 *costs, TimestampTz now, TimestampTz *until);
extern void window_spend(Window *windows, const int64 *limits, const int64 *costs,
						 TimestampTz now);
extern void window_add_at(Window *windows, WindowKind kind, int64 amount, TimestampTz at,
						  TimestampTz now);
extern bool window_any_live(Window *windows, TimestampTz now);

#endif							/* APIKEYS_MODEL_WINDOW_H */
