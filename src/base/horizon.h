/*-------------------------------------------------------------------------
 *
 * horizon.h
 *	  Which transactions a snapshot has seen, for when it is gone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_HORIZON_H
#define APIKEYS_HORIZON_H

#include "utils/snapshot.h"

typedef struct Horizon
{
	TransactionId xmin;			/* seen, if older */
	TransactionId xmax;			/* not seen, if not older */
	int			nunseen;
	TransactionId *unseen;		/* in between */
} Horizon;

extern void horizon_take(Horizon *horizon, Snapshot snapshot);
extern bool horizon_has_seen(const Horizon *horizon, TransactionId xid);

#endif							/* APIKEYS_HORIZON_H */
