/*-------------------------------------------------------------------------
 *
 * saved_snapshot.h
 *	  Which transactions a snapshot sees, for use after its release.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_SAVED_SNAPSHOT_H
#define APIKEYS_BASE_SAVED_SNAPSHOT_H

#include "utils/snapshot.h"

typedef struct SavedSnapshot
{
	TransactionId xmin;			/* seen, if older */
	TransactionId xmax;			/* not seen, if not older */
	int			nunseen;
	TransactionId *unseen;		/* in between */
} SavedSnapshot;

extern void saved_snapshot_take(SavedSnapshot *saved, Snapshot snapshot);
extern bool saved_snapshot_has_seen(const SavedSnapshot *saved, TransactionId xid);

#endif							/* APIKEYS_BASE_SAVED_SNAPSHOT_H */
