/*-------------------------------------------------------------------------
 *
 * holds.c
 *	  What reservations hold of the limits of one key family or budget.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A reservation is a chain of holds: the first is that of the key family, the
 * others are those of the budgets that the request counts against.  The holds
 * of an owner are linked by age, which is the order in which they time out.
 *
 * All owners share one pool of free holds, guarded by a spinlock: it is held
 * for a few instructions.  A hold that is taken is guarded by the lock of its
 * owner's partition, like the owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "live/holds.h"

/* Links all holds into the free list. */
void
holds_init_pool(HoldPool *pool, Hold *holds, int nholds)
{
	Assert(nholds > 0);

	SpinLockInit(&pool->lock);
	for (int i = 0; i < nholds; i++)
	{
		memset(&holds[i], 0, sizeof(Hold));
		holds[i].partition = NO_PARTITION;
		holds[i].newer = (i + 1 < nholds) ? i + 1 : NO_HOLD;
	}
	pool->first_free = 0;
	pool->nfree = nholds;
}

/* Takes n holds from the pool, or none if there are fewer; false then. */
bool
holds_take(HoldPool *pool, Hold *holds, int n, int *taken)
{
	bool		enough;

	SpinLockAcquire(&pool->lock);
	enough = pool->nfree >= n;
	for (int i = 0; enough && i < n; i++)
	{
		taken[i] = pool->first_free;
		pool->first_free = holds[taken[i]].newer;
		pool->nfree--;
	}
	SpinLockRelease(&pool->lock);

	return enough;
}

/* Returns a hold to the pool. */
static void
give_back(HoldPool *pool, Hold *holds, int hold)
{
	SpinLockAcquire(&pool->lock);
	holds[hold].newer = pool->first_free;
	pool->first_free = hold;
	pool->nfree++;
	SpinLockRelease(&pool->lock);
}

void
holds_init(HoldList *list)
{
	list->oldest = list->newest = NO_HOLD;
	list->count = 0;
	list->cost = 0;
}

/*
 * Adds a hold, all else of which is set, as the newest of an owner.  The caller
 * has checked that the costs of a budget's holds do not overflow.
 */
void
holds_add(Hold *holds, HoldList *list, int hold)
{
	holds[hold].older = list->newest;
	holds[hold].newer = NO_HOLD;
	if (list->newest == NO_HOLD)
		list->oldest = hold;
	else
		holds[list->newest].newer = hold;
	list->newest = hold;
	list->count++;
	if (holds[hold].of_budget)
		list->cost += holds[hold].cost;
}

/* Removes a hold of an owner and returns it to the pool. */
void
holds_remove(HoldPool *pool, Hold *holds, HoldList *list, int hold)
{
	Hold	   *removed = &holds[hold];

	Assert(list->count > 0);
	if (removed->older == NO_HOLD)
		list->oldest = removed->newer;
	else
		holds[removed->older].newer = removed->newer;
	if (removed->newer == NO_HOLD)
		list->newest = removed->older;
	else
		holds[removed->newer].older = removed->older;
	list->count--;
	if (removed->of_budget)
		list->cost -= removed->cost;

	/* Nobody finds it any more, whatever id he asks for. */
	removed->partition = NO_PARTITION;
	give_back(pool, holds, hold);
}

/*
 * When may an owner of max holds or more have another?  When so many have timed
 * out that fewer than max are left: more than one if max was lowered.
 */
TimestampTz
holds_wait(const Hold *holds, const HoldList *list, int64 max, int64 timeout)
{
	int			last = list->oldest;

	Assert(max > 0 && list->count >= max);
	for (int64 excess = list->count - max; excess > 0; excess--)
		last = holds[last].newer;
	return holds[last].reserved_at + timeout;
}
