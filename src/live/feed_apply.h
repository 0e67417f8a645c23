/*-------------------------------------------------------------------------
 *
 * feed_apply.h
 *	  What another server tells of last uses and windows goes into the shared table.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_FEED_APPLY_H
#define APIKEYS_LIVE_FEED_APPLY_H

#include "model/feed_message.h"

/* Who tells, and what its items are. */
typedef enum FeedSource
{
	FEED_FROM_FOLLOWER_DELTAS,	/* what a server that follows this one has added */
	FEED_FROM_FOLLOWER_WHOLE,	/* all that it knows, so that nothing is forgotten */
	FEED_FROM_LEADER			/* what the server that this one follows knows */
} FeedSource;

extern void feed_apply_prepare(const FeedItem *items, int nitems);
extern bool feed_apply(Oid database, FeedSource source, const FeedItem *items, int nitems,
					   TimestampTz collected_at);

#endif							/* APIKEYS_LIVE_FEED_APPLY_H */
