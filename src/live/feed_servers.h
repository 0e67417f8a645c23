/*-------------------------------------------------------------------------
 *
 * feed_servers.h
 *	  The servers that tell this one of their use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_FEED_SERVERS_H
#define APIKEYS_LIVE_FEED_SERVERS_H

#include "live/feed_state.h"

/* What a request of a server is. */
typedef enum FeedRecognition
{
	FEED_UNKNOWN_SERVER,		/* from now on it is known */
	FEED_REPEATED,				/* its deltas have been taken already */
	FEED_NEW,
	FEED_NO_SPACE,				/* for one more server */
	FEED_EXCLUDED				/* somebody needs the database for himself */
} FeedRecognition;

extern bool feed_servers_name_this(const FeedRequest *request);
extern FeedRecognition feed_servers_recognize(Oid database, const FeedRequest *request, TimestampTz now);
extern void feed_servers_record(Oid database, const FeedRequest *request, TimestampTz now);
extern void feed_servers_forget(Oid database, uint64 node);
extern int	feed_servers_collect(Oid database, FeedServerState *states, TimestampTz now);
extern int	feed_servers_read(Oid database, FeedServer *servers);
extern void feed_servers_remove_database(Oid database);

#endif							/* APIKEYS_LIVE_FEED_SERVERS_H */
