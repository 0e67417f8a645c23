/*-------------------------------------------------------------------------
 *
 * slots.h
 *	  Concurrency slots: acquired, released, expired after a timeout.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_SLOTS_H
#define APIKEYS_LIVE_SLOTS_H

#include "datatype/timestamp.h"

#define SLOT_INDEX_BITS		24	/* low bits of a number; the others are random */
#define SLOT_RANDOM_BITS	39

#define slot_index(number)	((number) & ((INT64CONST(1) << SLOT_INDEX_BITS) - 1))

typedef struct Slot
{
	int64		number;			/* what its owner is told; 0: free */
	TimestampTz acquired_at;
	int			owner;			/* index of the owner, as the caller counts them */
	int			older;			/* of the same owner, or NO_SLOT */
	int			newer;			/* of the same owner, or the next free one */
	int			prev;			/* of the pool, in order of acquisition, or NO_SLOT */
	int			next;
} Slot;

#define NO_SLOT		(-1)

/* The slots of an owner; initialized by slots_init(). */
typedef struct SlotList
{
	int			oldest;
	int			newest;
	int			count;
} SlotList;

/* The lists of a pool's slots: those that are free, and the others by age. */
typedef struct SlotOrder
{
	int			first_free;
	int			oldest;
	int			newest;
} SlotOrder;

/* A partition's slots. */
typedef struct SlotPool
{
	Slot	   *slots;
	SlotOrder  *order;
	int64		first_index;	/* of slots[0], counted over all pools */
} SlotPool;

extern void slots_init_pool(const SlotPool *pool, int nslots);
extern void slots_init(SlotList *list);
extern int64 slots_acquire(const SlotPool *pool, SlotList *list, int owner,
						   uint64 random, TimestampTz now);
extern void slots_release(const SlotPool *pool, SlotList *list, int slot);
extern int	slots_find_expired(const SlotPool *pool, int64 timeout, TimestampTz now);
extern void slots_expire(const SlotPool *pool, SlotList *list, int64 timeout,
						 TimestampTz now);

#endif							/* APIKEYS_LIVE_SLOTS_H */
