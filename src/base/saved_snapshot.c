/*-------------------------------------------------------------------------
 *
 * saved_snapshot.c
 *	  Which transactions a snapshot sees, for use after its release.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It holds for committed transactions, by their top-level id, and not for
 * snapshots taken during recovery.  A saved snapshot must be short-lived, since
 * transaction ids wrap around.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "utils/snapmgr.h"

#include "base/saved_snapshot.h"

/*
 * Saves a snapshot, in the current memory context.  Our own transaction counts
 * as unseen: a snapshot does not list it, and it may still write.
 */
void
saved_snapshot_take(SavedSnapshot *saved, Snapshot snapshot)
{
	TransactionId own = GetTopTransactionIdIfAny();

	Assert(IsMVCCSnapshot(snapshot));

	saved->xmin = snapshot->xmin;
	saved->xmax = snapshot->xmax;
	saved->nunseen = snapshot->xcnt;
	saved->unseen = palloc((snapshot->xcnt + 1) * sizeof(TransactionId));
	memcpy(saved->unseen, snapshot->xip, snapshot->xcnt * sizeof(TransactionId));

	/* xmin is not later than it: see GetSnapshotData(). */
	Assert(!TransactionIdIsValid(own) || !TransactionIdPrecedes(own, saved->xmin));
	if (TransactionIdIsValid(own))
		saved->unseen[saved->nunseen++] = own;
}

/* Had a committed transaction committed already when the snapshot was taken? */
bool
saved_snapshot_has_seen(const SavedSnapshot *saved, TransactionId xid)
{
	Assert(TransactionIdIsNormal(xid));

	if (TransactionIdPrecedes(xid, saved->xmin))
		return true;
	if (!TransactionIdPrecedes(xid, saved->xmax))
		return false;

	for (int i = 0; i < saved->nunseen; i++)
	{
		if (TransactionIdEquals(saved->unseen[i], xid))
			return false;
	}

	return true;
}
