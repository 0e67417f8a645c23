/*-------------------------------------------------------------------------
 *
 * feed_worker.c
 *	  The background worker by which a standby tells of its use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A standby that has preloaded the library runs one.  It is connected to no
 * database here, so that the startup process never has to wait for it, and to each
 * database with apikeys on the server that this one follows.  It needs no
 * transaction but to see which databases there are.
 *
 * When the standby is promoted, it ends for good.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "feed/feed_round.h"
#include "feed/feed_worker.h"
#include "settings/feed_settings.h"

#define RESTART_S			5		/* after pg_terminate_backend(), or an error */
#define LIST_INTERVAL		(10 * USECS_PER_SEC)
#define MAX_SLEEP_MS		1000	/* a promotion is noticed as soon */

/* The databases of this server, as they were listed last. */
static FeedDatabase databases[FEED_MAX_LINKS];
static int	ndatabases = 0;
static TimestampTz listed_at = 0;

/* How to connect: apikeys.primary_conninfo, or what the WAL receiver uses. */
static const char *
get_conninfo(void)
{
	return guc_primary_conninfo[0] != '\0' ? guc_primary_conninfo : PrimaryConnInfo;
}

/* --------------------------------------------------------------- databases */

static bool
is_listed(const Form_pg_database form)
{
	return form->datallowconn && !form->datistemplate;
}

/* Adds a database to a list of at most FEED_MAX_LINKS, as it was before if it was. */
static void
add_database(FeedDatabase *list, int *n, const Form_pg_database form)
{
	FeedDatabase *added = &list[*n];

	if (*n == FEED_MAX_LINKS)
		return;
	memset(added, 0, sizeof(FeedDatabase));
	for (int i = 0; i < ndatabases; i++)
	{
		if (databases[i].oid != form->oid || strcmp(databases[i].name, NameStr(form->datname)) != 0)
			continue;
		*added = databases[i];
		databases[i].connection = NULL;
	}
	added->oid = form->oid;
	strlcpy(added->name, NameStr(form->datname), NAMEDATALEN);
	(*n)++;
}

/*
 * Reads which databases there are: without an index, since no process has loaded
 * those of the shared catalogs before the first has connected to a database.
 */
static int
read_databases(FeedDatabase *list)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	int			n = 0;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		if (is_listed((Form_pg_database) GETSTRUCT(tuple)))
			add_database(list, &n, (Form_pg_database) GETSTRUCT(tuple));
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	return n;
}

static void
disconnect_all(void)
{
	for (int i = 0; i < ndatabases; i++)
	{
		feed_round_disconnect(&databases[i]);
		databases[i].next_try = 0;
	}
}

/* Lists the databases anew.  Connections to those that are gone are closed. */
static void
list_databases(TimestampTz now)
{
	FeedDatabase list[FEED_MAX_LINKS];
	Oid			oids[FEED_MAX_LINKS];
	int			n = read_databases(list);

	disconnect_all();
	memcpy(databases, list, sizeof(list));
	ndatabases = n;
	listed_at = now;
	for (int i = 0; i < n; i++)
		oids[i] = list[i].oid;
	feed_links_keep(oids, n);
}

/* -------------------------------------------------------------- the worker */

static void
set_up(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
}

/* Rereads the settings; how to connect may have changed. */
static void
reload(void)
{
	char	   *conninfo = pstrdup(get_conninfo());

	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (strcmp(conninfo, get_conninfo()) != 0)
		disconnect_all();
	pfree(conninfo);
}

/* Tells of the use of all databases. */
static void
tell_all(TimestampTz now)
{
	const char *conninfo = get_conninfo();

	if (guc_feed_interval == 0 || conninfo == NULL || conninfo[0] == '\0')
	{
		disconnect_all();
		return;
	}
	if (now - listed_at >= LIST_INTERVAL || now < listed_at)
		list_databases(now);
	for (int i = 0; i < ndatabases && !ShutdownRequestPending && RecoveryInProgress(); i++)
		feed_round_run(&databases[i], conninfo);
}

/* Sleeps until a time or until the latch is set, at most MAX_SLEEP_MS. */
static void
sleep_until(TimestampTz until)
{
	long		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(timeout, MAX_SLEEP_MS), wait_event("ApikeysFeed"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Main function of the feed worker. */
void
apikeys_feed_worker_main(Datum arg)
{
	TimestampTz next = 0;		/* when the next round begins */

	Assert(MyBackendType == B_BG_WORKER);
	set_up();
	while (!ShutdownRequestPending && RecoveryInProgress())
	{
		TimestampTz now = GetCurrentTimestamp();

		if (ConfigReloadPending)
		{
			reload();
			next = 0;			/* the interval may have changed */
		}
		if (now >= next || next - now > guc_feed_interval * INT64CONST(1000))
		{
			next = now + (guc_feed_interval > 0 ? guc_feed_interval : MAX_SLEEP_MS) * INT64CONST(1000);
			tell_all(now);
		}
		sleep_until(next);
	}
	disconnect_all();

	/* 1: if terminated by hand, the postmaster is to restart us. */
	proc_exit(RecoveryInProgress() ? 1 : 0);
}

/* Registers the worker, in a server that preloads the library and starts as a standby. */
void
feed_worker_init(void)
{
	BackgroundWorker worker = {0};
	struct stat st;

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade ||
		stat(STANDBY_SIGNAL_FILE, &st) != 0)
		return;

	strlcpy(worker.bgw_name, "apikeys feed worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "apikeys feed worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "apikeys", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "apikeys_feed_worker_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = RESTART_S;
	RegisterBackgroundWorker(&worker);
}
