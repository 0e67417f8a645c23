/*-------------------------------------------------------------------------
 *
 * pending_usage.c
 *	  Reports usage entries to the flush queue when their transaction commits.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"

#include "base/shmem.h"
#include "flush/flush_queue.h"
#include "flush/pending_usage.h"
#include "live/flush_problems.h"
#include "settings/guc.h"

/* Has the running transaction inserted usage entries? */
static bool report_at_commit = false;

/* Reports usage entries of this transaction to the queue when it commits. */
void
pending_usage_record(void)
{
	Assert(IsTransactionState());
	if (!flush_queue_attach())
		return;
	report_at_commit = true;
	flush_problems_check_launcher();
}

/*
 * Without a launcher: starts a flush worker for the usage entries of this
 * transaction.  That may fail, so it comes before the commit.
 */
void
pending_usage_pre_commit(void)
{
	if (report_at_commit && !shmem_preloaded() && !RecoveryInProgress())
		flush_queue_start(MyDatabaseId, guc_flush_interval);
}

/* Reports the usage entries of a transaction that has committed. */
void
pending_usage_at_eoxact(bool is_commit)
{
	if (!report_at_commit)
		return;

	report_at_commit = false;
	if (is_commit && !flush_queue_exchange_usage(MyDatabaseId, true) && shmem_preloaded())
		flush_queue_wake();
}
