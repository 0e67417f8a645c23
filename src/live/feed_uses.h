/*-------------------------------------------------------------------------
 *
 * feed_uses.h
 *	  What a standby has yet to tell the server that it follows.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_FEED_USES_H
#define APIKEYS_LIVE_FEED_USES_H

#include "model/feed_message.h"

extern int	feed_uses_read_untold(Oid database, int *next, FeedItem *items, TimestampTz now);
extern int	feed_uses_read_whole(Oid database, int *next, FeedItem *items, TimestampTz now);
extern void feed_uses_acknowledge(Oid database, const FeedItem *items, int nitems, TimestampTz read_at);

#endif							/* APIKEYS_LIVE_FEED_USES_H */
