/*-------------------------------------------------------------------------
 *
 * holds.h
 *	  What reservations hold of the limits of one key family or budget.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_HOLDS_H
#define APIKEYS_LIVE_HOLDS_H

#include "storage/spin.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "live/tracked_windows.h"

/* What a reservation holds of one owner. */
typedef struct Hold
{
	pg_uuid_t	reservation;
	int			partition;		/* of the owner, whose lock guards all of this; NO_PARTITION if free */
	int			owner;			/* the owner's entry in it */
	int			older;			/* hold of the same owner */
	int			newer;			/* likewise; the next free one if it is free */
	int			next;			/* hold of the same reservation, of another owner */
	TrackedWindowSet windows;	/* that count the amounts */
	bool		of_budget;		/* the owner is one */
	bool		settling;		/* a transaction that is open will settle it */
	TimestampTz reserved_at;
	int64		tokens;
	int64		cost;			/* in billionths */
} Hold;

#define NO_HOLD			(-1)
#define NO_PARTITION	(-1)

/* The holds of an owner, by age; initialized by holds_init(). */
typedef struct HoldList
{
	int			oldest;
	int			newest;
	int			count;
	int64		cost;			/* of a budget's, in billionths */
} HoldList;

/* The holds of all owners that are free, in shared memory. */
typedef struct HoldPool
{
	slock_t		lock;			/* guards the rest, and the links of free holds */
	int			first_free;
	int			nfree;
} HoldPool;

extern void holds_init_pool(HoldPool *pool, Hold *holds, int nholds);
extern bool holds_take(HoldPool *pool, Hold *holds, int n, int *taken);
extern void holds_init(HoldList *list);
extern void holds_add(Hold *holds, HoldList *list, int hold);
extern void holds_remove(HoldPool *pool, Hold *holds, HoldList *list, int hold);
extern TimestampTz holds_wait(const Hold *holds, const HoldList *list, int64 max, int64 timeout);

#endif							/* APIKEYS_LIVE_HOLDS_H */
