/*-------------------------------------------------------------------------
 *
 * flush_queue.c
 *	  Which databases have pending data, and which worker flushes each.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A preloaded server runs a launcher (launcher.c) that starts a flush worker
 * (flush_worker.c) for each database that needs one.  Without preloading
 * there is no launcher, but from PostgreSQL 17 on there is shared memory: the
 * backend that records the first pending use of its database starts a flush
 * worker, which sleeps until something is due before it connects, and starts
 * a successor if something is left.
 *
 * FlushQueue.lock guards the slots.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"

#include "base/shmem.h"
#include "flush/flush_queue.h"
#include "flush/wake_up.h"
#include "flush/worker_registration.h"
#include "live/counters.h"
#include "live/flush_problems.h"
#include "live/missing_secrets.h"
#include "live/rehash_queue.h"
#include "settings/guc.h"

#define MAX_PAUSE_MS		300000	/* after failures */
#define MAX_WORKERS		3		/* started by the launcher, at one time */
#define WORKER_LIFE_MS		60000	/* later, it is taken for never started */

/* A database with pending data, a flush worker, or failures. */
typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: the slot is free */
	bool		usage;			/* it has usage entries to roll up */
	TimestampTz notice_at;		/* when notices of keys may be due; 0: never */
	int			failures;		/* in a row */
	TimestampTz since;			/* when the next two were set */
	TimestampTz busy_until;		/* a flush worker runs or starts; 0: none */
	TimestampTz retry_at;		/* pause after a failure; 0: none */
	TimestampTz logged_at;		/* when a failure was logged; 0: never */
} DatabaseSlot;

typedef struct FlushQueue
{
	ShmemHeader header;
	LWLock		lock;
	pg_atomic_uint32 overflowed; /* a report found no slot */
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
	pg_atomic_init_u32(&queue->overflowed, 0);
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
 * Attaches to the shared memory that a report to the queue needs; false where
 * there is none.  A report after the commit requires this before: attaching
 * may fail.
 */
bool
flush_queue_attach(void)
{
	return shmem_attach(&segment) != NULL && wake_up_attach() && counters_attach() && last_used_is_shared() &&
		   rehash_available() && missing_secrets_attach() && flush_problems_attach();
}

/* Returns the queue, to callers that know that there is shared memory. */
static FlushQueue *
attached_queue(void)
{
	FlushQueue *queue = shmem_attach(&segment);

	Assert(queue != NULL);
	return queue;
}

/* -------------------------------------------------------------- the slots */

/*
 * When a database may get a flush worker, after the one it has or after its
 * pause; 0: now.  If the clock was set back both end at once; otherwise they
 * would last longer by the size of the step.
 */
static TimestampTz
available_at(const DatabaseSlot *slot, TimestampTz now)
{
	TimestampTz until = Max(slot->busy_until, slot->retry_at);

	return (now < slot->since || now >= until) ? 0 : until;
}

/*
 * Returns the slot of a database, or NULL.  With create, a slot that is free
 * or holds no state is reused, else the one whose notices are due latest; the
 * launcher sends a worker there.  Locked by the caller, exclusively for create.
 */
static DatabaseSlot *
find_slot(FlushQueue *queue, Oid database, bool create)
{
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *reusable = NULL;

	Assert(OidIsValid(database));
	Assert(LWLockHeldByMe(&queue->lock));
	Assert(!create || LWLockHeldByMeInMode(&queue->lock, LW_EXCLUSIVE));

	for (int i = 0; i < FLUSH_QUEUE_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &queue->slots[i];

		if (slot->database == database)
			return slot;
		if (slot->usage || available_at(slot, now) != 0)
			continue;
		if (reusable == NULL || slot->notice_at == 0 ||
			(reusable->notice_at != 0 && slot->notice_at > reusable->notice_at))
			reusable = slot;
	}
	if (!create || reusable == NULL)
		return NULL;

	if (reusable->notice_at != 0)
		pg_atomic_write_u32(&queue->overflowed, 1);
	memset(reusable, 0, sizeof(DatabaseSlot));
	reusable->database = database;
	return reusable;
}

/* Is a database's flag for usage entries set? */
static bool
has_usage(FlushQueue *queue, Oid database)
{
	DatabaseSlot *slot;
	bool		found;

	LWLockAcquire(&queue->lock, LW_SHARED);
	slot = find_slot(queue, database, false);
	found = (slot != NULL && slot->usage);
	LWLockRelease(&queue->lock);

	return found;
}

/*
 * Sets or clears a database's flag for usage entries to roll up, and returns
 * the old one; false if there is no slot to set it in.
 */
bool
flush_queue_set_usage(Oid database, bool usage, bool *old)
{
	FlushQueue *queue = attached_queue();
	DatabaseSlot *slot;

	/* Each commit of usage comes here, and mostly the flag is set. */
	if (usage && has_usage(queue, database))
		return *old = true;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, usage);
	*old = (slot != NULL && slot->usage);
	if (slot != NULL)
		slot->usage = usage;
	LWLockRelease(&queue->lock);

	return slot != NULL || !usage;
}

