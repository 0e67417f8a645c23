/*-------------------------------------------------------------------------
 *
 * flush_worker.c
 *	  The short-lived worker that flushes one database.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It connects, writes what is due in short transactions, and exits within
 * seconds, so that DROP DATABASE and the like never wait for it for long.  It
 * skips rows that are locked, and waits at most a second for any other lock;
 * what is left then, the next worker does.  The first of several errors in a
 * row is logged; what was pending stays pending.
 *
 * It obeys a reload between transactions: the secret that was current when it
 * started may have been removed from the file since, and a key must not be
 * rehashed under it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "base/worker.h"
#include "flush/flush.h"
#include "flush/flush_queue.h"
#include "flush/flush_windows.h"
#include "flush/flush_worker.h"
#include "flush/worker_session.h"
#include "live/counters.h"
#include "live/flush_problems.h"
#include "live/last_used.h"
#include "live/rehash_queue.h"
#include "live/tracked_keys.h"
#include "settings/guc.h"
#include "store/advisory_locks.h"
#include "store/catalog.h"
#include "store/notices.h"

#define WORK_TIME_MS	2000	/* then it exits */
#define WRITERS_WAIT_MS	100		/* for those who write to the ledger */
#define MANY_ENTRIES	1000	/* then the next worker comes soon */

static bool succeeded = false;	/* no error so far */
static bool usage_left = false; /* a flag cleared in the queue is due again */
static WakeUp haste = WAKE_UP;	/* with which the next worker has to come */
static bool released = false;	/* another worker may claim the database */

/* before_shmem_exit callback of a flush worker. */
static void
flush_worker_exit(int code, Datum database)
{
	if (usage_left)
		flush_queue_exchange_usage(DatumGetObjectId(database), true);
	if (!released)
		flush_queue_release(DatumGetObjectId(database), !succeeded, WAKE_UP);
}

/*
 * Aborts the transaction after an error, and returns to a memory context that
 * was current before: an error leaves ErrorContext, which the next one resets.
 * Of the errors of this worker logs the first, unless that was logged lately.
 */
static void
abort_work(MemoryContext context)
{
	ErrorData  *error;

	if (succeeded && flush_queue_should_log_failure(MyDatabaseId))
		EmitErrorReport();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	AbortCurrentTransaction();
	Assert(!IsTransactionState());
	pgstat_report_activity(STATE_IDLE, NULL);

	flush_problems_record_error(MyDatabaseId,
								error->message ? error->message : "missing error text");
	FreeErrorData(error);
	MemoryContextSwitchTo(context);

	if (succeeded)
		counters_add(COUNT_FLUSH_ERRORS, 1);
	succeeded = false;
}

/*
 * Locks the extension, and flushing; false if the extension is being dropped,
 * or somebody else flushes.  Without the first we would fail on tables that
 * vanish, or run into a deadlock.  False as well if there is no extension: then
 * what is pending is discarded.
 */
static bool
lock_for_flush(void)
{
	Oid			extension;

	Assert(IsTransactionState());
	extension = get_extension_oid("apikeys", true);
	if (OidIsValid(extension))
		return store_keep_extension(extension) && store_lock_flush(false);

	flush_queue_remove_database(MyDatabaseId);
	usage_left = false;
	return false;
}

/* Persists due uses of a partition or of all, one transaction per batch. */
static void
flush_due_uses(int partition, TimestampTz due_by, TimestampTz exit_at)
{
	KeyUse	   *uses;
	int			nuses;

	nuses = last_used_collect(MyDatabaseId, partition, due_by, &uses);
	for (int i = 0; i < nuses && GetCurrentTimestamp() < exit_at; i += FLUSH_BATCH)
	{
		worker_begin_work();
		if (lock_for_flush())
			flush_uses(&uses[i], Min(FLUSH_BATCH, nuses - i));
		worker_end_work();
	}
	if (uses != NULL)
		pfree(uses);
}

