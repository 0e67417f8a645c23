/*-------------------------------------------------------------------------
 *
 * prepared.c
 *	  Counts what prepared transactions have changed when they are committed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * COMMIT PREPARED calls no callback of ours, and another session, or another
 * server before a crash, has prepared the transaction: what it has changed is in
 * the messages that it sends.  So these are accepted and counted here, before the
 * command is acknowledged.  Nothing between the commit and that reacts to
 * an interrupt.  The locks of the transaction are released before, so meanwhile nobody
 * believes a cache: see changes.c.
 *
 * Workers of logical replication commit prepared transactions without a command, and
 * all that is called is what is before the end of any transaction.  Others may be called
 * there first, and accept the messages.  So they count what they receive in each of
 * their transactions that changes nothing itself, whoever accepts it; the first is
 * before they apply anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "nodes/parsenodes.h"
#include "replication/logicalworker.h"
#include "tcop/utility.h"

#include "cache/invalidation.h"
#include "hooks/prepared.h"

static ProcessUtility_hook_type prev_ProcessUtility_hook = NULL;

static bool
is_commit_prepared(const PlannedStmt *pstmt)
{
	return max_prepared_xacts > 0 && IsA(pstmt->utilityStmt, TransactionStmt) &&
		   castNode(TransactionStmt, pstmt->utilityStmt)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/* ProcessUtility_hook */
static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	bool		commits_prepared = is_commit_prepared(pstmt);

	/* An error may come after the commit: invalidation_at_abort() knows. */
	if (commits_prepared)
		invalidation_begin_counting();
	if (prev_ProcessUtility_hook)
		prev_ProcessUtility_hook(pstmt, queryString, readOnlyTree, context,
								 params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context,
								params, queryEnv, dest, qc);
	if (commits_prepared)
		invalidation_count_received();
}

/* Before a transaction commits, or COMMIT PREPARED ends. */
void
prepared_pre_commit(void)
{
	if (max_prepared_xacts > 0 && IsLogicalWorker())
		invalidation_always_count();
}

void
prepared_init(void)
{
	Assert(ProcessUtility_hook != process_utility);
	prev_ProcessUtility_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
