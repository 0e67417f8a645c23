/*-------------------------------------------------------------------------
 *
 * use_delta.h
 *	  What was added to a window since another server was told of it; pure.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_USE_DELTA_H
#define APIKEYS_MODEL_USE_DELTA_H

#include "model/window.h"

/* All zeroes: nothing.  Negative: more was taken back than added. */
typedef struct UseDelta
{
	TimestampTz start;			/* of the current bucket */
	int64		current;		/* what was added in it */
	int64		previous;		/* and in the one before it */
} UseDelta;

/* An amount that was added at a time. */
typedef struct TimedAmount
{
	TimestampTz at;
	int64		amount;
} TimedAmount;

#define USE_DELTA_PARTS	2

extern void use_delta_add(UseDelta *delta, int64 length, int64 amount, TimestampTz at, TimestampTz now);
extern bool use_delta_read(UseDelta *delta, int64 length, TimestampTz now, UseDelta *copy);
extern void use_delta_split(const UseDelta *delta, int64 length, TimestampTz latest, TimedAmount *parts);
extern void use_delta_take_out(UseDelta *delta, int64 length, const UseDelta *copy, TimestampTz now);
extern void use_delta_change(const UseDelta *delta, int sign, Window *window, int64 length, TimestampTz now);

#endif							/* APIKEYS_MODEL_USE_DELTA_H */