/* Begins with the ledger, or rolls up its next batch, in a transaction; false: locked. */
static bool
try_roll_up(RollUp *batch)
{
	RollUp		next = *batch;
	bool		locked;

	worker_begin_work();
	locked = lock_for_flush();
	if (locked && next.limit == 0)
		flush_begin_ledger(&next, WRITERS_WAIT_MS);
	else if (locked)
		flush_ledger(&next);
	worker_end_work();
	*batch = next;

	return locked;
}

/*
 * Rolls up the ledger.  A batch that fails is halved until a single entry fails,
 * which is skipped, so that it blocks no other.
 */
static void
roll_up(TimestampTz exit_at)
{
	volatile RollUp batch = {.limit = 0};
	volatile bool more = true;
	volatile bool finished = true;
	volatile int64 taken = 0;
	MemoryContext context = CurrentMemoryContext;

	while (more && GetCurrentTimestamp() < exit_at)
	{
		int			limit = batch.limit;

		PG_TRY();
		{
			more = try_roll_up((RollUp *) &batch);
			finished &= more && batch.taken == batch.seen;
			if (limit > 0)
			{
				more &= batch.seen == limit;
				taken += batch.taken;
				batch.limit = Min(LEDGER_BATCH, limit * 2);
			}
		}
		PG_CATCH();
		{
			abort_work(context);
			finished = false;
			more = limit > 0;
			batch.skip += limit == 1;
			batch.limit = Max(1, limit / 2);
		}
		PG_END_TRY();
	}

	if (finished && !more)
		usage_left = false;
	if (succeeded && (more || taken >= MANY_ENTRIES))
		haste = more ? WAKE_UP_URGENT : WAKE_UP_SOON;
}

/* Rehashes keys in their own transaction; false after an error. */
static bool
try_rehash(const RehashRequest *requests, int n)
{
	volatile bool done = false;
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		worker_begin_work();
		if (lock_for_flush())
			flush_rehash(requests, n);
		worker_end_work();
		done = true;
	}
	PG_CATCH();
	{
		abort_work(context);
	}
	PG_END_TRY();

	return done;
}

/*
 * Rehashes keys, one transaction per batch.  The keys of a batch that fails
 * are retried one by one, so that one blocks no other.
 */
static void
rehash_keys(TimestampTz exit_at)
{
	RehashRequest *requests = palloc(FLUSH_BATCH * sizeof(RehashRequest));
	int			n;

	while (GetCurrentTimestamp() < exit_at &&
		   (n = rehash_dequeue(MyDatabaseId, requests, FLUSH_BATCH)) > 0)
	{
		if (!try_rehash(requests, n) && n > 1)
		{
			for (int i = 0; i < n && GetCurrentTimestamp() < exit_at; i++)
				try_rehash(&requests[i], 1);
		}
	}
	pfree(requests);

	if (rehash_is_pending(MyDatabaseId))
		flush_queue_exchange_usage(MyDatabaseId, true);
}

/*
 * Repeats a step, in a transaction each time, as long as it returns true and
 * there is time.  Returns true if there is more, or after an error.
 */
static bool
repeat(bool (*step)(void), TimestampTz exit_at)
{
	volatile bool more = true;
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		while (more && GetCurrentTimestamp() < exit_at)
		{
			worker_begin_work();
			more = step();
			worker_end_work();
		}
	}
	PG_CATCH();
	{
		abort_work(context);
	}
	PG_END_TRY();

	return more;
}

/* Stores a batch of windows that have changed; true: there are more. */
static bool
store_windows(void)
{
	return lock_for_flush() && flush_windows();
}

/*
 * Without a launcher: discards what is pending in databases that were dropped, by a
 * session that had not loaded the library.
 */
static bool
remove_dropped_databases(void)
{
	DueDatabase databases[FLUSH_QUEUE_MAX_DATABASES];
	int			ndatabases = flush_queue_list(databases);

	for (int i = 0; i < ndatabases; i++)
	{
		if (!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(databases[i].database)))
			flush_queue_remove_database(databases[i].database);
	}
	return false;
}

/* Deletes a batch of expired request ids; true: there are more. */
static bool
delete_request_ids(void)
{
	return lock_for_flush() && flush_request_ids() == FLUSH_BATCH;
}