/*
 * Sets or clears the flag; returns what it was.  If there is no slot, the
 * launcher is told to look at all databases.
 */
bool
flush_queue_exchange_usage(Oid database, bool usage)
{
	bool		old;

	if (!flush_queue_set_usage(database, usage, &old))
		pg_atomic_write_u32(&attached_queue()->overflowed, 1);
	return old;
}

/* Sets when notices of keys may be due in a database; 0: never. */
void
flush_queue_set_notice(Oid database, TimestampTz at)
{
	FlushQueue *queue = attached_queue();
	DatabaseSlot *slot;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, at != 0);
	if (slot != NULL)
		slot->notice_at = at;
	LWLockRelease(&queue->lock);
}

/* Has a report found no slot since this was last called? */
bool
flush_queue_clear_overflow(void)
{
	return pg_atomic_exchange_u32(&attached_queue()->overflowed, 0) != 0;
}

/* Does the launcher run MAX_WORKERS flush workers?  The lock is held. */
static bool
has_max_workers(FlushQueue *queue, TimestampTz now)
{
	int			nworkers = 0;

	Assert(LWLockHeldByMe(&queue->lock));

	for (int i = 0; i < FLUSH_QUEUE_MAX_DATABASES; i++)
		nworkers += (queue->slots[i].busy_until != 0 && available_at(&queue->slots[i], now) != 0);

	return shmem_preloaded() && nworkers >= MAX_WORKERS;
}

/* Claims a database for a new flush worker; false if it cannot have one now. */
static bool
claim_database(FlushQueue *queue, Oid database, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *slot;
	bool		claimed = false;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, true);
	if (slot != NULL && available_at(slot, now) == 0 && !has_max_workers(queue, now))
	{
		slot->since = now;
		slot->busy_until = until;
		claimed = true;
	}
	LWLockRelease(&queue->lock);

	return claimed;
}

/* Undoes claim_database(). */
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

/* Does a database have a flush worker, or pause after a failure? */
static bool
is_claimed(FlushQueue *queue, Oid database)
{
	DatabaseSlot *slot;
	bool		claimed;

	LWLockAcquire(&queue->lock, LW_SHARED);
	slot = find_slot(queue, database, false);
	claimed = (slot != NULL && available_at(slot, GetCurrentTimestamp()) != 0);
	LWLockRelease(&queue->lock);

	return claimed;
}

/*
 * Releases a database after its flush worker; with haste the next one comes.  Each
 * failure doubles the pause.
 */
void
flush_queue_release(Oid database, bool failed, WakeUp haste)
{
	FlushQueue *queue = attached_queue();
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

	/* Something may have become due meanwhile. */
	if (shmem_preloaded())
	{
		flush_queue_wake();
		wake_up_launcher(haste);
	}
}

/*
 * Is a failure to be logged?  The first in a row is, and then one an hour.  The
 * caller logs it if so.
 */
bool
flush_queue_should_log_failure(Oid database)
{
	FlushQueue *queue = attached_queue();
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *slot;
	bool		log = true;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, false);
	if (slot != NULL)
	{
		log = (slot->failures == 0 || now < slot->logged_at ||
			   now >= slot->logged_at + FLUSH_PROBLEM_LOG_INTERVAL);
		if (log)
			slot->logged_at = now;
	}
	LWLockRelease(&queue->lock);

	return log;
}

