/*-------------------------------------------------------------------------
 *
 * horizon.c
 *	  Which transactions a snapshot has seen, for when it is gone.
 *
 * Only for transactions that have committed, by their topmost id, and not
 * for snapshots of a standby.  A horizon must not be kept for long: ids wrap
 * around.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"

#include "base/horizon.h"

/*
 * Takes over what a snapshot knows, in the current memory context.  Our own
 * transaction counts as not seen: it is not in the snapshot, and it may yet
 * write.
 */
void
horizon_take(Horizon *horizon, Snapshot snapshot)
{
	TransactionId own = GetTopTransactionIdIfAny();

	horizon->xmin = snapshot->xmin;
	horizon->xmax = snapshot->xmax;
	horizon->nunseen = snapshot->xcnt;
	horizon->unseen = palloc((snapshot->xcnt + 1) * sizeof(TransactionId));
	memcpy(horizon->unseen, snapshot->xip, snapshot->xcnt * sizeof(TransactionId));

	if (TransactionIdIsValid(own))
	{
		horizon->unseen[horizon->nunseen++] = own;
		if (TransactionIdPrecedes(own, horizon->xmin))
			horizon->xmin = own;
	}
}

/* Had a transaction that has committed done so when the snapshot was taken? */
bool
horizon_has_seen(const Horizon *horizon, TransactionId xid)
{
	if (TransactionIdPrecedes(xid, horizon->xmin))
		return true;
	if (!TransactionIdPrecedes(xid, horizon->xmax))
		return false;

	for (int i = 0; i < horizon->nunseen; i++)
	{
		if (TransactionIdEquals(horizon->unseen[i], xid))
			return false;
	}

	return true;
}
