/*-------------------------------------------------------------------------
 *
 * tracked_space.h
 *	  Space for entries and windows in the shared table of keys and budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_TRACKED_SPACE_H
#define APIKEYS_LIVE_TRACKED_SPACE_H

#include "live/tracked_keys.h"
#include "model/window_row.h"

extern TrackedKey *tracked_keys_add(TrackedKeys *table, const TrackedKeyRef *ref, TimestampTz now,
									bool *evicted);
extern TrackedKey *tracked_keys_find_or_add(TrackedKeys *table, const TrackedKeyRef *ref, TimestampTz now,
											bool *evicted);
extern TrackedWindow *tracked_keys_add_window(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry,
											  const RateLimits *limits, const WindowLimit *limit,
											  TimestampTz now, bool *evicted);
extern bool tracked_keys_merge_window(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry,
									  const StoredWindow *stored, TimestampTz now, bool *evicted);

#endif							/* APIKEYS_LIVE_TRACKED_SPACE_H */
