/*-------------------------------------------------------------------------
 *
 * window_rows.h
 *	  The statements on the stored windows of keys and budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_WINDOW_ROWS_H
#define APIKEYS_STORE_WINDOW_ROWS_H

#include "model/window_row.h"

/* The end of a row, as far as that is known to the table itself. */
typedef struct WindowRowEnd
{
	pg_uuid_t	owner;
	bool		is_over;
} WindowRowEnd;

extern bool store_read_windows(const pg_uuid_t *owner, WindowRow *row);
extern void store_write_windows(const WindowRow *rows, int nrows, TimestampTz now);
extern int	store_list_windows(const pg_uuid_t *after, TimestampTz now, WindowRowEnd *ends, int max);
extern void store_delete_windows(const pg_uuid_t *owners, int nowners);

#endif							/* APIKEYS_STORE_WINDOW_ROWS_H */
