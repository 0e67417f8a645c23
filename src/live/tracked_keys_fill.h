/*-------------------------------------------------------------------------
 *
 * tracked_keys_fill.h
 *	  How full the shared table of keys is.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_TRACKED_KEYS_FILL_H
#define APIKEYS_LIVE_TRACKED_KEYS_FILL_H

#include "datatype/timestamp.h"

typedef struct TrackedKeysFill
{
	int64		used;
	int64		free;
	int64		limited;		/* with a live window or a reservation */
	int64		other_databases;
	int64		pending;
	TimestampTz last_flush;		/* 0: none yet */
} TrackedKeysFill;

extern bool tracked_keys_read_fill(TrackedKeysFill *fill);

#endif							/* APIKEYS_LIVE_TRACKED_KEYS_FILL_H */
