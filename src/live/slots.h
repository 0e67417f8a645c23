/*-------------------------------------------------------------------------
 *
 * slots.h
 *	  Slots that are taken, given back, and free themselves in time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_SLOTS_H
#define APIKEYS_SLOTS_H

#include "datatype/timestamp.h"

#define SLOT_INDEX_BITS		24	/* of a number; the others are random */
#define SLOT_RANDOM_BITS	39

#define slot_index(number)	((number) & ((INT64CONST(1) << SLOT_INDEX_BITS) - 1))

typedef struct Slot
{
	int64		number;			/* by which it is given back; 0: free */
	TimestampTz taken_at;
	int			holder;			/* as the taker has it */
	int			older;			/* of the same holder, or NO_SLOT */
	int			newer;			/* likewise, or the next free one */
} Slot;

#define NO_SLOT		(-1)

/* The slots that a holder has; to be initialized by slots_hold_none(). */
typedef struct HeldSlots
{
	int			oldest;
	int			newest;
	int			count;
} HeldSlots;

/* Slots to be taken.  Nothing here locks. */
typedef struct SlotPool
{
	Slot	   *slots;
	int		   *first_free;
	int64		first_index;	/* of slots[0] among the slots of all pools */
} SlotPool;

extern void slots_born(const SlotPool *pool, int nslots);
extern void slots_hold_none(HeldSlots *held);
extern int64 slots_take(const SlotPool *pool, HeldSlots *held, int holder,
						uint64 random, TimestampTz now);
extern void slots_give_back(const SlotPool *pool, HeldSlots *held, int slot);
extern void slots_expire(const SlotPool *pool, HeldSlots *held, int64 timeout,
						 TimestampTz now);

#endif							/* APIKEYS_SLOTS_H */
