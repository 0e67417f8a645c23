/*-------------------------------------------------------------------------
 *
 * window.c
 *	  Sliding windows: how much has passed lately?
 *
 * A window is two buckets of its length: the current one, and the one before
 * it, which counts by the part of it that a window ending now still covers.
 * So there is no burst of twice the limit where two buckets meet, and a
 * steady client is let in at a steady rate.  The first request after a pause
 * starts the buckets.
 *
 * The approximation takes what passed in the bucket before as spread evenly.
 * Of a client that bunches its requests at the end of one bucket and of the
 * next, more than the limit may pass within a window's length, but never
 * more than twice the limit, nor more than the limit at once.
 *
 * What is used only shrinks as time goes by with nothing spent, so there is
 * one moment from which on a request passes.
 *
 * Whoever needs the time rolls a window on to now.  A clock that was set back
 * starts the current bucket afresh, with the counts of both; so it takes two
 * windows, and not as long as the clock was set back, until they are gone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"

#include "model/window.h"

#ifndef HAVE_INT128
#error "apikeys needs a compiler with 128-bit integers"
#endif

static const int64 lengths[WINDOW_NKINDS] = {
	USECS_PER_MINUTE, USECS_PER_MINUTE, USECS_PER_DAY, USECS_PER_DAY
};

static int64
add_saturated(int64 a, int64 b)
{
	int64		sum;

	return pg_add_s64_overflow(a, b, &sum) ? PG_INT64_MAX : sum;
}

/* Rolls a window on, so that its current bucket is that of now. */
static void
advance(Window *window, int64 length, TimestampTz now)
{
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

/* Returns the part of a count that remaining is of length. */
static int64
part_of(int64 count, int64 remaining, int64 length)
{
	/* Division is dear, several times so in 128 bits, and seldom needed. */
	if (count == 0)
		return 0;
	if (count <= PG_INT64_MAX / USECS_PER_DAY)
		return count * remaining / length;
	return (int64) ((int128) count * remaining / length);
}

/* What is used of a window whose current bucket is that of now. */
static int64
used(const Window *window, int64 length, TimestampTz now)
{
	return add_saturated(window->current,
						 part_of(window->previous, window->start + length - now, length));
}

int64
window_used(Window *windows, WindowKind kind, TimestampTz now)
{
	Window	   *window = &windows[kind];

	advance(window, lengths[kind], now);
	return used(window, lengths[kind], now);
}

/* The longest time before a bucket's weight is gone at which it counts room at most. */
static int64
remaining_for(int64 count, int64 room, int64 length)
{
	int128		remaining;

	if (count == 0)
		return length;
	remaining = (((int128) room + 1) * length - 1) / count;
	return (int64) Min(remaining, length);
}

/*
 * Returns the earliest time at which a cost passes if nothing else does until
 * then: 0 for now, DT_NOEND for never.
 */
TimestampTz
window_wait(Window *windows, WindowKind kind, int64 limit, int64 cost,
			TimestampTz now)
{
	Window	   *window = &windows[kind];
	int64		length = lengths[kind];
	int64		room = limit - cost;

	if (room < 0)
		return DT_NOEND;
	advance(window, length, now);
	if (used(window, length, now) <= room)
		return 0;

	/* In this bucket, while the one before it fades? */
	if (window->current <= room)
	{
		int64		remaining = remaining_for(window->previous, room - window->current, length);

		if (remaining > 0)
			return window->start + length - remaining;
	}

	/* In the next one, while this one fades, or when it is gone. */
	return window->start + 2 * length - remaining_for(window->current, room, length);
}

/*
 * Is there room without a further look?  No more is used than both buckets
 * have.  After a clock that was set back the window has to be rolled on, lest
 * the buckets stay for as long as that.
 */
static inline bool
has_room(const Window *window, int64 room, TimestampTz now)
{
	return window->previous <= room && window->current <= room - window->previous &&
		   now >= window->start;
}

/*
 * Finds the window in which the costs do not pass now: of several the one
 * that takes longest, since then they pass in all.  limits of 0 are none.
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

		if (limits[kind] == 0 || has_room(&windows[kind], limits[kind] - costs[kind], now))
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

/* Spends in each window that has a limit, be there room or not. */
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

/* Does any window remember something? */
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
