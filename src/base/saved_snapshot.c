/*-------------------------------------------------------------------------
 *
 * saved_snapshot.c
 *	  Which transactions a snapshot has seen, for when it is gone.
 *
 * Only for transactions that have committed, by their topmost id, and not
 * for snapshots of a standby.  A saved must not be kept for long: ids wrap
 * around.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"

#include "base/saved_snapshot.h"

/*
 * Takes over what a snapshot knows, in the current memory context.  Our own
 * transaction counts as not seen: it is not in the snapshot, and it may yet
 * write.
 */
void
saved_snapshot_take(SavedSnapshot *saved, Snapshot snapshot)
{
	TransactionId own = GetTopTransactionIdIfAny();

	saved->xmin = snapshot->xmin;
	saved->xmax = snapshot->xmax;
	saved->nunseen = snapshot->xcnt;
	saved->unseen = palloc((snapshot->xcnt + 1) * sizeof(TransactionId));
	memcpy(saved->unseen, snapshot->xip, snapshot->xcnt * sizeof(TransactionId));

	if (TransactionIdIsValid(own))
	{
		saved->unseen[saved->nunseen++] = own;
		if (TransactionIdPrecedes(own, saved->xmin))
			saved->xmin = own;
	}
}

/* Had a transaction that has committed done so when the snapshot was taken? */
bool
saved_snapshot_has_seen(const SavedSnapshot *saved, TransactionId xid)
{
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
