/*-------------------------------------------------------------------------
 *
 * feed_changes.h
 *	  What has changed of last uses and windows, for servers that follow this one.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_FEED_CHANGES_H
#define APIKEYS_LIVE_FEED_CHANGES_H

#include "model/feed_message.h"

extern int	feed_changes_read(Oid database, FeedCursor *cursor, FeedItem *items, int max);

#endif							/* APIKEYS_LIVE_FEED_CHANGES_H */