/*
 * Gives a batch of notices that keys are going to expire; true: there are more.
 * If not, sets when others may be due, or leaves that to the next worker.
 */
static bool
give_notices(void)
{
	if (!lock_for_flush())
	{
		usage_left = OidIsValid(get_extension_oid("apikeys", true));
		return false;
	}
	if (flush_notices() == FLUSH_BATCH)
		return true;

	flush_queue_set_notice(MyDatabaseId,
						   guc_expiry_notices.n > 0 ? store_next_notice(guc_expiry_notice) : 0);
	return false;
}

/* Writes last uses and windows that are due by a time, of a partition or of all. */
static void
write_due(int partition, TimestampTz due_by, TimestampTz exit_at)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz now = GetCurrentTimestamp();

	flush_windows_begin(partition, due_by);
	PG_TRY();
	{
		flush_due_uses(partition, due_by, now + (exit_at - now) / 2);
	}
	PG_CATCH();
	{
		abort_work(context);
	}
	PG_END_TRY();
	(void) repeat(store_windows, exit_at);
}

/*
 * Writes last uses and windows that are due, or all if others need the space; again
 * if they still do.  An entry makes space when both are written, so that is done for
 * one partition after the other: each has space at once.
 */
static void
make_space(TimestampTz exit_at)
{
	TrackedKeys *table = tracked_keys_attach();
	int			first;

	do
	{
		if (!tracked_keys_clear_crowded(table))
		{
			write_due(ALL_PARTITIONS, GetCurrentTimestamp(), exit_at);
			continue;
		}
		/* Another worker goes through them, too, for its database. */
		first = tracked_keys_next_written(table);
		for (int i = 0; i < table->npartitions && succeeded && GetCurrentTimestamp() < exit_at; i++)
			write_due((first + i) % table->npartitions, DT_NOEND, exit_at);
	} while (tracked_keys_is_crowded(table) && succeeded && GetCurrentTimestamp() < exit_at);
}

/* Writes everything that is due, or as much as WORK_TIME_MS allows. */
static void
flush_database(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz exit_at = TimestampTzPlusMilliseconds(now, WORK_TIME_MS);

	Assert(OidIsValid(MyDatabaseId) && !RecoveryInProgress());

	succeeded = true;
	if (!shmem_preloaded())
		(void) repeat(remove_dropped_databases, exit_at);
	make_space(now + (exit_at - now) / 2);

	/* Whatever the flag says: COMMIT PREPARED, for one, does not set it. */
	usage_left = flush_queue_exchange_usage(MyDatabaseId, false);
	rehash_keys(exit_at);
	roll_up(exit_at);
	if (repeat(delete_request_ids, exit_at))
		usage_left = true;
	if (guc_expiry_notices.n == 0)
		flush_queue_set_notice(MyDatabaseId, 0);
	else if (repeat(give_notices, exit_at))
		usage_left = true;
}

/*
 * Sleeps before connecting to a database: one with sessions cannot be
 * dropped.
 */
static void
sleep_unconnected(int64 delay_ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay_ms);
	long		rest;

	Assert(!OidIsValid(MyDatabaseId));
	Assert(delay_ms >= 0);

	while ((rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until)) > 0)
		worker_sleep(rest, "ApikeysFlushWorker");
}

/* Main function of a flush worker. */
void
apikeys_flush_worker_main(Datum database)
{
	int64		delay_ms;

	Assert(MyBackendType == B_BG_WORKER);
	Assert(OidIsValid(DatumGetObjectId(database)));

	before_shmem_exit(flush_worker_exit, database);
	memcpy(&delay_ms, MyBgworkerEntry->bgw_extra, sizeof(delay_ms));

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	sleep_unconnected(delay_ms);
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
	worker_override_settings();

	flush_database();

	if (usage_left)
		flush_queue_exchange_usage(MyDatabaseId, true);
	usage_left = false;

	/* Without a launcher, a flush worker starts its own successor. */
	flush_queue_release(MyDatabaseId, !succeeded, haste);
	released = true;
	if (!shmem_preloaded())
		flush_queue_start_sleeping(haste);
}
