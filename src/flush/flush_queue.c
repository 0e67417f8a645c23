/*-------------------------------------------------------------------------
 *
 * flush_queue.c
 *	  Which databases have something to persist, and who is at it.
 *
 * A preloaded server runs a launcher (launcher.c) that starts a flush worker
 * (flush_worker.c) for each database that needs one.  Where the library is not
 * preloaded but shared memory is there all the same (17 on) there is no
 * launcher: the backend that notes the first pending use of its database
 * starts a flush worker, which sleeps until something is due before it connects,
 * and starts a successor when something is left.
 *
 * Locking.  FlushQueue.lock guards the slots.  The launcher's latch is set
 * by the launcher alone and read without a lock: to wake the wrong process
 * does no harm.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/lwlock.h"

#include "base/shmem.h"
#include "flush/flush_queue.h"
#include "live/counters.h"
#include "live/rehash_queue.h"
#include "settings/guc.h"

#define MAX_PAUSE_MS		300000	/* after failures */
#define MAX_WORKERS		3		/* at one time, of the launcher's */
#define WORKER_LIFE_MS		60000	/* one that takes longer never started */

/* What is known of a database while there is something to do in it. */
typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: the slot is free */
	bool		usage;			/* it has usage entries to roll up */
	int			failures;		/* in a row */
	TimestampTz since;			/* when the next two were set */
	TimestampTz busy_until;		/* a flush worker is at it or on its way; 0: none */
	TimestampTz retry_at;		/* not before; 0: no failure */
} DatabaseSlot;

typedef struct FlushQueue
{
	ShmemHeader header;
	LWLock		lock;
	Latch	   *launcher;		/* NULL: there is none */
	pg_atomic_uint32 has_work;	/* something for the launcher to look at */
	DatabaseSlot slots[FLUSH_QUEUE_MAX_DATABASES]; /* lock */
} FlushQueue;

static Size
queue_size(void)
{
	return sizeof(FlushQueue);
}

static void
queue_init_shared(void *address)
{
	FlushQueue *queue = address;

	LWLockInitialize(&queue->lock, queue->header.tranche_id);
	pg_atomic_init_u32(&queue->has_work, 0);
}

static ShmemSegment segment = {
	.name = "apikeys flush queue",
	.size = queue_size,
	.init = queue_init_shared,
};

void
flush_queue_init(void)
{
	shmem_add(&segment);
}

/*
 * Attaches all that is needed to report to the queue; false where there is
 * no shared memory.  For those who report when a transaction has committed:
 * nothing may fail then.
 */
bool
flush_queue_attach(void)
{
	return shmem_attach(&segment) != NULL && counters_attach() && last_used_is_shared();
}

/* -------------------------------------------------------------- the slots */

/*
 * Until when a slot is taken or pauses; 0: it is free.  A clock that has been
 * set back ends both, lest they last as long as its step.
 */
static TimestampTz
free_at(const DatabaseSlot *slot, TimestampTz now)
{
	TimestampTz until = Max(slot->busy_until, slot->retry_at);

	return (now < slot->since || now >= until) ? 0 : until;
}

/*
 * Returns the slot of a database, or NULL; with create, takes one that has
 * nothing to remember.  The lock is held, exclusively for create.
 */
static DatabaseSlot *
find_slot(FlushQueue *queue, Oid database, bool create)
{
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *spare = NULL;

	for (int i = 0; i < FLUSH_QUEUE_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &queue->slots[i];

		if (slot->database == database)
			return slot;
		if (!OidIsValid(slot->database) ||
			(!slot->usage && free_at(slot, now) == 0))
			spare = slot;
	}
	if (!create || spare == NULL)
		return NULL;

	memset(spare, 0, sizeof(DatabaseSlot));
	spare->database = database;
	return spare;
}

/*
 * Sets or takes the note that a database has usage entries to roll up;
 * returns what it was.
 */
bool
flush_queue_exchange_usage(Oid database, bool usage)
{
	FlushQueue *queue = shmem_attach(&segment);
	DatabaseSlot *slot;
	bool		old = false;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, usage);
	if (slot != NULL)
	{
		old = slot->usage;
		slot->usage = usage;
	}
	LWLockRelease(&queue->lock);

	return old;
}

