/*-------------------------------------------------------------------------
 *
 * window_row.h
 *	  The windows of a key family or budget, as they are stored in a table.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_WINDOW_ROW_H
#define APIKEYS_MODEL_WINDOW_ROW_H

#include "utils/array.h"
#include "utils/uuid.h"

#include "model/window.h"
#include "model/window_limit.h"

#define WINDOW_ROW_MAX		16	/* windows of an owner */
#define WINDOW_ROW_NUMBERS	6	/* of each in the array */

typedef struct StoredWindow
{
	uint64		id;				/* of the limit: WindowLimit */
	int32		seconds;		/* its length */
	WindowUnit	unit;
	Window		window;
} StoredWindow;

typedef struct WindowRow
{
	pg_uuid_t	owner;
	int			n;
	StoredWindow windows[WINDOW_ROW_MAX];
} WindowRow;

extern int	window_row_encode(const WindowRow *row, int64 *numbers);
extern bool window_row_decode(ArrayType *array, WindowRow *row);
extern int64 window_row_used(const WindowRow *row, uint64 id, TimestampTz now);
extern TimestampTz window_row_ends_at(const WindowRow *row, TimestampTz now);

/* The length of a stored window in microseconds. */
static inline int64
stored_window_length(const StoredWindow *window)
{
	return window->seconds * USECS_PER_SEC;
}

#endif							/* APIKEYS_MODEL_WINDOW_ROW_H */
