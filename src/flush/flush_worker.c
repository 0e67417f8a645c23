/*-------------------------------------------------------------------------
 *
 * flush_worker.c
 *	  The short-lived worker that persists what is due in one database.
 *
 * It connects, persists in short transactions, and leaves within seconds, so
 * that it never stands in the way of DROP DATABASE and the like.  It leaves
 * rows that are locked alone and waits a second at most for anything else;
 * what it does not get to is left for the next one.  An error is logged when
 * it is the first in a row, and costs nothing that was pending.
 *
 * It follows a reload: a key must not be signed anew with a secret that was
 * the first when it started, and that may be gone from the file by now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
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

#include "base/compat.h"
#include "base/shmem.h"
#include "flush/flush.h"
#include "flush/flush_queue.h"
#include "flush/flush_worker.h"
#include "live/counters.h"
#include "live/last_used.h"
#include "live/rehash_queue.h"
#include "store/advisory_locks.h"
#include "store/catalog.h"

#define WORK_TIME_MS	2000	/* then it leaves */

static bool succeeded = false;	/* has been through without an error */
static bool usage_left = false; /* the note that there are entries is ours */
static bool released = false;	/* a successor may have the database */
static bool connecting = false;

/* before_shmem_exit callback of a flush worker. */
static void
flush_worker_exit(int code, Datum database)
{
	/* The launcher sees to databases that are gone; where there is none: */
	if (connecting && !shmem_preloaded())
		flush_queue_remove_database(DatumGetObjectId(database));
	if (usage_left)
		flush_queue_exchange_usage(DatumGetObjectId(database), true);
	if (!released)
		flush_queue_release(DatumGetObjectId(database), !succeeded);
}

/* Starts a transaction whose triggers, if any, get no further with it. */
static void
begin_work(void)
{
	Oid			userid;
	int			sec_context;

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(userid, sec_context | SECURITY_RESTRICTED_OPERATION);
	pgstat_report_activity(STATE_RUNNING, "persisting activity");
}

static void
end_work(void)
{
	Oid			userid;
	int			sec_context;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(userid, sec_context & ~SECURITY_RESTRICTED_OPERATION);
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Sets what a database or a role could have set to hinder us. */
static void
set_own_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"lock_timeout", "1s"},
		{"transaction_timeout", "0"}, /* 17 on */
		{"exit_on_error", "off"},
		/* A batch that a crash undoes is pending again; we wait for nobody. */
		{"synchronous_commit", "off"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		if (GetConfigOption(settings[i][0], true, false) == NULL)
			continue;			/* this server has no such thing */
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	}
}

/*
 * Ends the transaction after an error, which is logged when it is the first
 * of this flush worker and the flush worker before had none.
 */
static void
report_error(void)
{
	if (succeeded && flush_queue_is_first_failure(MyDatabaseId))
		EmitErrorReport();
	FlushErrorState();
	AbortCurrentTransaction();
	pgstat_report_activity(STATE_IDLE, NULL);

	if (succeeded)
		counters_add(COUNT_FLUSH_ERRORS, 1);
	succeeded = false;
}

/*
 * Is there something to work on, and nobody else at it?  An extension that
 * somebody is dropping is left alone: we would run into tables that are half
 * gone, or into a deadlock.
 */
static bool
may_flush(void)
{
	Oid			extension = get_extension_oid("apikeys", true);

	if (OidIsValid(extension))
		return store_lock_extension(extension, AccessShareLock, false) &&
			   store_lock_flush(false);

	flush_queue_remove_database(MyDatabaseId);
	usage_left = false;
	return false;
}

/* Persists due uses, a batch a transaction. */
static void
flush_due_uses(TimestampTz leave_at)
{
	KeyUse	   *uses;
	int			nuses;

	nuses = last_used_collect(MyDatabaseId, GetCurrentTimestamp(), &uses);
	for (int i = 0; i < nuses && GetCurrentTimestamp() < leave_at; i += FLUSH_BATCH)
	{
		begin_work();
		if (may_flush())
			flush_uses(&uses[i], Min(FLUSH_BATCH, nuses - i));
		end_work();
	}
}

