/*-------------------------------------------------------------------------
 *
 * window.c
 *	  Sliding windows, which count what passes a rate limit.
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
 * Functions that take the time advance a window to it.  If the clock was set
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

static const int64 lengths[] = {
	[WINDOW_REQUESTS_MINUTE] = USECS_PER_MINUTE,
	[WINDOW_TOKENS_MINUTE] = USECS_PER_MINUTE,
	[WINDOW_REQUESTS_DAY] = USECS_PER_DAY,
	[WINDOW_TOKENS_DAY] = USECS_PER_DAY,
};

StaticAssertDecl(lengthof(lengths) == WINDOW_NKINDS, "each WindowKind has a length");
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
	if (count <= PG_INT64_MAX / USECS_PER_DAY)
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
window_used(Window *windows, WindowKind kind, TimestampTz now)
{
	Window	   *window = &windows[kind];

	advance(window, lengths[kind], now);
	return used(window, lengths[kind], now);
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
 * Returns the earliest time at which a cost passes if nothing else is spent:
 * 0 for now, DT_NOEND for never.
 */
TimestampTz
window_wait(Window *windows, WindowKind kind, int64 limit, int64 cost,
			TimestampTz now)
{
	Window	   *window = &windows[kind];
	int64		length = lengths[kind];
	int64		available = limit - cost;

	Assert(limit > 0 && cost >= 0);

	if (available < 0)
		return DT_NOEND;
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
 * Returns the window whose limit its cost exceeds now, or NO_WINDOW: of several
 * the last that admits its cost, since by then all do.  *until is that time,
 * or 0.  A limit of 0 means unlimited.
 */
int
window_find_full(Window *windows, const int64 *limits, const int64 *costs,
				 TimestampTz now, TimestampTz *until)
{
	int			full = NO_WINDOW;

	*until = 0;
	for (int kind = 0; kind < WINDOW_NKINDS; kind++)
	{
		TimestampTz wait;

		if (limits[kind] == 0 || passes_unweighted(&windows[kind], limits[kind] - costs[kind], now))
			continue;
		wait = window_wait(windows, kind, limits[kind], costs[kind], now);
		if (wait > *until)
		{
			full = kind;
			*until = wait;
		}
	}

	return full;
}

/* Spends the costs in each window with a limit, even beyond the limit. */
void
window_spend(Window *windows, const int64 *limits, const int64 *costs, TimestampTz now)
{
	for (int kind = 0; kind < WINDOW_NKINDS; kind++)
	{
		if (limits[kind] > 0 && costs[kind] > 0)
		{
			advance(&windows[kind], lengths[kind], now);
			windows[kind].current = add_saturated(windows[kind].current, costs[kind]);
		}
	}
}

/*
 * Adds an amount of a time that has passed, to the bucket in which it lies, if
 * that still counts.  A negative amount takes back what was added with the same
 * time.
 */
void
window_add_at(Window *windows, WindowKind kind, int64 amount, TimestampTz at, TimestampTz now)
{
	Window	   *window = &windows[kind];
	int64		length = lengths[kind];

	advance(window, length, now);
	/* The earliest starts the buckets, though others may have been faster. */
	if (amount > 0 && window->previous == 0 && at < window->start && now - at < length)
		window->start = at;

	if (at >= window->start)
		window->current = Max(add_saturated(window->current, amount), 0);
	else if (window->start - at <= length)
		window->previous = Max(add_saturated(window->previous, amount), 0);
}

/* Is anything counted in any window? */
bool
window_any_live(Window *windows, TimestampTz now)
{
	for (int kind = 0; kind < WINDOW_NKINDS; kind++)
	{
		advance(&windows[kind], lengths[kind], now);
		if (windows[kind].current > 0 || windows[kind].previous > 0)
			return true;
	}

	return false;
}
