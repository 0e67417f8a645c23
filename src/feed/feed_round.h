/*-------------------------------------------------------------------------
 *
 * feed_round.h
 *	  One round of telling another server of a database's use, and of asking it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FEED_FEED_ROUND_H
#define APIKEYS_FEED_FEED_ROUND_H

#include "feed/feed_connection.h"
#include "live/feed_links.h"

/* A database whose use is told. */
typedef struct FeedDatabase
{
	Oid			oid;
	char		name[NAMEDATALEN];
	FeedConnection *connection; /* NULL: none */
	TimestampTz next_try;		/* not before; 0: now */
	TimestampTz logged_at;		/* when a failure was logged; 0: never */
} FeedDatabase;

extern void feed_round_run(FeedDatabase *database, const char *conninfo, int share);
extern void feed_round_disconnect(FeedDatabase *database);

#endif							/* APIKEYS_FEED_FEED_ROUND_H */
