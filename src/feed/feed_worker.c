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

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "base/worker.h"
#include "feed/feed_round.h"
#include "feed/feed_worker.h"
#include "settings/feed_settings.h"

#define LIST_INTERVAL		(10 * USECS_PER_SEC)
#define MAX_SLEEP_MS		1000	/* a promotion is noticed as soon */

/* The databases of this server, as they were listed last, the oldest first. */
static FeedDatabase *databases = NULL;
static int	ndatabases = 0;
static TimestampTz listed_at = 0;

/* How to connect: apikeys.primary_conninfo, or what the WAL receiver uses. */
static const char *
get_conninfo(void)
{
	return guc_primary_conninfo[0] != '\0' ? guc_primary_conninfo : PrimaryConnInfo;
}

/* --------------------------------------------------------------- databases */

static void
disconnect_all(void)
{
	for (int i = 0; i < ndatabases; i++)
	{
		feed_round_disconnect(&databases[i]);
		databases[i].next_try = 0;
	}
}

/* Sets the databases of a list, each as it was before if it was; both are sorted. */
static void
fill_list(FeedDatabase *list, const WorkerDatabase *listed, int n)
{
	int			old = 0;

	for (int i = 0; i < n; i++)
	{
		while (old < ndatabases && databases[old].oid < listed[i].oid)
			old++;
		if (old < ndatabases && databases[old].oid == listed[i].oid &&
			strcmp(databases[old].name, listed[i].name) == 0)
		{
			list[i] = databases[old];
			databases[old].connection = NULL;
			continue;
		}
		list[i].oid = listed[i].oid;
		strlcpy(list[i].name, listed[i].name, NAMEDATALEN);
	}
}

/* Lists the databases anew.  Connections to those that are gone are closed. */
static void
list_databases(TimestampTz now)
{
	WorkerDatabase *listed;
	int			n = worker_list_databases(&listed);
	FeedDatabase *list = MemoryContextAllocZero(TopMemoryContext, (n + 1) * sizeof(FeedDatabase));
	Oid		   *oids = palloc((n + 1) * sizeof(Oid));

	fill_list(list, listed, n);
	disconnect_all();
	if (databases != NULL)
		pfree(databases);
	databases = list;
	ndatabases = n;
	listed_at = now;
	for (int i = 0; i < n; i++)
		oids[i] = list[i].oid;
	feed_links_keep(oids, n);
	pfree(oids);
	pfree(listed);
}

/* -------------------------------------------------------------- the worker */

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

	if (guc_feed_interval == 0 || conninfo[0] == '\0')
	{
		disconnect_all();
		return;
	}
	if (now - listed_at >= LIST_INTERVAL || now < listed_at)
		list_databases(now);
	for (int i = 0; i < ndatabases && !ShutdownRequestPending && RecoveryInProgress(); i++)
		feed_round_run(&databases[i], conninfo, Max(1, ndatabases / FEED_MAX_LINKS));
}

/* Main function of the feed worker. */
void
apikeys_feed_worker_main(Datum arg)
{
	TimestampTz next = 0;		/* when the next round begins */

	worker_start_unconnected();
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
		worker_sleep(Min(MAX_SLEEP_MS, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next)), "ApikeysFeed");
	}
	disconnect_all();

	/* 1: if terminated by hand, the postmaster is to restart us. */
	proc_exit(RecoveryInProgress() ? 1 : 0);
}

/* Registers the worker, in a server that preloads the library and starts as a standby. */
void
feed_worker_init(void)
{
	struct stat st;

	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade && stat(STANDBY_SIGNAL_FILE, &st) == 0)
		worker_register("apikeys feed worker", "apikeys_feed_worker_main", BgWorkerStart_ConsistentState);
}
