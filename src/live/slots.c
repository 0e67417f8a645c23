/*-------------------------------------------------------------------------
 *
 * slots.c
 *	  Slots that are taken, given back, and free themselves in time.
 *
 * A slot has a number, most of it random and the rest its place, so that it
 * can be found at once by whoever was told the number, and by nobody else.
 * A holder's slots are chained in the order in which they were taken, which
 * is that in which they time out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "live/slots.h"

/* Makes all slots of a pool free. */
void
slots_born(const SlotPool *pool, int nslots)
{
	for (int i = 0; i < nslots; i++)
	{
		pool->slots[i].number = 0;
		pool->slots[i].newer = (i + 1 < nslots) ? i + 1 : NO_SLOT;
	}
	*pool->first_free = 0;
}

void
slots_hold_none(HeldSlots *held)
{
	held->oldest = held->newest = NO_SLOT;
	held->count = 0;
}

/* Takes a slot and returns its number, or 0 when none is free. */
int64
slots_take(const SlotPool *pool, HeldSlots *held, int holder, uint64 random,
		   TimestampTz now)
{
	int			i = *pool->first_free;
	Slot	   *slot = &pool->slots[i];

	if (i == NO_SLOT)
		return 0;

	*pool->first_free = slot->newer;
	random &= (UINT64CONST(1) << SLOT_RANDOM_BITS) - 1;
	slot->number = (int64) (Max(random, 1) << SLOT_INDEX_BITS) | (pool->first_index + i);
	slot->taken_at = now;
	slot->holder = holder;
	slot->older = held->newest;
	slot->newer = NO_SLOT;

	if (held->newest == NO_SLOT)
		held->oldest = i;
	else
		pool->slots[held->newest].newer = i;
	held->newest = i;
	held->count++;

	return slot->number;
}

/* Frees a slot of a holder. */
void
slots_give_back(const SlotPool *pool, HeldSlots *held, int slot)
{
	Slot	   *freed = &pool->slots[slot];

	if (freed->older == NO_SLOT)
		held->oldest = freed->newer;
	else
		pool->slots[freed->older].newer = freed->newer;
	if (freed->newer == NO_SLOT)
		held->newest = freed->older;
	else
		pool->slots[freed->newer].older = freed->older;
	held->count--;

	freed->number = 0;
	freed->newer = *pool->first_free;
	*pool->first_free = slot;
}

/*
 * Frees the slots of a holder that have timed out.  Slots taken later than
 * now, before the clock was set back, count as taken now.
 */
void
slots_expire(const SlotPool *pool, HeldSlots *held, int64 timeout, TimestampTz now)
{
	if (held->oldest != NO_SLOT && pool->slots[held->oldest].taken_at > now)
	{
		for (int i = held->oldest; i != NO_SLOT; i = pool->slots[i].newer)
			pool->slots[i].taken_at = Min(pool->slots[i].taken_at, now);
	}

	while (held->oldest != NO_SLOT && now - pool->slots[held->oldest].taken_at >= timeout)
		slots_give_back(pool, held, held->oldest);
}
