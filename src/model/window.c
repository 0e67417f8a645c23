/*-------------------------------------------------------------------------
 *
 * window.c
 *	  A sliding window, which counts what passes a rate limit.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A window has two buckets of its length: the current one, and the previous
 * one, which is weighted by the part of it that a window ending now still
 * covers.  So no burst of twice the limit passes where two buckets meet, and a
 * steady client passes at a steady rate.  The first request after a pause
 * starts the buckets.
 *
 * The weight assumes that requests in the previous bucket were spread evenly.
 * If a client bunches its requests at the end of one bucket and of the next,
 * more than the limit can pass within a window's length, but never more than
 * twice the limit, nor more than the limit at once.
 *
 * While nothing is spent, the used amount only decreases, so a request passes
 * from a certain time on.
 *
 * Functions that take the time advance a window to it.  Lengths are in
 * microseconds, at most WINDOW_MAX_LENGTH.  If the clock was set
 * back, the current bucket starts again with both counts; so they expire after
 * two window lengths, however far the clock was set back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"

#include "model/window.h"

#ifndef HAVE_INT128
#error "apikeys needs a compiler with 128-bit integers"
#endif

StaticAssertDecl(sizeof(Window) == 3 * sizeof(int64), "the state file stores windows without padding");

static int64
add_saturated(int64 a, int64 b)
{
	int64		sum;

	return pg_add_s64_overflow(a, b, &sum) ? PG_INT64_MAX : sum;
}

/* Advances a window, so that now is in its current bucket. */
static void
advance(Window *window, int64 length, TimestampTz now)
{
	Assert(window->current >= 0 && window->previous >= 0);

	if (now < window->start)
		window->start = now;
	else if (now - window->start >= 2 * length)
		window->current = window->previous = 0;
	else if (now - window->start >= length)
	{
		window->start += length;
		window->previous = window->current;
		window->current = 0;
	}

	if (window->current == 0 && window->previous == 0)
		window->start = now;
}

/* Returns count * remaining / length. */
static int64
part_of(int64 count, int64 remaining, int64 length)
{
	/* Division is slow, much more so in 128 bits, and seldom needed. */
	if (count == 0)
		return 0;
	if (count <= PG_INT64_MAX / WINDOW_MAX_LENGTH)
		return count * remaining / length;
	return (int64) ((int128) count * remaining / length);
}

/* Returns the used amount of an advanced window. */
static int64
used(const Window *window, int64 length, TimestampTz now)
{
	Assert(window->start <= now && now - window->start < length);

	return add_saturated(window->current,
						 part_of(window->previous, window->start + length - now, length));
}

/* Returns the used amount of a window. */
int64
window_used(Window *window, int64 length, TimestampTz now)
{
	advance(window, length, now);
	return used(window, length, now);
}

/*
 * Returns the longest remaining time of a previous bucket with this count at
 * which its weighted count is at most max.
 */
static int64
remaining_for(int64 count, int64 max, int64 length)
{
	int128		remaining;

	if (count == 0)
		return length;
	remaining = (((int128) max + 1) * length - 1) / count;
	return (int64) Min(remaining, length);
}

/*
 * Does a cost pass even if the previous bucket counts in full?  Then the window
 * need not be advanced, unless the clock was set back: the buckets would last
 * that much longer.
 */
static inline bool
passes_unweighted(const Window *window, int64 available, TimestampTz now)
{
	return window->previous <= available && window->current <= available - window->previous &&
		   now >= window->start;
}

/*
 * Returns the earliest time at which a cost passes if nothing else is spent:
 * 0 for now, DT_NOEND for never.
 */
TimestampTz
window_wait(Window *window, int64 length, int64 limit, int64 cost, TimestampTz now)
{
	int64		available = limit - cost;

	Assert(limit > 0 && cost >= 0);

	if (available < 0)
		return DT_NOEND;
	if (passes_unweighted(window, available, now))
		return 0;
	advance(window, length, now);
	if (used(window, length, now) <= available)
		return 0;

	/* In this bucket, as the weight of the previous one decreases? */
	if (window->current <= available)
	{
		int64		remaining = remaining_for(window->previous, available - window->current, length);

		if (remaining > 0)
			return window->start + length - remaining;
	}

	/* In the next one, as the weight of this one decreases, or after it. */
	return window->start + 2 * length - remaining_for(window->current, available, length);
}

/* Spends an amount now, even beyond a limit. */
void
window_spend(Window *window, int64 length, int64 amount, TimestampTz now)
{
	Assert(amount >= 0);
	advance(window, length, now);
	window->current = add_saturated(window->current, amount);
}

/*
 * Adds an amount of a time that has passed, to the bucket in which it lies, if
 * that still counts.  A negative amount takes back what was added with the same
 * time.
 */
void
window_add_at(Window *window, int64 length, int64 amount, TimestampTz at, TimestampTz now)
{
	advance(window, length, now);
	/* The earliest starts the buckets, though others may have been faster. */
	if (amount > 0 && window->previous == 0 && at < window->start && now - at < length)
		window->start = at;

	if (at >= window->start)
		window->current = Max(add_saturated(window->current, amount), 0);
	else if (window->start - at <= length)
		window->previous = Max(add_saturated(window->previous, amount), 0);
}

/*
 * Adds an amount as window_add_at() does; but what a negative one takes back, and its
 * bucket lacks, is taken out of the other bucket.  For what is known to have been
 * counted: another server may have counted it a moment later.
 */
void
window_settle_at(Window *window, int64 length, int64 amount, TimestampTz at, TimestampTz now)
{
	int64		lacking;

	if (amount >= 0 || amount == PG_INT64_MIN)
	{
		window_add_at(window, length, amount, at, now);
		return;
	}
	advance(window, length, now);
	if (at < window->start - length)
		return;
	lacking = -amount - (at >= window->start ? window->current : window->previous);
	window_add_at(window, length, amount, at, now);
	if (lacking > 0 && at >= window->start)
		window->previous -= Min(lacking, window->previous);
	else if (lacking > 0)
		window->current -= Min(lacking, window->current);
}

/* Does a window count anything now? */
bool
window_is_live(const Window *window, int64 length, TimestampTz now)
{
	Window		advanced = *window;

	advance(&advanced, length, now);
	return advanced.current > 0 || advanced.previous > 0;
}

/*
 * Is a window over by its time alone?  So is then any earlier state of it, unlike
 * that of a window from which all was taken back.
 */
bool
window_is_over(const Window *window, int64 length, TimestampTz now)
{
	return now >= window->start && now - window->start >= 2 * length;
}

/*
 * Of two states of one window, neither of which is known to be the later, takes
 * the one that has used more by now.
 */
void
window_merge(Window *window, int64 length, const Window *other, TimestampTz now)
{
	Window		advanced = *other;

	if (window_used(&advanced, length, now) > window_used(window, length, now))
		*window = advanced;
}

/* Takes an amount out of a window, from its current bucket first. */
void
window_take_back(Window *window, int64 amount)
{
	int64		current = Min(amount, window->current);

	Assert(amount >= 0);
	window->current -= current;
	window->previous -= Min(amount - current, window->previous);
}
