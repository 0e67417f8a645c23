/*-------------------------------------------------------------------------
 *
 * budget_sums.c
 *	  What is spent of budgets, in shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The ledger in the tables is authoritative.  Who has read from it what is spent
 * of a budget in a period puts the sum here, and from then on each transaction
 * that has spent something of it adds that, after its commit has become visible
 * and before it is acknowledged.  So what a verify costs depends neither on what
 * is spent of other budgets nor on how much is in the ledger.
 *
 * While a sum is read, others are committed.  So each transaction also adds
 * records with its id to a ring.  A reader remembers the position of the ring,
 * takes a snapshot, and reads the ledger with it.  When he puts the sum here, he
 * adds the records from that position on whose transactions his snapshot did not
 * see; all older ones it saw.  If a whole ring was written meanwhile, the sum is
 * good for him alone.  So it is if his snapshot has seen a transaction that has not
 * published yet what it has spent, and would add it again: who spends something is
 * listed from before the commit until it is published.
 *
 * COMMIT PREPARED can run in any backend and calls none of our code.  So a
 * transaction that is prepared publishes that it will change these sums, and none
 * is set in its database until it has ended.
 *
 * One LWLock guards sums and records; only memory is copied under it.  A spender is
 * taken off the list under it, in one step with what he publishes.  Versions are
 * atomics, written before the position is: so a reader who has seen how far
 * the ring is sees without the lock whether a sum is the one that he knows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "live/budget_sums.h"
#include "store/catalog.h"

#define RING_SIZE	4096		/* records */
#define NSLOTS		8192		/* sums */
#define WAYS		8			/* slots in which that of a budget may be */

typedef struct Slot
{
	pg_atomic_uint64 version;	/* of the sum; 0: there is none */
	Oid			database;
	pg_uuid_t	budget_id;
	BudgetSum	sum;
} Slot;

/* The transaction of a backend that spends something. */
typedef struct Spender
{
	pg_atomic_uint32 xid;		/* the topmost; InvalidTransactionId: there is none */
	Oid			database;
} Spender;

typedef struct Sums
{
	ShmemHeader header;
	pg_atomic_uint64 position;	/* of the next record; grows; exclusive lock */
	LWLock		lock;
	uint64		last_version;	/* exclusive lock */
	SpendRecord records[RING_SIZE];
	Slot		slots[NSLOTS];
	int			nspenders;		/* constant: MaxBackends */
	Spender		spenders[FLEXIBLE_ARRAY_MEMBER]; /* by backend_index() */
} Sums;

StaticAssertDecl((RING_SIZE & (RING_SIZE - 1)) == 0,
				 "a position stays that of its record when it wraps around");
StaticAssertDecl(BUDGET_SPEND_MAX_RECORDS <= RING_SIZE,
				 "the records of one transaction fit into the ring");
StaticAssertDecl(NSLOTS % WAYS == 0, "each budget has as many slots");

static Size
sums_size(void)
{
	return add_size(offsetof(Sums, spenders), mul_size(MaxBackends, sizeof(Spender)));
}

static void
sums_init_shared(void *address)
{
	Sums	   *sums = address;

	pg_atomic_init_u64(&sums->position, 0);
	LWLockInitialize(&sums->lock, sums->header.tranche_id);
	for (int i = 0; i < NSLOTS; i++)
		pg_atomic_init_u64(&sums->slots[i].version, 0);
	sums->nspenders = MaxBackends;
	for (int i = 0; i < sums->nspenders; i++)
		pg_atomic_init_u32(&sums->spenders[i].xid, InvalidTransactionId);
}

static ShmemSegment segment = {
	.name = "apikeys budget sums",
	.size = sums_size,
	.init = sums_init_shared,
};

/* Of this backend, NULL if its transaction spends nothing. */
static Spender *announced = NULL;

void
budget_sums_init(void)
{
	shmem_add(&segment);
}

/* Attaches what a change after the commit needs; false where there is none. */
bool
budget_sums_attach(void)
{
	return shmem_attach(&segment) != NULL;
}


/* --------------------------------------------------------------- the slots */

/* Returns the first of the slots in which the sum of a budget may be. */
static int
first_slot(const pg_uuid_t *budget_id)
{
	return hash_bytes(budget_id->data, UUID_LEN) % (NSLOTS / WAYS) * WAYS;
}

static bool
is_of(Slot *slot, Oid database, const pg_uuid_t *budget_id)
{
	return pg_atomic_read_u64(&slot->version) != 0 && slot->database == database &&
		   memcmp(&slot->budget_id, budget_id, sizeof(pg_uuid_t)) == 0;
}

/* Returns the slot of a budget, or NULL.  The lock is held. */
static Slot *
find_slot(Sums *sums, Oid database, const pg_uuid_t *budget_id)
{
	Slot	   *slots = &sums->slots[first_slot(budget_id)];

	Assert(LWLockHeldByMe(&sums->lock));
	for (int i = 0; i < WAYS; i++)
	{
		if (is_of(&slots[i], database, budget_id))
			return &slots[i];
	}
	return NULL;
}