/* Are as many flush workers under way as may be?  The lock is held. */
static bool
is_crowded(FlushQueue *queue, TimestampTz now)
{
	int			nworkers = 0;

	for (int i = 0; i < FLUSH_QUEUE_MAX_DATABASES; i++)
		nworkers += (queue->slots[i].busy_until != 0 && free_at(&queue->slots[i], now) != 0);

	return shmem_preloaded() && nworkers >= MAX_WORKERS;
}

/* Claims a database for a new flush worker; false when it cannot have one now. */
static bool
claim_database(FlushQueue *queue, Oid database, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *slot;
	bool		claimed = false;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, true);
	if (slot != NULL && free_at(slot, now) == 0 && !is_crowded(queue, now))
	{
		slot->since = now;
		slot->busy_until = until;
		claimed = true;
	}
	LWLockRelease(&queue->lock);

	return claimed;
}

/* Takes a claim back. */
static void
unclaim_database(FlushQueue *queue, Oid database)
{
	DatabaseSlot *slot;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, false);
	if (slot != NULL)
		slot->busy_until = 0;
	LWLockRelease(&queue->lock);
}

/* Does a database have a flush worker, or a pause? */
static bool
is_claimed(FlushQueue *queue, Oid database)
{
	DatabaseSlot *slot;
	bool		claimed;

	LWLockAcquire(&queue->lock, LW_SHARED);
	slot = find_slot(queue, database, false);
	claimed = (slot != NULL && free_at(slot, GetCurrentTimestamp()) != 0);
	LWLockRelease(&queue->lock);

	return claimed;
}

/* Releases a database after its flush worker.  Each failure doubles the pause. */
void
flush_queue_release(Oid database, bool failed)
{
	FlushQueue *queue = shmem_attach(&segment);
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *slot;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, false);
	if (slot != NULL)
	{
		slot->since = now;
		slot->busy_until = 0;
		slot->failures = failed ? slot->failures + 1 : 0;
		slot->retry_at = 0;
		if (failed)
		{
			int64		pause = (int64) guc_flush_interval << Min(slot->failures, 20);

			slot->retry_at = now + Min(pause, MAX_PAUSE_MS) * 1000;
		}
	}
	LWLockRelease(&queue->lock);

	/* What has become due meanwhile waits for no timeout. */
	if (shmem_preloaded())
		flush_queue_wake();
}

/* Would a failure now be the first in a row? */
bool
flush_queue_is_first_failure(Oid database)
{
	FlushQueue *queue = shmem_attach(&segment);
	DatabaseSlot *slot;
	bool		first;

	LWLockAcquire(&queue->lock, LW_SHARED);
	slot = find_slot(queue, database, false);
	first = (slot == NULL || slot->failures == 0);
	LWLockRelease(&queue->lock);

	return first;
}

/* Forgets a database that is gone, or that has no apikeys any more. */
void
flush_queue_remove_database(Oid database)
{
	FlushQueue *queue = shmem_attach(&segment);
	DatabaseSlot *slot;

	last_used_remove_database(database);
	rehash_remove_database(database);

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, false);
	if (slot != NULL)
	{
		slot->usage = false;
		slot->failures = 0;
		slot->retry_at = 0;
	}
	LWLockRelease(&queue->lock);
}

/*
 * Lists the databases with something to persist, at most
 * FLUSH_QUEUE_MAX_DATABASES, and when the earliest of it is due: pending uses
 * by their throttle, usage entries at once, nothing during a pause or while
 * a flush worker is at it.
 */
int
flush_queue_list(DueDatabase *databases)
{
	FlushQueue *queue = shmem_attach(&segment);
	TimestampTz now = GetCurrentTimestamp();
	int			n = last_used_due_databases(databases, FLUSH_QUEUE_MAX_DATABASES);

	LWLockAcquire(&queue->lock, LW_SHARED);
	for (int i = 0; i < FLUSH_QUEUE_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &queue->slots[i];
		int			d = 0;

		while (d < n && databases[d].database != slot->database)
			d++;
		if (d == n && (!slot->usage || n == FLUSH_QUEUE_MAX_DATABASES))
			continue;
		if (d == n)
			databases[n++].database = slot->database;
		if (slot->usage)
			databases[d].due_at = 0;
		databases[d].due_at = Max(databases[d].due_at, free_at(slot, now));
	}
	LWLockRelease(&queue->lock);

	return n;
}

