/*-------------------------------------------------------------------------
 *
 * budget_spend.c
 *	  Costs that committed transactions have recently spent from budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The ledger in the tables is authoritative.  The records here allow a
 * backend that has read a budget from the ledger to keep its sum up to date
 * without reading the ledger again.  A transaction that has spent something
 * adds a record to a ring buffer in shared memory, after its commit has become
 * visible and before it is acknowledged.  A reader remembers the position of
 * the ring, takes a snapshot, and reads the ledger with it.  Of the records
 * from that position on, it adds those whose transactions its snapshot did
 * not see; all older records are of transactions that the snapshot saw.  A
 * reader that falls behind by a whole ring reads the ledger again.
 *
 * COMMIT PREPARED can run in any backend and calls none of our code, so a
 * transaction that is prepared invalidates the caches instead: see
 * key_cache.c.
 *
 * One LWLock guards the records; only memory is copied under it.  The position
 * is an atomic, so that a reader sees without the lock that nothing is new.
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
#define MAX_PENDING		64		/* records of one transaction */

typedef struct Ring
{
	ShmemHeader header;
	pg_atomic_uint64 position;	/* of the next record; grows; exclusive lock */
	LWLock		lock;
	SpendRecord records[RING_SIZE];
} Ring;

StaticAssertDecl((RING_SIZE & (RING_SIZE - 1)) == 0,
				 "a position stays that of its record when it wraps around");
StaticAssertDecl(MAX_PENDING <= RING_SIZE,
				 "the records of one transaction fit into the ring");
StaticAssertDecl(sizeof(((SpendRecord *) NULL)->cost) == COST_MAX_SIZE,
				 "a cost has COST_MAX_SIZE bytes, and is aligned as a numeric");

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

/* ----------------------------------------------------------- spending */

/* Records of this transaction, in TopTransactionContext. */
static SpendRecord *pending = NULL;
static int	npending = 0;
static bool pending_is_complete = true; /* else there were too many */

/* The ring, attached before the commit, since that may fail. */
static Ring *pending_ring = NULL;

static void
clear_pending(void)
{
	pending = NULL;				/* freed with the transaction's memory */
	npending = 0;
	pending_is_complete = true;
}

/* Adds the records of this transaction, which has committed, to the ring. */
static void
publish_pending(void)
{
	TransactionId xid = GetTopTransactionIdIfAny();
	uint64		position;

	Assert(npending > 0 && npending <= MAX_PENDING);
	Assert(TransactionIdIsValid(xid));
	if (pending_ring == NULL)
		return;

	LWLockAcquire(&pending_ring->lock, LW_EXCLUSIVE);
	position = pg_atomic_read_u64(&pending_ring->position);
	for (int i = 0; i < npending; i++)
	{
		pending[i].xid = xid;
		pending_ring->records[position++ % RING_SIZE] = pending[i];
	}
	/* Skip a whole ring, so that each reader finds that it has missed some. */
	if (!pending_is_complete)
		position += RING_SIZE + 1;
	pg_atomic_write_u64(&pending_ring->position, position);
	LWLockRelease(&pending_ring->lock);
}

/*
 * COMMIT PREPARED runs none of our code, so a transaction that is prepared
 * invalidates the caches instead.  This looks a table up, so it may fail.
 */
void
budget_spend_pre_prepare(void)
{
	if (npending > 0)
		CacheInvalidateRelcacheByRelid(store_relation_oid("cache_invalidation"));
}

/* Publishes what a transaction has spent when it has committed. */
void
budget_spend_at_eoxact(bool is_commit)
{
	if (npending == 0)
		return;

	if (is_commit)
		publish_pending();
	clear_pending();
}

/* Only the ledger knows which costs are rolled back with a savepoint. */
void
budget_spend_at_subxact_abort(void)
{
	for (int i = 0; i < npending; i++)
		pending[i].exact = false;
}

