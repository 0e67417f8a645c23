/*-------------------------------------------------------------------------
 *
 * pause.c
 *	  Stops a commit where others see it and nobody has been told, or fails there,
 *	  for the tests alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Callbacks are called in the reverse order of their registration, so that of a
 * module that is loaded later comes before those of apikeys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/resowner.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(test_pause);

void		_PG_init(void);

static char stopped[MAXPGPATH];
static char go_on[MAXPGPATH];

/* Where it stops. */
static enum
{
	AT_COMMIT,
	AT_MESSAGES,
	AT_LOCKS
} place;

/* Makes a file when it stops, and waits for the other one. */
static void
pause_once(void)
{
	struct stat st;

	fclose(fopen(stopped, "w"));
	while (stat(go_on, &st) != 0)
	{
		CHECK_FOR_INTERRUPTS(); /* which a commit holds off */
		pg_usleep(10000);
	}
	stopped[0] = '\0';
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && stopped[0] != '\0' && place == AT_COMMIT)
		pause_once();
}

static void
release_callback(ResourceReleasePhase phase, bool isCommit, bool isTopLevel, void *arg)
{
	if (!isTopLevel || stopped[0] == '\0')
		return;
	if ((phase == RESOURCE_RELEASE_LOCKS && place == AT_LOCKS) ||
		(phase == RESOURCE_RELEASE_BEFORE_LOCKS && place == AT_MESSAGES))
		pause_once();
}

/*
 * test_pause(stopped text, go_on text, at_locks boolean): void.  This transaction
 * stops as soon as it is visible, or where modules hear that locks are released;
 * NULL: between them, where no message about what it has changed was sent.
 */
Datum
test_pause(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(xact_callback, NULL);
		RegisterResourceReleaseCallback(release_callback, NULL);
	}
	registered = true;
	text_to_cstring_buffer(PG_GETARG_TEXT_PP(0), stopped, sizeof(stopped));
	text_to_cstring_buffer(PG_GETARG_TEXT_PP(1), go_on, sizeof(go_on));
	place = PG_ARGISNULL(2) ? AT_MESSAGES : PG_GETARG_BOOL(2) ? AT_LOCKS
															  : AT_COMMIT;

	PG_RETURN_VOID();
}

/*
 * Raises an error when a transaction that was prepared as 'fails' has committed, and
 * stops when one has that was prepared as 'stops', with files in the data directory.
 */
static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	TransactionStmt *stmt = (TransactionStmt *) pstmt->utilityStmt;

	standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	if (!IsA(stmt, TransactionStmt) || stmt->kind != TRANS_STMT_COMMIT_PREPARED)
		return;
	if (strcmp(stmt->gid, "fails") == 0)
		elog(ERROR, "test_pause: committed");
	if (strcmp(stmt->gid, "stops") == 0)
	{
		strcpy(stopped, "stopped");
		strcpy(go_on, "go_on");
		pause_once();
	}
}

/*
 * Takes the messages that a worker of logical replication has sent, and fails if
 * there is a file for that in the data directory.
 */
static void
worker_callback(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT || !IsLogicalWorker())
		return;
	AcceptInvalidationMessages();
	if (unlink("fail") == 0)
		elog(ERROR, "test_pause: applied");
}

/*
 * Preloaded before apikeys, the hook is within that of apikeys; preloaded after it,
 * the callback comes before that of apikeys.
 */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(worker_callback, NULL);
}
