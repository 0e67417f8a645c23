/*-------------------------------------------------------------------------
 *
 * slots.c
 *	  Concurrency slots: acquired, released, expired after a timeout.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The number of a slot is its index and random bits: whoever has acquired
 * the slot finds it directly by its number, and nobody else can guess that.
 * The slots of an owner are linked in the order in which they were acquired,
 * which is the order in which they time out.  So are all slots of a pool, so
 * that one that has timed out is found at once, whoever owned it.
 *
 * Nothing here locks: the caller holds the lock of the pool exclusively.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "live/slots.h"

StaticAssertDecl(SLOT_INDEX_BITS + SLOT_RANDOM_BITS == 63,
				 "the number of a slot is a positive int64");

/* Links all slots of a pool into its free list. */
void
slots_init_pool(const SlotPool *pool, int nslots)
{
	Assert(nslots > 0);
	Assert(pool->first_index >= 0 &&
		   pool->first_index + nslots <= INT64CONST(1) << SLOT_INDEX_BITS);

	for (int i = 0; i < nslots; i++)
	{
		pool->slots[i].number = 0;
		pool->slots[i].newer = (i + 1 < nslots) ? i + 1 : NO_SLOT;
	}
	pool->order->first_free = 0;
	pool->order->oldest = pool->order->newest = NO_SLOT;
}

void
slots_init(SlotList *list)
{
	list->oldest = list->newest = NO_SLOT;
	list->count = 0;
}

/* Acquires a slot and returns its number; 0 if none is free. */
int64
slots_acquire(const SlotPool *pool, SlotList *list, int owner, uint64 random,
			  TimestampTz now)
{
	SlotOrder  *order = pool->order;
	int			i = order->first_free;
	Slot	   *slot = &pool->slots[i];

	Assert(owner >= 0);
	if (i == NO_SLOT)
		return 0;
	Assert(slot->number == 0);

	order->first_free = slot->newer;
	random &= (UINT64CONST(1) << SLOT_RANDOM_BITS) - 1;
	slot->number = (int64) (Max(random, 1) << SLOT_INDEX_BITS) | (pool->first_index + i);
	slot->acquired_at = now;
	slot->owner = owner;
	slot->older = list->newest;
	slot->newer = NO_SLOT;

	if (list->newest == NO_SLOT)
		list->oldest = i;
	else
		pool->slots[list->newest].newer = i;
	list->newest = i;
	list->count++;

	slot->prev = order->newest;
	slot->next = NO_SLOT;
	if (order->newest == NO_SLOT)
		order->oldest = i;
	else
		pool->slots[order->newest].next = i;
	order->newest = i;

	return slot->number;
}

/* Releases a slot, given by its index, to the free list. */
void
slots_release(const SlotPool *pool, SlotList *list, int slot)
{
	Slot	   *freed = &pool->slots[slot];
	SlotOrder  *order = pool->order;

	Assert(slot >= 0 && freed->number != 0);
	Assert(list->count > 0);

	if (freed->older == NO_SLOT)
		list->oldest = freed->newer;
	else
		pool->slots[freed->older].newer = freed->newer;
	if (freed->newer == NO_SLOT)
		list->newest = freed->older;
	else
		pool->slots[freed->newer].older = freed->older;
	list->count--;

	if (freed->prev == NO_SLOT)
		order->oldest = freed->next;
	else
		pool->slots[freed->prev].next = freed->next;
	if (freed->next == NO_SLOT)
		order->newest = freed->prev;
	else
		pool->slots[freed->next].prev = freed->prev;

	freed->number = 0;
	freed->newer = order->first_free;
	order->first_free = slot;
}

/*
 * Returns the index of a slot of the pool that has timed out, or NO_SLOT.  As
 * in slots_expire(), a slot that was acquired after now counts as acquired now.
 */
int
slots_find_expired(const SlotPool *pool, int64 timeout, TimestampTz now)
{
	int			i = pool->order->oldest;

	if (i == NO_SLOT)
		return NO_SLOT;
	pool->slots[i].acquired_at = Min(pool->slots[i].acquired_at, now);
	return now - pool->slots[i].acquired_at >= timeout ? i : NO_SLOT;
}

/*
 * Releases the slots of an owner that have timed out.  Slots that were
 * acquired after now, before the clock was set back, count as acquired now.
 * timeout is in microseconds.
 */
void
slots_expire(const SlotPool *pool, SlotList *list, int64 timeout, TimestampTz now)
{
	Assert(timeout > 0);
	Assert((list->oldest == NO_SLOT) == (list->count == 0));

	if (list->oldest != NO_SLOT && pool->slots[list->oldest].acquired_at > now)
	{
		for (int i = list->oldest; i != NO_SLOT; i = pool->slots[i].newer)
			pool->slots[i].acquired_at = Min(pool->slots[i].acquired_at, now);
	}

	while (list->oldest != NO_SLOT && now - pool->slots[list->oldest].acquired_at >= timeout)
		slots_release(pool, list, list->oldest);
}
