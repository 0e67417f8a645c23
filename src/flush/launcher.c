/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The background worker that starts flush workers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A preloaded server runs one.  It connects to no database, so it is in the
 * way of no DROP DATABASE; it reads shared catalogs only, to check that a
 * database still exists.  It sleeps until something is due or a backend
 * reports pending data, and checks at most once per apikeys.flush_interval.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "base/worker.h"
#include "flush/flush_queue.h"
#include "flush/launcher.h"
#include "flush/wake_up.h"
#include "live/flush_problems.h"
#include "live/state_file.h"
#include "settings/guc.h"

#define MAX_SLEEP_MS	300000
#define FIRST_DATABASE	((Oid) 1)

static emit_log_hook_type prev_emit_log_hook = NULL;

/* Are all databases to be marked once more, see record_more_databases()? */
static bool again = false;

/*
 * Can a flush worker connect to a database?  If it no longer exists, its
 * pending data is discarded.
 */
static bool
is_connectable(Oid database)
{
	HeapTuple	tuple;
	bool		allowed = false;

	Assert(OidIsValid(database));
	Assert(!IsTransactionState());

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		/* -2: DROP DATABASE was interrupted */
		allowed = form->datallowconn && form->datconnlimit != -2;
		ReleaseSysCache(tuple);
	}
	else
		flush_queue_remove_database(database);
	CommitTransactionCommand();

	return allowed;
}

/* Starts the flush workers that are due; returns when to check again. */
static TimestampTz
start_due_workers(TimestampTz now)
{
	DueDatabase databases[FLUSH_QUEUE_MAX_DATABASES];
	int			ndatabases = flush_queue_list(databases);
	TimestampTz interval_end = TimestampTzPlusMilliseconds(now, guc_flush_interval);
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < ndatabases; i++)
	{
		if (databases[i].due_at <= now && is_connectable(databases[i].database))
			flush_queue_start(databases[i].database, 0);
		next = Min(next, Max(databases[i].due_at, interval_end));
	}

	return next;
}

/*
 * Marks databases as having usage entries, those with an oid from first on:
 * some may be left from before the server started.  Returns the lowest for
 * which the queue has no slot, where to go on once it has, or InvalidOid.
 */
static Oid
record_databases(Oid first)
{
	WorkerDatabase *databases;
	int			n = worker_list_databases(&databases);
	Oid			next = InvalidOid;
	bool		was_set;

	Assert(OidIsValid(first));
	for (int i = 0; i < n; i++)
	{
		if (databases[i].oid >= first && !flush_queue_set_usage(databases[i].oid, true, &was_set) &&
			!OidIsValid(next))
			next = databases[i].oid;
	}
	pfree(databases);

	return next;
}

/*
 * Continues to mark databases where the queue had no slot.  If it had none for
 * a report of a backend, another round follows.
 */
static void
record_more_databases(void)
{
	static Oid	next = FIRST_DATABASE;

	if (flush_queue_clear_overflow())
		again = true;
	if (!OidIsValid(next) && again)
	{
		next = FIRST_DATABASE;
		again = false;
	}
	if (OidIsValid(next))
		next = record_databases(next);
}

static void
launcher_exit(int code, Datum arg)
{
	wake_up_set_latch(NULL);
}

static void
set_up(void)
{
	worker_start_unconnected();
	before_shmem_exit(launcher_exit, (Datum) 0);
	wake_up_set_latch(MyLatch);
}

/* Rereads the settings.  Other notices have to be planned anew, everywhere. */
static void
reload(void)
{
	char	   *notices = pstrdup(guc_expiry_notice);

	ProcessConfigFile(PGC_SIGHUP);
	if (strcmp(notices, guc_expiry_notice) != 0)
		again = true;
	pfree(notices);
}

/* Sleeps until a time (DT_NOEND: forever) or until the latch is set. */
static void
sleep_until(TimestampTz until)
{
	long		timeout = -1;

	if (until != DT_NOEND)
		timeout = Min(MAX_SLEEP_MS, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until));
	worker_sleep(timeout, "ApikeysLauncher");
}

/* Main function of the launcher. */
void
apikeys_launcher_main(Datum arg)
{
	TimestampTz checked_at = 0;
	TimestampTz next = 0;		/* when to check again */

	Assert(shmem_preloaded() && !IsBinaryUpgrade);
	set_up();
	Assert(!OidIsValid(MyDatabaseId) && !RecoveryInProgress());
	state_file_discard();

	while (!ShutdownRequestPending)
	{
		TimestampTz now = GetCurrentTimestamp();

		Assert(!IsTransactionState());
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			reload();
			next = 0;			/* the interval may have changed */
		}

		if (wake_up_read() != WAKE_UP_NONE)
			next = Min(next, TimestampTzPlusMilliseconds(checked_at, wake_up_interval(wake_up_read())));
		if (now >= next || now < checked_at) /* or the clock was set back */
		{
			wake_up_clear();
			record_more_databases();
			next = start_due_workers(now);
			checked_at = now;
		}

		sleep_until(next);
	}

	/* Not 0: if terminated by hand, the postmaster is to restart us. */
	proc_exit(1);
}

/* emit_log_hook while the launcher is registered: is there no slot for it? */
static void
note_refusal(ErrorData *edata)
{
	if (edata->sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED)
		flush_problems_set_no_launcher();
	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

/* Registers the launcher, in a server that is preloading the library. */
void
launcher_init(void)
{
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	/* The server logs that there is no slot, and returns nothing. */
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = note_refusal;
	worker_register("apikeys launcher", "apikeys_launcher_main", BgWorkerStart_RecoveryFinished);
	emit_log_hook = prev_emit_log_hook;
}