/* Returns the slot of a budget, one that is free, or the one that was read longest ago. */
static Slot *
choose_slot(Sums *sums, const pg_uuid_t *budget_id)
{
	Slot	   *slot = find_slot(sums, MyDatabaseId, budget_id);
	Slot	   *slots = &sums->slots[first_slot(budget_id)];

	if (slot != NULL)
		return slot;
	slot = &slots[0];
	for (int i = 0; i < WAYS && pg_atomic_read_u64(&slot->version) != 0; i++)
	{
		if (pg_atomic_read_u64(&slots[i].version) == 0 || slots[i].sum.read_at < slot->sum.read_at)
			slot = &slots[i];
	}
	return slot;
}

/* Gives a sum that has changed another version.  Exclusive lock. */
static void
change_version(Sums *sums, Slot *slot)
{
	slot->sum.version = ++sums->last_version;
	pg_atomic_write_u64(&slot->version, slot->sum.version);
}

static void
remove_sum(Slot *slot)
{
	pg_atomic_write_u64(&slot->version, 0);
}

static bool
is_in_period(const SpendRecord *record, const BudgetSum *sum)
{
	return record->period >= sum->started_at && record->period < sum->ends_at;
}

/* Adds what a transaction has spent to the sum of its budget.  Exclusive lock. */
static void
add_to_sum(Sums *sums, const SpendRecord *record)
{
	Slot	   *slot = find_slot(sums, record->database, &record->budget_id);

	if (slot == NULL || !is_in_period(record, &slot->sum))
		return;
	if (record->exact && exact_cost_add(&slot->sum.spent, &record->cost))
		change_version(sums, slot);
	else
		remove_sum(slot);
}

/* Removes the sums of a database, and has each reader find that he has missed records. */
static void
remove_all(Sums *sums, Oid database)
{
	for (int i = 0; i < NSLOTS; i++)
	{
		if (sums->slots[i].database == database)
			remove_sum(&sums->slots[i]);
	}
	pg_atomic_fetch_add_u64(&sums->position, RING_SIZE + 1);
}

/* --------------------------------------------------------------- spending */

/* Adds records to the sums and to the ring.  Exclusive lock. */
static void
add_records(Sums *sums, const SpendRecord *records, int n, bool complete)
{
	uint64		position = pg_atomic_read_u64(&sums->position);

	for (int i = 0; i < n; i++)
	{
		add_to_sum(sums, &records[i]);
		sums->records[position++ % RING_SIZE] = records[i];
	}
	pg_write_barrier();
	pg_atomic_write_u64(&sums->position, position);
	if (!complete)
		remove_all(sums, MyDatabaseId);
}

/*
 * The transaction of this backend is about to spend something: it will call
 * budget_sums_publish() or budget_sums_forget().  Attaches what they need.
 */
void
budget_sums_announce(TransactionId xid)
{
	Sums	   *sums = shmem_attach(&segment);
	int			index = backend_index();

	if (sums == NULL || index < 0)
		return;
	Assert(index < sums->nspenders);
	announced = &sums->spenders[index];
	announced->database = MyDatabaseId;
	pg_write_barrier();
	pg_atomic_write_u32(&announced->xid, xid);
}

/* The transaction of this backend spends nothing any more. */
void
budget_sums_forget(void)
{
	if (announced != NULL)
		pg_atomic_write_u32(&announced->xid, InvalidTransactionId);
	announced = NULL;
}

/* Has a snapshot seen a transaction that has not published what it has spent? */
static bool
has_seen_unpublished(Sums *sums, const SavedSnapshot *snapshot)
{
	for (int i = 0; i < sums->nspenders; i++)
	{
		TransactionId xid = pg_atomic_read_u32(&sums->spenders[i].xid);

		pg_read_barrier();
		if (TransactionIdIsValid(xid) && sums->spenders[i].database == MyDatabaseId &&
			saved_snapshot_has_seen(snapshot, xid))
			return true;
	}
	return false;
}

/*
 * Publishes the records of a transaction that has committed, or is prepared, in
 * which case none is exact; complete is false if it has more.
 */
void
budget_sums_publish(const SpendRecord *records, int n, bool complete)
{
	Sums	   *sums = shmem_attach(&segment);

	if (sums == NULL)
		return;

	LWLockAcquire(&sums->lock, LW_EXCLUSIVE);
	add_records(sums, records, n, complete);
	budget_sums_forget();
	LWLockRelease(&sums->lock);
}

/* Removes the sums of a database that is dropped, or no longer has apikeys. */
void
budget_sums_remove_database(Oid database)
{
	Sums	   *sums = shmem_attach(&segment);

	if (sums == NULL)
		return;

	LWLockAcquire(&sums->lock, LW_EXCLUSIVE);
	remove_all(sums, database);
	LWLockRelease(&sums->lock);
}

/* --------------------------------------------------------------- readers */