/* Rolls a batch of usage entries up in a transaction of its own. */
static bool
try_roll_up(RollUp *batch)
{
	bool		done = false;

	begin_work();
	if (may_flush())
	{
		flush_usage(batch);
		done = true;
	}
	end_work();

	return done;
}

/*
 * Rolls usage entries up.  A batch that fails is halved until the entry that
 * is to blame stands alone; it is passed over, so that it stops no other.
 */
static void
roll_up_usage(TimestampTz leave_at)
{
	volatile RollUp batch = {.limit = FLUSH_BATCH};
	volatile bool more = true;
	volatile bool finished = false;
	MemoryContext context = CurrentMemoryContext;

	while (more && GetCurrentTimestamp() < leave_at)
	{
		PG_TRY();
		{
			more = try_roll_up((RollUp *) &batch);
			if (more && batch.seen < batch.limit)
			{
				more = false;
				finished = (batch.skip == 0 && batch.taken == batch.seen);
			}
			batch.skip += batch.seen - batch.taken;
			batch.limit = Min(FLUSH_BATCH, batch.limit * 2);
		}
		PG_CATCH();
		{
			report_error();
			MemoryContextSwitchTo(context);
			if (batch.limit == 1)
				batch.skip++;
			batch.limit = Max(1, batch.limit / 2);
		}
		PG_END_TRY();
	}

	if (finished)
		usage_left = false;
}

/* Signs keys anew in a transaction of its own; false when that fails. */
static bool
try_rehash(const RehashRequest *requests, int n)
{
	volatile bool done = false;
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		begin_work();
		if (may_flush())
			flush_rehash(requests, n);
		end_work();
		done = true;
	}
	PG_CATCH();
	{
		report_error();
		MemoryContextSwitchTo(context);
	}
	PG_END_TRY();

	return done;
}

/*
 * Signs keys anew, a batch a transaction.  The keys of a batch that fails are
 * taken one by one, so that one stops no other.
 */
static void
rehash_keys(TimestampTz leave_at)
{
	RehashRequest *requests = palloc(FLUSH_BATCH * sizeof(RehashRequest));
	int			n;

	while (GetCurrentTimestamp() < leave_at &&
		   (n = rehash_dequeue(MyDatabaseId, requests, FLUSH_BATCH)) > 0)
	{
		if (!try_rehash(requests, n) && n > 1)
		{
			for (int i = 0; i < n && GetCurrentTimestamp() < leave_at; i++)
				try_rehash(&requests[i], 1);
		}
	}
	pfree(requests);

	if (rehash_is_pending(MyDatabaseId))
		flush_queue_exchange_usage(MyDatabaseId, true);
}

/* Does the work. */
static void
flush_database(void)
{
	TimestampTz leave_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), WORK_TIME_MS);

	succeeded = true;
	PG_TRY();
	{
		flush_due_uses(leave_at);
	}
	PG_CATCH();
	{
		report_error();
	}
	PG_END_TRY();

	/* With or without a note: COMMIT PREPARED, for one, leaves none. */
	usage_left = flush_queue_exchange_usage(MyDatabaseId, false);
	rehash_keys(leave_at);
	roll_up_usage(leave_at);
}

/* Sleeps without a database, so that nobody has to wait for us. */
static void
sleep_unconnected(int64 delay_ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay_ms);
	long		rest;

	while ((rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until)) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 rest, wait_event("ApikeysFlushWorker"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Main function of a flush worker. */
void
apikeys_flush_worker_main(Datum database)
{
	int64		delay_ms;

	before_shmem_exit(flush_worker_exit, database);
	memcpy(&delay_ms, MyBgworkerEntry->bgw_extra, sizeof(delay_ms));

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	sleep_unconnected(delay_ms);
	connecting = true;
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	connecting = false;
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
	set_own_settings();

	flush_database();

	if (usage_left)
		flush_queue_exchange_usage(MyDatabaseId, true);
	usage_left = false;

	/* Where there is no launcher, a flush worker sees to its own successor. */
	flush_queue_release(MyDatabaseId, !succeeded);
	released = true;
	if (!shmem_preloaded())
		flush_queue_start_sleeping();
}
