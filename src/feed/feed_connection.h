/*-------------------------------------------------------------------------
 *
 * feed_connection.h
 *	  A connection to another server, on which no call waits for long.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FEED_FEED_CONNECTION_H
#define APIKEYS_FEED_FEED_CONNECTION_H

#include "lib/stringinfo.h"

typedef struct pg_conn FeedConnection;

/* How a call has ended. */
typedef enum FeedOutcome
{
	FEED_OK,
	FEED_FAILED,
	FEED_WAITING,				/* until somebody else is done with the database */
	FEED_NOT_INSTALLED,			/* the database has no apikeys, or not this version */
	FEED_INTERRUPTED			/* the process is to end, or the settings have changed */
} FeedOutcome;

extern FeedOutcome feed_connection_open(const char *conninfo, const char *dbname,
										FeedConnection **connection, StringInfo error);
extern FeedOutcome feed_connection_resume(FeedConnection *connection, StringInfo error);
extern FeedOutcome feed_connection_ask(FeedConnection *connection, StringInfo request,
									   StringInfo answer, StringInfo error);
extern void feed_connection_close(FeedConnection *connection);

#endif							/* APIKEYS_FEED_FEED_CONNECTION_H */
