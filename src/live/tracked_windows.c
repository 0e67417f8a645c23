/*-------------------------------------------------------------------------
 *
 * tracked_windows.c
 *	  The rate windows of tracked keys and budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * An owner has a window for each limit against which it has been checked,
 * found by the id of the limit.  A window whose limit is gone from the owner's
 * document stays until it counts nothing any more and its space is needed: if
 * the limit comes back, what was used is still known.
 *
 * On a standby, what is added is noted besides, for the server that it follows.
 *
 * Nothing here locks: the caller holds the lock of the pool, exclusively where
 * a function changes anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "live/tracked_windows.h"

StaticAssertDecl(MAX_TRACKED_WINDOWS == sizeof(TrackedWindowSet) * BITS_PER_BYTE,
				 "a set has a bit for each number");
StaticAssertDecl(MAX_TRACKED_WINDOWS > RATE_MAX_WINDOWS,
				 "an owner has space for the windows of its document");
StaticAssertDecl(sizeof(TrackedWindow) % MAXIMUM_ALIGNOF == 0, "what follows the windows is aligned");

/* Where a standby notes what was added to each window of the table; else NULL. */
static UseDelta *first_delta = NULL;
static TrackedWindow *first_window;

/* Has what is added to windows noted in deltas, which begin where the windows begin. */
void
tracked_windows_note_in(TrackedWindow *first, UseDelta *deltas)
{
	first_window = first;
	first_delta = deltas;
}

/* What is yet to be told of a window; NULL if nobody is told.  Exclusive lock. */
UseDelta *
tracked_windows_delta(const TrackedWindow *window)
{
	return first_delta != NULL ? &first_delta[window - first_window] : NULL;
}

/* Links all windows of a pool into its free list. */
void
tracked_windows_init_pool(const TrackedWindowPool *pool, int nwindows)
{
	Assert(nwindows > 0);

	for (int i = 0; i < nwindows; i++)
		pool->windows[i].next = (i + 1 < nwindows) ? i + 1 : NO_TRACKED_WINDOW;
	*pool->first_free = 0;
}

void
tracked_windows_init(TrackedWindowList *list)
{
	list->first = NO_TRACKED_WINDOW;
	list->numbers = 0;
}

/* Returns the index of the limit with an id, or limits->nwindows. */
static int
find_limit(const RateLimits *limits, uint64 id)
{
	int			i = 0;

	while (i < limits->nwindows && limits->windows[i].id != id)
		i++;
	return i;
}

/* Finds the window of each limit; NULL where there is none. */
void
tracked_windows_find(const TrackedWindowPool *pool, const TrackedWindowList *list,
					 const RateLimits *limits, TrackedWindow **found)
{
	for (int i = 0; i < limits->nwindows; i++)
		found[i] = NULL;
	for (int w = list->first; w != NO_TRACKED_WINDOW; w = pool->windows[w].next)
	{
		int			i = find_limit(limits, pool->windows[w].id);

		if (i < limits->nwindows)
			found[i] = &pool->windows[w];
	}
}

/* Returns a window to the pool, given by the link to it. */
static void
free_window(const TrackedWindowPool *pool, TrackedWindowList *list, int *link)
{
	int			w = *link;
	TrackedWindow *window = &pool->windows[w];

	Assert(list->numbers & 1 << window->number);
	*link = window->next;
	list->numbers &= ~(1 << window->number);
	window->next = *pool->first_free;
	*pool->first_free = w;
}

/*
 * Frees the windows that belong to no limit of the document and count nothing.
 * With always, also the one of them that started first, if none is free.
 */
static void
free_obsolete(const TrackedWindowPool *pool, TrackedWindowList *list, const RateLimits *limits,
			  bool always, TimestampTz now)
{
	int		   *link = &list->first;
	int		   *oldest = NULL;

	while (*link != NO_TRACKED_WINDOW)
	{
		TrackedWindow *window = &pool->windows[*link];

		if (find_limit(limits, window->id) < limits->nwindows)
			link = &window->next;
		else if (!window_is_live(&window->window, tracked_window_length(window), now))
			free_window(pool, list, link);
		else
		{
			if (oldest == NULL || window->window.start < pool->windows[*oldest].window.start)
				oldest = link;
			link = &window->next;
		}
	}

	if (always && oldest != NULL && list->numbers == PG_UINT16_MAX)
		free_window(pool, list, oldest);
}

/*
 * Adds a window for a limit of the document that has none; NULL if there is no
 * space in the pool.  An owner that has had many other documents loses a window
 * of one of these.
 */
TrackedWindow *
tracked_windows_add(const TrackedWindowPool *pool, TrackedWindowList *list, const RateLimits *limits,
					uint64 id, int64 length, WindowUnit unit, TimestampTz now)
{
	TrackedWindow *window;
	int		   *link = &list->first;
	int			w;

	if (list->numbers == PG_UINT16_MAX || *pool->first_free == NO_TRACKED_WINDOW)
		free_obsolete(pool, list, limits, true, now);
	w = *pool->first_free;
	if (w == NO_TRACKED_WINDOW)
		return NULL;

	window = &pool->windows[w];
	*pool->first_free = window->next;
	memset(window, 0, sizeof(TrackedWindow));
	if (first_delta != NULL)
		memset(tracked_windows_delta(window), 0, sizeof(UseDelta));
	window->id = id;
	window->seconds = length / USECS_PER_SEC;
	window->unit = unit;
	window->created_at = now;
	window->number = pg_rightmost_one_pos32(~list->numbers);
	window->next = NO_TRACKED_WINDOW;
	list->numbers |= 1 << window->number;

	/* In the order of the document, which is that of the searches. */
	while (*link != NO_TRACKED_WINDOW)
		link = &pool->windows[*link].next;
	*link = w;

	return window;
}

/* Notes what was added to a window, for the server that is told of it. */
static void
note_use(const TrackedWindow *window, int64 amount, TimestampTz at, TimestampTz now)
{
	if (first_delta != NULL && amount != 0)
		use_delta_add(tracked_windows_delta(window), tracked_window_length(window), amount, at, now);
}

/* Spends an amount now, even beyond a limit. */
void
tracked_windows_spend(TrackedWindow *window, int64 amount, TimestampTz now)
{
	window_spend(&window->window, tracked_window_length(window), amount, now);
	note_use(window, amount, now, now);
}

/* Adds an amount of a time that has passed; a negative one takes it back. */
void
tracked_windows_add_at(TrackedWindow *window, int64 amount, TimestampTz at, TimestampTz now)
{
	window_add_at(&window->window, tracked_window_length(window), amount, at, now);
	note_use(window, amount, at, now);
}

/* Adds the difference to what was counted, at its time; see window_settle_at(). */
void
tracked_windows_settle_at(TrackedWindow *window, int64 amount, TimestampTz at, TimestampTz now)
{
	window_settle_at(&window->window, tracked_window_length(window), amount, at, now);
	note_use(window, amount, at, now);
}

/* Frees all windows of an owner. */
void
tracked_windows_clear(const TrackedWindowPool *pool, TrackedWindowList *list)
{
	while (list->first != NO_TRACKED_WINDOW)
		free_window(pool, list, &list->first);
}

/* Does a window of an owner count anything now?  Changes nothing. */
bool
tracked_windows_any_live(const TrackedWindowPool *pool, const TrackedWindowList *list, TimestampTz now)
{
	for (int w = list->first; w != NO_TRACKED_WINDOW; w = pool->windows[w].next)
	{
		if (window_is_live(&pool->windows[w].window, tracked_window_length(&pool->windows[w]), now))
			return true;
	}

	return false;
}
