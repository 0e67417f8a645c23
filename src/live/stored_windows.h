/*-------------------------------------------------------------------------
 *
 * stored_windows.h
 *	  Windows in shared memory, and the rows in which they are stored.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_STORED_WINDOWS_H
#define APIKEYS_LIVE_STORED_WINDOWS_H

#include "live/tracked_keys.h"
#include "model/rate_limits.h"
#include "model/window_row.h"

/* Windows of an owner that have changed, as they are to be stored. */
typedef struct ChangedWindows
{
	WindowRow	row;			/* only those that count */
	uint32		version;		/* of them */
	bool		is_known;		/* else the row has to be read before */
	bool		has_row;		/* there may be an older row */
} ChangedWindows;

/* Where the next owners are looked for. */
typedef struct WindowCursor
{
	int			partition;
	int			end;			/* the partition after the last one */
	int			entry;
} WindowCursor;

/* for those who use windows */
extern bool stored_windows_read(const pg_uuid_t *owner);
extern bool stored_windows_keep(const pg_uuid_t *owner);
extern bool stored_windows_peek(const pg_uuid_t *owner, WindowRow *row);

/* for those who store them */
extern TimestampTz stored_windows_due_at(const TrackedKey *entry);
extern void stored_windows_begin(WindowCursor *cursor, int partition);
extern int	stored_windows_collect(Oid database, TimestampTz due_by, WindowCursor *cursor,
								   ChangedWindows *changed, int max);
extern void stored_windows_copy_entry(const TrackedKeyRef *ref, const TrackedKey *entry, TimestampTz now,
									  ChangedWindows *changed);
extern bool stored_windows_copy(const pg_uuid_t *owner, ChangedWindows *changed);
extern void stored_windows_mark(const pg_uuid_t *owner, uint32 version, bool has_row, TimestampTz now);

#endif							/* APIKEYS_LIVE_STORED_WINDOWS_H */