/* Returns this transaction's record for a period; NULL if there is no space. */
static SpendRecord *
find_pending(const pg_uuid_t *budget_id, TimestampTz period)
{
	SpendRecord *record;

	for (int i = 0; i < npending; i++)
	{
		if (pending[i].period == period &&
			memcmp(&pending[i].budget_id, budget_id, sizeof(pg_uuid_t)) == 0)
			return &pending[i];
	}
	if (npending == MAX_PENDING)
		return NULL;

	if (pending == NULL)
		pending = MemoryContextAlloc(TopTransactionContext, MAX_PENDING * sizeof(SpendRecord));
	record = &pending[npending++];
	memset(record, 0, sizeof(SpendRecord));
	record->budget_id = *budget_id;
	record->period = period;
	record->database = MyDatabaseId;

	return record;
}

/* Sets the cost of a record; if it does not fit, it is not exact. */
static void
set_cost(SpendRecord *record, Numeric cost)
{
	record->exact = VARSIZE(cost) <= COST_MAX_SIZE;
	if (record->exact)
		memcpy(record->cost.bytes, cost, VARSIZE(cost));
}

/* Records that this transaction spends a cost; published when it commits. */
void
budget_spend_record(const pg_uuid_t *budget_id, TimestampTz period, Numeric cost)
{
	int			nbefore = npending;
	SpendRecord *record;

	Assert(IsTransactionState());
	Assert(!numeric_is_nan(cost) && !numeric_is_inf(cost));
	pending_ring = shmem_attach(&segment);

	record = find_pending(budget_id, period);
	if (record == NULL)
		pending_is_complete = false;
	else if (npending > nbefore)
		set_cost(record, cost);
	else if (record->exact)
		set_cost(record, DatumGetNumeric(DirectFunctionCall2(numeric_add,
															 PointerGetDatum(record->cost.bytes),
															 NumericGetDatum(cost))));
}

/*
 * Returns what this transaction has spent of a budget in a period, if it may
 * have to warn of that.  NULL if what was spent is not known exactly, or after
 * budget_spend_set_warned().  Points to a record of this transaction.
 */
Numeric
budget_spend_pending(const pg_uuid_t *budget_id, TimestampTz period)
{
	SpendRecord *record = find_pending(budget_id, period);

	return record != NULL && record->exact && !record->warned ? (Numeric) record->cost.bytes : NULL;
}

/* This transaction need not ask again whether a budget has to warn. */
void
budget_spend_set_warned(const pg_uuid_t *budget_id, TimestampTz period)
{
	SpendRecord *record = find_pending(budget_id, period);

	if (record != NULL)
		record->warned = true;
}

/* Has this transaction spent something that is not committed yet? */
bool
budget_spend_is_pending(void)
{
	return npending > 0;
}

/* --------------------------------------------------------------- readers */

/*
 * Gets the ring's position; to be called before the snapshot is taken with
 * which a budget is read.  False if there is no shared memory.
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
 * Copies the records of a budget from a position on, and advances the
 * position.  Returns how many records were found, max_found if there may be
 * more, and -1 if some have been overwritten.
 */
int
budget_spend_read(BudgetSpendPosition *position, const pg_uuid_t *budget_id,
				  SpendRecord *found, int max_found)
{
	Ring	   *ring = shmem_attach(&segment);
	int			nfound = 0;
	uint64		end;

	Assert(max_found > 0);
	if (ring == NULL)
		return -1;
	if (pg_atomic_read_u64(&ring->position) == *position)
		return 0;

	LWLockAcquire(&ring->lock, LW_SHARED);
	end = pg_atomic_read_u64(&ring->position);
	Assert(*position <= end);
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

/*
 * Has anything been published of a budget from a position on, or may it have
 * been?  The ring is attached if there is a position.
 */
bool
budget_spend_has_news(BudgetSpendPosition position, const pg_uuid_t *budget_id)
{
	SpendRecord found;

	return budget_spend_read(&position, budget_id, &found, 1) != 0;
}
