/*-------------------------------------------------------------------------
 *
 * replayed_windows.h
 *	  On a standby: which windows in memory have been stored.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_REPLAYED_WINDOWS_H
#define APIKEYS_FLUSH_REPLAYED_WINDOWS_H

#include "live/tracked_keys.h"

extern int	replayed_windows_mark(TrackedKeys *table, const TrackedKeyRef *ref);

#endif							/* APIKEYS_FLUSH_REPLAYED_WINDOWS_H */
