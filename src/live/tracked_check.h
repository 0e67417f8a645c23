/*-------------------------------------------------------------------------
 *
 * tracked_check.h
 *	  Is the shared table of keys and budgets sound?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_TRACKED_CHECK_H
#define APIKEYS_LIVE_TRACKED_CHECK_H

#include "live/tracked_keys.h"

/* A number that is not what it has to be. */
typedef struct TrackedFault
{
	TrackedKeyTag tag;			/* whose; without a database: a partition's, or of all */
	int			partition;		/* NO_PARTITION: of all */
	bool		is_minor;		/* a limit is somewhat too strict or too loose */
	const char *what;			/* the number, for "... is 1, not 2" */
	int64		found;
	int64		expected;
} TrackedFault;

#define TRACKED_FAULTS_MAX	64

typedef struct TrackedFaults
{
	int			n;				/* how many were found; the first are in the array */
	TrackedFault faults[TRACKED_FAULTS_MAX];
} TrackedFaults;

/* Which holds belong to an owner: a bit for each. */
typedef uint8 *HoldSet;

#define TRACKED_CHECK_BATCH	1024	/* entries for which a lock is held */

extern void tracked_check_expect(TrackedFaults *faults, int partition, const TrackedKeyTag *tag,
								 const char *what, int64 found, int64 expected);
extern HoldSet tracked_check_new_set(const TrackedKeys *table);
extern void tracked_check_pool(TrackedKeys *table, TrackedFaults *faults);
extern void tracked_check_partition(TrackedKeys *table, int p, TrackedFaults *faults);
extern void tracked_check_entries(TrackedKeys *table, int p, int first, HoldSet linked,
								  TrackedFaults *faults);
extern int	tracked_check_unlinked(TrackedKeys *table, HoldSet linked, TimestampTz since, int first,
								   TrackedFaults *faults);

#endif							/* APIKEYS_LIVE_TRACKED_CHECK_H */