/* ----------------------------------------------------- starting a flush worker */

/* Starts a flush worker that sleeps for a delay first, unless one is under way. */
void
flush_queue_start(Oid database, int64 delay_ms)
{
	FlushQueue *queue = shmem_attach(&segment);
	BackgroundWorker worker = {0};

	if (!claim_database(queue, database,
						TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													delay_ms + WORKER_LIFE_MS)))
		return;

	strlcpy(worker.bgw_name, "apikeys flush worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "apikeys flush worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "apikeys", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "apikeys_flush_worker_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	memcpy(worker.bgw_extra, &delay_ms, sizeof(delay_ms));

	if (RegisterDynamicBackgroundWorker(&worker, NULL))
		counters_add(COUNT_WORKERS_STARTED, 1);
	else
		unclaim_database(queue, database);
}

/*
 * Where there is no launcher: has a flush worker come to this database when
 * something is due, unless one is on its way already.
 */
void
flush_queue_start_sleeping(void)
{
	DueDatabase databases[FLUSH_QUEUE_MAX_DATABASES];
	int			ndatabases;

	if (RecoveryInProgress())
		return;

	ndatabases = flush_queue_list(databases);
	for (int i = 0; i < ndatabases; i++)
	{
		if (databases[i].database == MyDatabaseId)
			flush_queue_start(MyDatabaseId,
							  Max(guc_flush_interval,
								  (databases[i].due_at - GetCurrentTimestamp()) / 1000));
	}
}

/* Tells whoever starts flush workers that there is something to persist. */
void
flush_queue_wake(void)
{
	FlushQueue *queue = shmem_attach(&segment);

	if (queue == NULL)
		return;

	if (!shmem_preloaded())
	{
		if (!is_claimed(queue, MyDatabaseId))
			flush_queue_start_sleeping();
	}
	else if (pg_atomic_exchange_u32(&queue->has_work, 1) == 0)
	{
		Latch	   *launcher = *(Latch *volatile *) &queue->launcher;

		if (launcher != NULL)
			SetLatch(launcher);
	}
}

/* Is there a committed usage entry of this transaction to come? */
static bool usage_at_commit = false;

/* Has the usage entries of this transaction rolled up once it commits. */
void
flush_queue_record_usage(void)
{
	if (flush_queue_attach())
		usage_at_commit = true;
}

/*
 * Where there is no launcher: starts a flush worker for the usage entries of
 * this transaction.  That may fail, so it is done before the commit.
 */
void
flush_queue_pre_commit(void)
{
	if (usage_at_commit && !shmem_preloaded() && !RecoveryInProgress())
		flush_queue_start(MyDatabaseId, guc_flush_interval);
}

/* Reports the usage entries of a transaction that has committed. */
void
flush_queue_at_eoxact(bool is_commit)
{
	if (!usage_at_commit)
		return;

	usage_at_commit = false;
	if (is_commit && !flush_queue_exchange_usage(MyDatabaseId, true) && shmem_preloaded())
		flush_queue_wake();
}

/* ------------------------------------------------------- for the launcher */

/* Has news ring the launcher's latch; NULL when it goes. */
void
flush_queue_set_launcher(Latch *latch)
{
	FlushQueue *queue = shmem_attach(&segment);

	queue->launcher = latch;
}

bool
flush_queue_has_work(void)
{
	FlushQueue *queue = shmem_attach(&segment);

	return pg_atomic_read_u32(&queue->has_work) != 0;
}

/* Call it before the look that the news ask for. */
void
flush_queue_clear_work(void)
{
	FlushQueue *queue = shmem_attach(&segment);

	pg_atomic_exchange_u32(&queue->has_work, 0);
}
