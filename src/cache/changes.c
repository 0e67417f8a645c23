/*-------------------------------------------------------------------------
 *
 * changes.c
 *	  How often keys and plans have changed, counted in shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * What backends share of keys cannot rest on messages alone: a backend that
 * has just started has not got those that were sent before, and nobody else
 * may have looked.  So who commits a change counts it here, and a row that was
 * read before that is recognized by its stamp, by whoever has it.
 *
 * There is a counter for each number that messages name a key or a plan by (see
 * invalidation.h), or rather for the numbers that share a slot: one of them
 * makes the rows of all outdated, which costs a read.  The generation counts
 * changes that are not of single rows, the position changes of any kind.
 *
 * A change is counted by the backend that commits it, after the commit has
 * become visible and its messages have been sent, and before it is acknowledged:
 * first the position, then what has changed.  A reader
 *
 *	1. takes the position;
 *	2. accepts the messages that have been sent;
 *	3. reads the row with the latest snapshot;
 *	4. takes the counters of what the row depends on: its stamp;
 *	5. may pass the row on only if the position is still the same.
 *
 * A row and its stamp are used as long as the counters are those of the stamp.
 * That is exact.  Take a commit that changes the row and that the snapshot of 3
 * had not seen.  It became visible after 3, and was counted later still.  If its
 * number was counted before 4, so was the position before 5, which differs from
 * that of 1, and the row is not passed on.  If not, it will be counted, before
 * the commit is acknowledged, and from then on the stamp is outdated.
 *
 * A rehash gives a key another number.  The next change of the key would be counted by
 * that, which does not outdate what was read before the rehash.  So whoever changes a
 * row waits until the change that has made it is counted: see invalidation.c.
 *
 * That each change is counted rests on triggers; who finds in 3 that they are
 * missing does not pass on what he reads.  He may know that from messages: one
 * that was not there at 2 was sent later than 1, and counted still later, so
 * either 5 fails or the stamp becomes outdated.  This is why messages are
 * sent before changes are counted.
 *
 * Nor does anybody know of a commit from its locks before it is counted, since they are
 * released later.  COMMIT PREPARED releases them earlier.  So it says before that there
 * is doubt, until it has counted, and as long no stamp is taken for current.  A worker
 * of logical replication cannot say so: doc/architecture.md has what that means.
 *
 * A counter is compared, never ordered.  So that 2^32 changes between two looks
 * at a row are not taken for none, one that wraps starts a new generation.
 *
 * There are no locks: all of this are atomics.  On a standby nobody who could
 * count commits a change, and where the library is not preloaded, there may be
 * backends that do not have it: there nothing is shared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "cache/changes.h"
#include "settings/guc.h"

#define MEMORY_PER_SLOT	128		/* bytes of apikeys.cache_memory */

typedef struct Changes
{
	ShmemHeader header;
	uint32		mask;			/* constant: the slots less one */
	pg_atomic_uint64 generation;
	pg_atomic_uint32 ndoubts;	/* commits that may be known and are not counted */

	/* Written at each change, so on a cache line of its own. */
	union
	{
		pg_atomic_uint64 value;
		char		padding[PG_CACHE_LINE_SIZE];
	} position;
	pg_atomic_uint32 slots[FLEXIBLE_ARRAY_MEMBER];
} Changes;

static uint32
count_slots(void)
{
	return pg_prevpower2_32(Max(guc_cache_memory, 1) * (1024 / MEMORY_PER_SLOT));
}

/* What it takes of apikeys.cache_memory. */
Size
changes_size(void)
{
	return add_size(offsetof(Changes, slots), mul_size(count_slots(), sizeof(pg_atomic_uint32)));
}

static void
changes_init_shared(void *segment)
{
	Changes	   *changes = segment;

	changes->mask = count_slots() - 1;
	pg_atomic_init_u64(&changes->generation, 0);
	pg_atomic_init_u32(&changes->ndoubts, 0);
	pg_atomic_init_u64(&changes->position.value, 0);
	for (uint32 i = 0; i <= changes->mask; i++)
		pg_atomic_init_u32(&changes->slots[i], 0);
}

static ShmemSegment segment = {
	.name = "apikeys changes",
	.size = changes_size,
	.init = changes_init_shared,
};

void
changes_init(void)
{
	shmem_add(&segment);
}

/* Does every backend that commits a change count it? */
bool
changes_are_counted(void)
{
	return shmem_preloaded() && guc_cache_memory > 0 && segment.address != NULL && !RecoveryInProgress();
}

static Changes *
attached(void)
{
	Assert(segment.address != NULL);
	return (Changes *) segment.address;
}

/* The counter of a number in this database. */
static pg_atomic_uint32 *
slot_of(Oid number)
{
	Changes	   *changes = attached();

	return &changes->slots[murmurhash32(number ^ murmurhash32(MyDatabaseId)) & changes->mask];
}

static void
count_generation(void)
{
	pg_atomic_fetch_add_u64(&attached()->generation, 1);
}

/* Counts a change of what has a number.  The order matters: see above. */
void
changes_count(Oid number)
{
	Assert(OidIsValid(number));
	pg_atomic_fetch_add_u64(&attached()->position.value, 1);
	if (pg_atomic_add_fetch_u32(slot_of(number), 1) == 0)
		count_generation();
}

/* Counts a change of whatever there is, in all databases. */
void
changes_count_everything(void)
{
	pg_atomic_fetch_add_u64(&attached()->position.value, 1);
	count_generation();
}

/* From now on others may know of a commit that is not counted yet. */
void
changes_begin_doubt(void)
{
	pg_atomic_fetch_add_u32(&attached()->ndoubts, 1);
}

/* It is counted, or was none. */
void
changes_end_doubt(void)
{
	pg_atomic_fetch_sub_u32(&attached()->ndoubts, 1);
}

/* Changes with each change.  To be taken before the snapshot. */
uint64
changes_position(void)
{
	uint64		position = pg_atomic_read_u64(&attached()->position.value);

	pg_memory_barrier();
	return position;
}

/* Changes with each change of everything. */
uint64
changes_generation(void)
{
	return pg_atomic_read_u64(&attached()->generation);
}

/*
 * Stamps a row that was read since a position, and whose numbers are set;
 * false if anything has changed since.
 */
bool
changes_stamp(RowStamp *stamp, uint64 position)
{
	stamp->generation = changes_generation();
	for (int i = 0; i < ROW_NUMBERS; i++)
		stamp->counts[i] = OidIsValid(stamp->numbers[i]) ? pg_atomic_read_u32(slot_of(stamp->numbers[i])) : 0;
	pg_memory_barrier();
	return changes_position() == position;
}

/* Has nothing changed that a row depends on?  What was in doubt before is counted. */
bool
changes_stamp_is_current(const RowStamp *stamp)
{
	if (pg_atomic_read_u32(&attached()->ndoubts) > 0)
		return false;
	pg_read_barrier();
	if (stamp->generation != changes_generation())
		return false;
	for (int i = 0; i < ROW_NUMBERS; i++)
	{
		if (OidIsValid(stamp->numbers[i]) &&
			stamp->counts[i] != pg_atomic_read_u32(slot_of(stamp->numbers[i])))
			return false;
	}
	return true;
}
