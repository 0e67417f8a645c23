/*-------------------------------------------------------------------------
 *
 * use_delta.c
 *	  What was added to a window since another server was told of it; pure.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It has two buckets as a window has, so that what was added long ago does not
 * count as used now when a link comes back: what a window would have forgotten is
 * forgotten here as well.  Its buckets need not begin when those of the window do.
 * Lengths are in microseconds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"

#include "model/use_delta.h"

static int64
add_saturated(int64 a, int64 b)
{
	int64		sum;

	if (!pg_add_s64_overflow(a, b, &sum))
		return sum;
	return b < 0 ? -PG_INT64_MAX : PG_INT64_MAX;
}

/* Advances the buckets, so that now is in the current one. */
static void
advance(UseDelta *delta, int64 length, TimestampTz now)
{
	if (now < delta->start)
		delta->start = now;
	else if (now - delta->start >= 2 * length)
		delta->current = delta->previous = 0;
	else if (now - delta->start >= length)
	{
		delta->start += length;
		delta->previous = delta->current;
		delta->current = 0;
	}
}

/* Begins the buckets with the first amount, of a time that has passed. */
static void
begin(UseDelta *delta, int64 length, TimestampTz at, TimestampTz now)
{
	if (now - at < length)
		delta->start = Min(at, now);
	else
		delta->start = now - at < 2 * length ? at + length : now;
}

/* Adds an amount of a time, as window_add_at() does. */
void
use_delta_add(UseDelta *delta, int64 length, int64 amount, TimestampTz at, TimestampTz now)
{
	advance(delta, length, now);
	if (delta->current == 0 && delta->previous == 0)
		begin(delta, length, at, now);

	if (at >= delta->start)
		delta->current = add_saturated(delta->current, amount);
	else if (delta->start - at <= length)
		delta->previous = add_saturated(delta->previous, amount);
}

/* Copies all that still counts; false if that is nothing. */
bool
use_delta_read(UseDelta *delta, int64 length, TimestampTz now, UseDelta *copy)
{
	if (delta->current != 0 || delta->previous != 0)
		advance(delta, length, now);
	*copy = *delta;
	return copy->current != 0 || copy->previous != 0;
}

/*
 * Splits a delta into what is to be added to a window, the earlier first.  What is
 * in the current bucket counts as of the latest time at which it can have been
 * added.
 */
void
use_delta_split(const UseDelta *delta, int64 length, TimestampTz latest, TimedAmount *parts)
{
	parts[0] = (TimedAmount){delta->start - 1, delta->previous};
	parts[1] = (TimedAmount){Max(delta->start, Min(latest, delta->start + length - 1)), delta->current};
}

/* Takes out what was copied: it has been told.  What was added since stays. */
void
use_delta_take_out(UseDelta *delta, int64 length, const UseDelta *copy, TimestampTz now)
{
	TimedAmount parts[USE_DELTA_PARTS];

	use_delta_split(copy, length, copy->start, parts);
	for (int i = 0; i < USE_DELTA_PARTS; i++)
	{
		if (parts[i].amount != 0)
			use_delta_add(delta, length, -parts[i].amount, parts[i].at, now);
	}
}

/* Adds a delta to a window, with the sign 1, or takes it away, with -1. */
void
use_delta_change(const UseDelta *delta, int sign, Window *window, int64 length, TimestampTz now)
{
	TimedAmount parts[USE_DELTA_PARTS];

	use_delta_split(delta, length, now, parts);
	for (int i = 0; i < USE_DELTA_PARTS; i++)
	{
		if (parts[i].amount != 0)
			window_settle_at(window, length, sign * parts[i].amount, parts[i].at, now);
	}
}