/*
 * Gets the position of the ring; to be called before what is spent is read, here
 * or from the ledger.  False if there is no shared memory.
 */
bool
budget_spend_position(BudgetSpendPosition *position)
{
	Sums	   *sums = shmem_attach(&segment);

	if (sums == NULL)
		return false;

	*position = pg_atomic_read_u64(&sums->position);
	pg_memory_barrier();
	return true;
}

/* Is this record of a budget of this database? */
static bool
is_record_of(const SpendRecord *record, const pg_uuid_t *budget_id)
{
	return record->database == MyDatabaseId &&
		   memcmp(&record->budget_id, budget_id, sizeof(pg_uuid_t)) == 0;
}

/*
 * Has anything been published of a budget from a position on, or may it have
 * been?  The ring is attached if there is a position.
 */
bool
budget_spend_has_news(BudgetSpendPosition position, const pg_uuid_t *budget_id)
{
	Sums	   *sums = shmem_attach(&segment);
	bool		found;

	if (sums == NULL)
		return true;
	if (pg_atomic_read_u64(&sums->position) == position)
		return false;

	LWLockAcquire(&sums->lock, LW_SHARED);
	found = pg_atomic_read_u64(&sums->position) - position > RING_SIZE;
	for (; !found && position < pg_atomic_read_u64(&sums->position); position++)
		found = is_record_of(&sums->records[position % RING_SIZE], budget_id);
	LWLockRelease(&sums->lock);

	return found;
}

/*
 * May a sum that is read from now on be set?  Not while a transaction is prepared
 * that has spent something in this database: then it holds a lock on the ledger.
 * To be called after the position was got, and before the snapshot is taken.
 */
bool
budget_sums_can_set(void)
{
	VirtualTransactionId *writers;
	bool		prepared = false;

	if (max_prepared_xacts == 0)
		return true;

	writers = store_writers(store_relation_oid("usage_entry"));
	for (int i = 0; !prepared && VirtualTransactionIdIsValid(writers[i]); i++)
	{
		bool		more;

		prepared = VirtualTransactionIdIsRecoveredPreparedXact(writers[i]) ||
				   TransactionIdIsValid(TwoPhaseGetXidByVirtualXID(writers[i], &more));
	}
	pfree(writers);
	return !prepared;
}

/*
 * Adds the records from a position on that a snapshot has not seen to a sum that
 * was read with it; false if that is not possible.  The lock is held.
 */
static bool
catch_up(Sums *sums, const pg_uuid_t *budget_id, BudgetSum *sum,
		 BudgetSpendPosition position, const SavedSnapshot *snapshot)
{
	uint64		end = pg_atomic_read_u64(&sums->position);

	if (end - position > RING_SIZE)
		return false;
	for (; position < end; position++)
	{
		const SpendRecord *record = &sums->records[position % RING_SIZE];

		if (!is_record_of(record, budget_id) || !is_in_period(record, sum) ||
			saved_snapshot_has_seen(snapshot, record->xid))
			continue;
		if (!record->exact || !exact_cost_add(&sum->spent, &record->cost))
			return false;
	}
	return true;
}

/*
 * Sets the sum of a budget, which was read from the ledger with a snapshot after
 * that position; adds what was published since.  False if that is not possible,
 * and the sum is as it was.
 */
bool
budget_sums_set(const pg_uuid_t *budget_id, BudgetSum *sum,
				BudgetSpendPosition position, const SavedSnapshot *snapshot)
{
	Sums	   *sums = shmem_attach(&segment);
	BudgetSum	new = *sum;
	bool		possible;

	if (sums == NULL)
		return false;

	LWLockAcquire(&sums->lock, LW_EXCLUSIVE);
	possible = !has_seen_unpublished(sums, snapshot) &&
			   catch_up(sums, budget_id, &new, position, snapshot);
	if (possible)
	{
		Slot	   *slot = choose_slot(sums, budget_id);

		slot->database = MyDatabaseId;
		slot->budget_id = *budget_id;
		new.slot = slot - sums->slots;
		slot->sum = new;
		change_version(sums, slot);
		*sum = slot->sum;
	}
	LWLockRelease(&sums->lock);

	return possible;
}

/*
 * Brings what a backend knows of a budget up to date, and tells whether it has
 * changed; false if the sum of this period is not here any more.
 */
bool
budget_sums_get(const pg_uuid_t *budget_id, BudgetSum *sum, bool *changed)
{
	Sums	   *sums = shmem_attach(&segment);
	const Slot *slot;
	bool		found;

	*changed = false;
	if (sums == NULL)
		return false;
	if (pg_atomic_read_u64(&sums->slots[sum->slot].version) == sum->version)
		return true;

	LWLockAcquire(&sums->lock, LW_SHARED);
	slot = find_slot(sums, MyDatabaseId, budget_id);
	found = slot != NULL && slot->sum.started_at == sum->started_at && slot->sum.ends_at == sum->ends_at;
	if (found)
		*sum = slot->sum;
	LWLockRelease(&sums->lock);

	*changed = found;
	return found;
}
