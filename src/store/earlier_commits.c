/*-------------------------------------------------------------------------
 *
 * earlier_commits.c
 *	  Has a commit wait for those that came before it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Whoever is told that what he asks for is done already takes it as acknowledged.
 * But what others have committed and we see may be lost yet: after a crash all that
 * is in the WAL of this server is visible, also what a synchronous standby has not
 * got, whose clients have not been told and ask again; and what was committed with
 * synchronous_commit = off may not be on the disk.  A transaction that has written
 * nothing waits for neither.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/pg_control.h"

#include "store/earlier_commits.h"

/*
 * Has this transaction write something, so that its commit waits as that of a
 * change.  What was seen before is earlier in the WAL, and so is where it has to be,
 * too.  The server skips such a record wherever it reads it.  A transaction that is
 * read only, as on a standby, stays so.
 */
void
store_wait_for_earlier_commits(void)
{
	if (XactReadOnly)
		return;

	(void) GetTopTransactionId();
	XLogBeginInsert();
	(void) XLogInsert(RM_XLOG_ID, XLOG_NOOP);
	ForceSyncCommit();
}
