/*-------------------------------------------------------------------------
 *
 * budget_spend.c
 *	  What has been spent from budgets lately, by those who have committed.
 *
 * The ledger is the truth.  What stands here spares those who have read a
 * budget from the ledger to read it again: a transaction that has spent adds
 * a record to a ring in shared memory, after its commit has become visible
 * and before it is acknowledged.  A reader notes the ring's position, takes a
 * snapshot, and reads the ledger with it.  Of the records from that position
 * on, it adds those whose transactions its snapshot had not seen; the older
 * ones are all of transactions that it had seen.  Who falls behind by a whole
 * ring reads the ledger again.
 *
 * COMMIT PREPARED can happen anywhere and runs none of our code, so a
 * transaction that is prepared raises the fence instead: see key_cache.c.
 *
 * One LWLock guards the records; whoever holds it copies memory and nothing
 * else.  The position is an atomic, so that there being nothing new is seen
 * without the lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "live/budget_spend.h"
#include "store/catalog.h"

#define RING_SIZE		1024
#define MAX_OWN			64		/* records of one transaction */

typedef struct Ring
{
	ShmemHeader header;
	pg_atomic_uint64 position;	/* of the next record; grows, under the lock */
	LWLock		lock;
	SpendRecord records[RING_SIZE];
} Ring;

static Size
ring_size(void)
{
	return sizeof(Ring);
}

static void
ring_init_shared(void *address)
{
	Ring	   *ring = address;

	pg_atomic_init_u64(&ring->position, 0);
	LWLockInitialize(&ring->lock, ring->header.tranche_id);
}

static ShmemSegment segment = {
	.name = "apikeys budget spend",
	.size = ring_size,
	.init = ring_init_shared,
};

void
budget_spend_init(void)
{
	shmem_add(&segment);
}

/* ------------------------------------------------- the transaction's own */

/* Records of this transaction, in its memory. */
static SpendRecord *own = NULL;
static int	nown = 0;
static bool own_is_whole = true; /* else there were too many of them */

/* This transaction's ring: attached while an error still does no harm. */
static Ring *own_ring = NULL;

static void
clear_own(void)
{
	own = NULL;					/* goes with the transaction's memory */
	nown = 0;
	own_is_whole = true;
}

/* Tells everybody what this transaction, which has committed, has spent. */
static void
publish_own(void)
{
	TransactionId xid = GetTopTransactionIdIfAny();
	uint64		position;

	if (own_ring == NULL)
		return;

	LWLockAcquire(&own_ring->lock, LW_EXCLUSIVE);
	position = pg_atomic_read_u64(&own_ring->position);
	for (int i = 0; i < nown; i++)
	{
		own[i].xid = xid;
		own_ring->records[position++ % RING_SIZE] = own[i];
	}
	/* More than the ring holds: all others find that they have missed some. */
	if (!own_is_whole)
		position += RING_SIZE + 1;
	pg_atomic_write_u64(&own_ring->position, position);
	LWLockRelease(&own_ring->lock);
}

/*
 * COMMIT PREPARED runs none of our code, so a transaction that is prepared
 * invalidates the caches instead.  This looks a table up, so it may fail.
 */
void
budget_spend_pre_prepare(void)
{
	if (nown > 0)
		CacheInvalidateRelcacheByRelid(store_relation_oid("fence"));
}

/* Publishes what a transaction has spent when it has committed. */
void
budget_spend_at_eoxact(bool is_commit)
{
	if (nown == 0)
		return;

	if (is_commit)
		publish_own();
	clear_own();
}

/* What a rolled-back savepoint takes along, the ledger knows. */
void
budget_spend_at_subxact_abort(void)
{
	for (int i = 0; i < nown; i++)
		own[i].exact = false;
}

/* Returns the record of this transaction for a period, or NULL for no room. */
static SpendRecord *
find_own(const pg_uuid_t *budget_id, TimestampTz period)
{
	SpendRecord *record;

	for (int i = 0; i < nown; i++)
	{
		if (own[i].period == period &&
			memcmp(&own[i].budget_id, budget_id, sizeof(pg_uuid_t)) == 0)
			return &own[i];
	}
	if (nown == MAX_OWN)
		return NULL;

	if (own == NULL)
		own = MemoryContextAlloc(TopTransactionContext, MAX_OWN * sizeof(SpendRecord));
	record = &own[nown++];
	memset(record, 0, sizeof(SpendRecord));
	record->budget_id = *budget_id;
	record->period = period;
	record->database = MyDatabaseId;

	return record;
}

/* Puts a cost into a record, if it fits. */
static void
set_cost(SpendRecord *record, Numeric cost)
{
	record->exact = VARSIZE(cost) <= COST_MAX_SIZE;
	if (record->exact)
		memcpy(record->cost.bytes, cost, VARSIZE(cost));
}

/* Has this transaction's spending told to all when it commits. */
void
budget_spend_record(const pg_uuid_t *budget_id, TimestampTz period, Numeric cost)
{
	int			nbefore = nown;
	SpendRecord *record;

	own_ring = shmem_attach(&segment);

	record = find_own(budget_id, period);
	if (record == NULL)
		own_is_whole = false;
	else if (nown > nbefore)
		set_cost(record, cost);
	else if (record->exact)
		set_cost(record, DatumGetNumeric(DirectFunctionCall2(numeric_add,
															 PointerGetDatum(record->cost.bytes),
															 NumericGetDatum(cost))));
}

/* Has this transaction spent something that is not committed yet? */
bool
budget_spend_is_pending(void)
{
	return nown > 0;
}

/* --------------------------------------------------------------- readers */

/*
 * Tells the ring's position: to be called before the snapshot is taken with
 * which a budget is read.  False where there is no shared memory.
 */
bool
budget_spend_position(BudgetSpendPosition *position)
{
	Ring	   *ring = shmem_attach(&segment);

	if (ring == NULL)
		return false;

	*position = pg_atomic_read_u64(&ring->position);
	pg_memory_barrier();
	return true;
}

/*
 * Copies what has been spent from a budget since a position, and advances it.
 * Returns how many records it found, max_found if there may be more, and -1
 * when some have been missed.
 */
int
budget_spend_read(BudgetSpendPosition *position, const pg_uuid_t *budget_id,
				  SpendRecord *found, int max_found)
{
	Ring	   *ring = shmem_attach(&segment);
	int			nfound = 0;
	uint64		end;

	if (ring == NULL)
		return -1;
	if (pg_atomic_read_u64(&ring->position) == *position)
		return 0;

	LWLockAcquire(&ring->lock, LW_SHARED);
	end = pg_atomic_read_u64(&ring->position);
	if (end - *position > RING_SIZE)
		nfound = -1;
	else
	{
		while (*position < end && nfound < max_found)
		{
			const SpendRecord *record = &ring->records[(*position)++ % RING_SIZE];

			if (record->database == MyDatabaseId &&
				memcmp(&record->budget_id, budget_id, sizeof(pg_uuid_t)) == 0)
				found[nfound++] = *record;
		}
	}
	LWLockRelease(&ring->lock);

	return nfound;
}
