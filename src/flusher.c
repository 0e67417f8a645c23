/*-------------------------------------------------------------------------
 *
 * flusher.c
 *	  The short-lived worker that persists what is due in one database.
 *
 * It connects, persists in short transactions, and leaves within seconds, so
 * that it never stands in the way of DROP DATABASE and the like.  It waits
 * for no row and hardly for a table; what it does not get to is left for the
 * next one.  An error is logged when it is the first in a row, and costs
 * nothing that was pending.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "activity.h"
#include "compat.h"
#include "counters.h"
#include "flush.h"
#include "flusher.h"
#include "flushqueue.h"
#include "shmem.h"
#include "store.h"

#define WORK_TIME_MS	2000	/* then it leaves */

static bool succeeded = false;	/* has been through without an error */
static bool released = false;	/* a successor may have the database */

/* before_shmem_exit callback of a flusher. */
static void
flusher_leaves(int code, Datum database)
{
	if (!released)
		flushqueue_release(DatumGetObjectId(database), !succeeded);
}

/* Starts a transaction whose triggers, if any, get no further with it. */
static void
begin_work(void)
{
	Oid			userid;
	int			sec_context;

	CHECK_FOR_INTERRUPTS();
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
		{"session_replication_role", "origin"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* Is there something to work on, and nobody else at it? */
static bool
may_flush(void)
{
	if (OidIsValid(get_extension_oid("apikeys", true)))
		return store_lock_flush(false);

	flushqueue_forget(MyDatabaseId);
	return false;
}

/* Persists due uses, a batch a transaction. */
static void
flush_due_uses(TimestampTz leave_at)
{
	KeyUse	   *uses;
	int			nuses;

	nuses = activity_collect(MyDatabaseId, GetCurrentTimestamp(), &uses);
	for (int i = 0; i < nuses && GetCurrentTimestamp() < leave_at; i += FLUSH_BATCH)
	{
		begin_work();
		if (may_flush())
			flush_uses(&uses[i], Min(FLUSH_BATCH, nuses - i));
		end_work();
	}
}

/* Rolls usage entries up, a batch a transaction. */
static void
flush_noted_usage(TimestampTz leave_at)
{
	int64		taken = FLUSH_BATCH;

	while (taken == FLUSH_BATCH && GetCurrentTimestamp() < leave_at)
	{
		begin_work();
		taken = may_flush() ? flush_usage() : 0;
		end_work();
	}
	if (taken == FLUSH_BATCH)
		flushqueue_swap_usage(MyDatabaseId, true);
}

/* Does the work; an error is logged when it is the first in a row. */
static void
flush_database(void)
{
	TimestampTz leave_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), WORK_TIME_MS);
	volatile bool usage = false;

	PG_TRY();
	{
		flush_due_uses(leave_at);
		usage = flushqueue_swap_usage(MyDatabaseId, false);
		if (usage)
			flush_noted_usage(leave_at);
		succeeded = true;
	}
	PG_CATCH();
	{
		if (usage)
			flushqueue_swap_usage(MyDatabaseId, true);
		if (flushqueue_is_first_failure(MyDatabaseId))
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		counters_add(COUNT_FLUSH_ERRORS, 1);
	}
	PG_END_TRY();
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
						 rest, wait_event("ApikeysFlusher"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Main function of a flusher. */
void
apikeys_flusher_main(Datum database)
{
	int64		delay_ms;

	before_shmem_exit(flusher_leaves, database);
	memcpy(&delay_ms, MyBgworkerEntry->bgw_extra, sizeof(delay_ms));

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	sleep_unconnected(delay_ms);
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
	set_own_settings();

	flush_database();

	/* Where there is no launcher, a flusher sees to its own successor. */
	flushqueue_release(MyDatabaseId, !succeeded);
	released = true;
	if (!shmem_preloaded())
		flushqueue_start_sleeping();
}
