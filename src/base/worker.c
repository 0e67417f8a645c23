/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  What background workers have in common.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A worker that is connected to no database is in the way of no DROP DATABASE.  It
 * can read the shared catalogs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/worker.h"

#define RESTART_S	5			/* after pg_terminate_backend(), or an error */

/* Describes a worker of this library, which is also its type. */
void
worker_fill(BackgroundWorker *worker, const char *name, const char *function)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	strlcpy(worker->bgw_name, name, BGW_MAXLEN);
	strlcpy(worker->bgw_type, name, BGW_MAXLEN);
	strlcpy(worker->bgw_library_name, "apikeys", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
}

/* Registers one that is always there, in a server that is preloading the library. */
void
worker_register(const char *name, const char *function, BgWorkerStartTime start_time)
{
	BackgroundWorker worker;

	Assert(process_shared_preload_libraries_in_progress);
	worker_fill(&worker, name, function);
	worker.bgw_start_time = start_time;
	worker.bgw_restart_time = RESTART_S;
	RegisterBackgroundWorker(&worker);
}

/* To be called first by a worker that connects to no database. */
void
worker_start_unconnected(void)
{
	Assert(MyBackendType == B_BG_WORKER);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
}

/* Sleeps for so long, or until the latch is set if the time is negative. */
void
worker_sleep(long timeout_ms, const char *event)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout_ms >= 0 ? WL_TIMEOUT : 0);

	(void) WaitLatch(MyLatch, events, timeout_ms, wait_event(event));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* ------------------------------------------------------- the databases */

static int
compare_databases(const void *a, const void *b)
{
	Oid			left = ((const WorkerDatabase *) a)->oid;
	Oid			right = ((const WorkerDatabase *) b)->oid;

	return (left > right) - (left < right);
}

static void
add_database(WorkerDatabase **databases, int *n, int *max, const FormData_pg_database *form)
{
	if (*n == *max)
	{
		*max *= 2;
		*databases = repalloc(*databases, *max * sizeof(WorkerDatabase));
	}
	(*databases)[*n].oid = form->oid;
	strlcpy((*databases)[(*n)++].name, NameStr(form->datname), NAMEDATALEN);
}

/*
 * Lists the databases that one can connect to, palloc'd in the caller's memory, the
 * oldest first; returns how many.  Needs no transaction.
 *
 * Without an index: no process has loaded those of the shared catalogs before the
 * first has connected to a database.
 */
int
worker_list_databases(WorkerDatabase **databases)
{
	MemoryContext caller = CurrentMemoryContext;
	int			max = 16;
	int			n = 0;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	Assert(!IsTransactionState());
	*databases = palloc(max * sizeof(WorkerDatabase));
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		/* -2: DROP DATABASE was interrupted */
		if (form->datallowconn && !form->datistemplate && form->datconnlimit != -2)
			add_database(databases, &n, &max, form);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	MemoryContextSwitchTo(caller);
	qsort(*databases, n, sizeof(WorkerDatabase), compare_databases);
	return n;
}