/*
 * Discards what is pending in a database that was dropped, or whose extension
 * was.
 */
void
flush_queue_remove_database(Oid database)
{
	FlushQueue *queue = attached_queue();
	DatabaseSlot *slot;

	last_used_remove_database(database);
	rehash_remove_database(database);
	missing_secrets_remove_database(database);

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	slot = find_slot(queue, database, false);
	if (slot != NULL)
	{
		slot->usage = false;
		slot->notice_at = 0;
		slot->failures = 0;
		slot->retry_at = 0;
	}
	LWLockRelease(&queue->lock);
}

/*
 * Lists up to FLUSH_QUEUE_MAX_DATABASES databases with pending data, and when
 * each is due: pending uses by their throttle, usage entries at once, notices if
 * there is a launcher, but none before the end of a pause or of a flush worker.
 */
int
flush_queue_list(DueDatabase *databases)
{
	FlushQueue *queue = attached_queue();
	TimestampTz now = GetCurrentTimestamp();
	int			n = last_used_due_databases(databases, FLUSH_QUEUE_MAX_DATABASES);

	Assert(n <= FLUSH_QUEUE_MAX_DATABASES);

	LWLockAcquire(&queue->lock, LW_SHARED);
	for (int i = 0; i < FLUSH_QUEUE_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &queue->slots[i];
		bool		notice = slot->notice_at != 0 && shmem_preloaded();
		int			d = 0;

		while (d < n && databases[d].database != slot->database)
			d++;
		if (d == n && ((!slot->usage && !notice) || n == FLUSH_QUEUE_MAX_DATABASES))
			continue;
		if (d == n)
			databases[n++] = (DueDatabase){slot->database, DT_NOEND};
		if (slot->usage || notice)
			databases[d].due_at = Min(databases[d].due_at, slot->usage ? 0 : slot->notice_at);
		databases[d].due_at = Max(databases[d].due_at, available_at(slot, now));
	}
	LWLockRelease(&queue->lock);

	return n;
}

/* ------------------------------------------- starting a flush worker */

/*
 * Starts a flush worker for a database, unless it has one.  The worker sleeps
 * for the delay before it connects.
 */
void
flush_queue_start(Oid database, int64 delay_ms)
{
	FlushQueue *queue = attached_queue();

	Assert(IsUnderPostmaster && !RecoveryInProgress());
	Assert(delay_ms >= 0);

	if (!claim_database(queue, database,
						TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													delay_ms + WORKER_LIFE_MS)))
		return;

	if (worker_registration_register(database, delay_ms))
		counters_add(COUNT_WORKERS_STARTED, 1);
	else
	{
		unclaim_database(queue, database);
		flush_problems_report_no_worker();
	}
}

/*
 * Without a launcher: starts a flush worker that connects to this database
 * when something is due, unless it has one.
 */
void
flush_queue_start_sleeping(WakeUp haste)
{
	DueDatabase databases[FLUSH_QUEUE_MAX_DATABASES];
	int			ndatabases;

	if (RecoveryInProgress())
		return;

	ndatabases = flush_queue_list(databases);
	for (int i = 0; i < ndatabases; i++)
		if (databases[i].database == MyDatabaseId)
			flush_queue_start(MyDatabaseId,
							  Max(wake_up_interval(haste),
								  (databases[i].due_at - GetCurrentTimestamp()) / 1000));
}

/* Reports pending data of this database to whatever starts flush workers. */
void
flush_queue_wake(void)
{
	FlushQueue *queue = shmem_attach(&segment);

	if (queue == NULL)
		return;

	Assert(shmem_preloaded() || OidIsValid(MyDatabaseId));
	if (!shmem_preloaded())
	{
		if (!is_claimed(queue, MyDatabaseId))
			flush_queue_start_sleeping(WAKE_UP);
	}
	else
		wake_up_launcher(last_used_is_crowded() ? WAKE_UP_URGENT : WAKE_UP);
}
