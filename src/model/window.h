/*-------------------------------------------------------------------------
 *
 * window.h
 *	  A sliding window, which counts what passes a rate limit.
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

#define WINDOW_MAX_LENGTH	(31 * USECS_PER_DAY)

extern int64 window_used(Window *window, int64 length, TimestampTz now);
extern TimestampTz window_wait(Window *window, int64 length, int64 limit, int64 cost,
							   TimestampTz now);
extern void window_spend(Window *window, int64 length, int64 amount, TimestampTz now);
extern void window_add_at(Window *window, int64 length, int64 amount, TimestampTz at,
						  TimestampTz now);
extern void window_settle_at(Window *window, int64 length, int64 amount, TimestampTz at,
							 TimestampTz now);
extern bool window_is_live(const Window *window, int64 length, TimestampTz now);
extern bool window_is_over(const Window *window, int64 length, TimestampTz now);
extern void window_merge(Window *window, int64 length, const Window *other, TimestampTz now);
extern void window_take_back(Window *window, int64 amount);

#endif							/* APIKEYS_MODEL_WINDOW_H */
