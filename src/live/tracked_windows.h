/*-------------------------------------------------------------------------
 *
 * tracked_windows.h
 *	  The rate windows of tracked keys and budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_TRACKED_WINDOWS_H
#define APIKEYS_LIVE_TRACKED_WINDOWS_H

#include "model/rate_limits.h"
#include "model/use_delta.h"
#include "model/window.h"

/* What a limit has counted for one owner. */
typedef struct TrackedWindow
{
	uint64		id;				/* of the limit: WindowLimit */
	Window		window;
	int64		reserved;		/* of what it counts */
	TimestampTz created_at;		/* older reservations are not in it */
	int32		seconds;		/* its length */
	int			next;			/* of the owner, or free */
	uint8		number;			/* among those of its owner */
	uint8		unit;			/* WindowUnit */
} TrackedWindow;

#define NO_TRACKED_WINDOW	(-1)
#define MAX_TRACKED_WINDOWS	16	/* of an owner: those of a document, and of older ones */
#define TRACKED_WINDOWS_PER_ENTRY	4	/* on average: each entry can have more */

/* The windows of an owner, by their numbers. */
typedef uint16 TrackedWindowSet;

/* The windows of an owner; initialized by tracked_windows_init(). */
typedef struct TrackedWindowList
{
	int			first;
	TrackedWindowSet numbers;	/* that are taken */
} TrackedWindowList;

/* A partition's windows. */
typedef struct TrackedWindowPool
{
	TrackedWindow *windows;
	int		   *first_free;
} TrackedWindowPool;

extern void tracked_windows_note_in(TrackedWindow *first, UseDelta *deltas);
extern UseDelta *tracked_windows_delta(const TrackedWindow *window);
extern void tracked_windows_init_pool(const TrackedWindowPool *pool, int nwindows);
extern void tracked_windows_init(TrackedWindowList *list);
extern void tracked_windows_find(const TrackedWindowPool *pool, const TrackedWindowList *list,
								 const RateLimits *limits, TrackedWindow **found);
extern TrackedWindow *tracked_windows_add(const TrackedWindowPool *pool, TrackedWindowList *list,
										  const RateLimits *limits, uint64 id, int64 length,
										  WindowUnit unit, TimestampTz now);
extern void tracked_windows_spend(TrackedWindow *window, int64 amount, TimestampTz now);
extern void tracked_windows_add_at(TrackedWindow *window, int64 amount, TimestampTz at, TimestampTz now);
extern void tracked_windows_settle_at(TrackedWindow *window, int64 amount, TimestampTz at, TimestampTz now);
extern void tracked_windows_clear(const TrackedWindowPool *pool, TrackedWindowList *list);
extern bool tracked_windows_any_live(const TrackedWindowPool *pool, const TrackedWindowList *list,
									 TimestampTz now);

/* The length of a window in microseconds. */
static inline int64
tracked_window_length(const TrackedWindow *window)
{
	return window->seconds * USECS_PER_SEC;
}

#endif							/* APIKEYS_LIVE_TRACKED_WINDOWS_H */
