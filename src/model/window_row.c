/*-------------------------------------------------------------------------
 *
 * window_row.c
 *	  The windows of a key family or budget, as they are stored in a table.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * They are a bigint[], so that a dump and an upgrade take them along, and anybody
 * can read them: six numbers for each window.
 *
 *	 id			of the limit, a hash of its name, unit and length
 *	 seconds	its length
 *	 unit		0 requests, 1 tokens, 2 cost in billionths
 *	 start		of the current bucket: microseconds since 2000-01-01 UTC
 *	 current	what has passed in it
 *	 previous	and in the one before
 *
 * The hash is that of the server, which differs between machines of different byte
 * order: there, windows of the other start empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"

#include "base/compat.h"
#include "model/window_row.h"

PG_FUNCTION_INFO_V1(apikeys_check_windows);

/* Fills in the numbers of a row, for which there is space; returns how many. */
int
window_row_encode(const WindowRow *row, int64 *numbers)
{
	Assert(row->n >= 0 && row->n <= WINDOW_ROW_MAX);
	for (int i = 0; i < row->n; i++)
	{
		const StoredWindow *window = &row->windows[i];

		*numbers++ = (int64) window->id;
		*numbers++ = window->seconds;
		*numbers++ = window->unit;
		*numbers++ = window->window.start;
		*numbers++ = window->window.current;
		*numbers++ = window->window.previous;
	}
	return row->n * WINDOW_ROW_NUMBERS;
}

/* Reads the numbers of a window; false if they cannot be those of one. */
static bool
decode_window(const int64 *numbers, StoredWindow *window)
{
	window->id = (uint64) numbers[0];
	window->seconds = (int32) numbers[1];
	window->unit = (WindowUnit) numbers[2];
	window->window = (Window){.start = numbers[3], .current = numbers[4], .previous = numbers[5]};

	return numbers[1] > 0 && numbers[1] <= WINDOW_MAX_LENGTH / USECS_PER_SEC &&
		   numbers[2] >= 0 && numbers[2] < WINDOW_NUNITS && IS_VALID_TIMESTAMP(numbers[3]) &&
		   numbers[4] >= 0 && numbers[5] >= 0;
}

/* Reads the windows of a row; false if the array cannot be theirs. */
bool
window_row_decode(ArrayType *array, WindowRow *row)
{
	int			nnumbers = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	const int64 *numbers = (const int64 *) ARR_DATA_PTR(array);

	row->n = 0;
	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array) || nnumbers % WINDOW_ROW_NUMBERS != 0 ||
		nnumbers > WINDOW_ROW_MAX * WINDOW_ROW_NUMBERS)
		return false;

	for (int i = 0; i < nnumbers; i += WINDOW_ROW_NUMBERS)
	{
		if (!decode_window(&numbers[i], &row->windows[row->n++]))
			return false;
	}
	return true;
}

/* Returns what a limit has used by now according to a row. */
int64
window_row_used(const WindowRow *row, uint64 id, TimestampTz now)
{
	for (int i = 0; i < row->n; i++)
	{
		Window		window = row->windows[i].window;

		if (row->windows[i].id == id)
			return window_used(&window, stored_window_length(&row->windows[i]), now);
	}
	return 0;
}

/* When no window of a row counts anything any more; now if none does. */
TimestampTz
window_row_ends_at(const WindowRow *row, TimestampTz now)
{
	TimestampTz ends_at = now;

	for (int i = 0; i < row->n; i++)
		ends_at = Max(ends_at, row->windows[i].window.start + 2 * stored_window_length(&row->windows[i]));
	return ends_at;
}

/* apikeys.check_windows(windows bigint[]): boolean.  Can they be those of a row? */
Datum
apikeys_check_windows(PG_FUNCTION_ARGS)
{
	WindowRow	row;

	PG_RETURN_BOOL(window_row_decode(PG_GETARG_ARRAYTYPE_P(0), &row));
}
