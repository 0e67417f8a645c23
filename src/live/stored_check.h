/*-------------------------------------------------------------------------
 *
 * stored_check.h
 *	  Is stored what shared memory takes for stored?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_STORED_CHECK_H
#define APIKEYS_LIVE_STORED_CHECK_H

#include "live/tracked_check.h"

extern void stored_check_entries(TrackedKeys *table, int p, int first, TrackedFaults *faults);

#endif							/* APIKEYS_LIVE_STORED_CHECK_H */
