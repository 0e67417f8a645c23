/*-------------------------------------------------------------------------
 *
 * feed_links.h
 *	  The links of a standby's databases to the server that it follows.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_FEED_LINKS_H
#define APIKEYS_LIVE_FEED_LINKS_H

#include "live/feed_state.h"

/* How the link of a database is, for apikeys.stats. */
typedef struct FeedLinkStatus
{
	FeedLinkState state;
	TimestampTz succeeded_at;	/* 0: never */
	TimestampTz error_at;		/* 0: none */
	char		error[FEED_ERROR_BYTES];
} FeedLinkStatus;

extern FeedLink *feed_links_get(Oid database, TimestampTz now);
extern void feed_links_keep(const Oid *databases, int n);
extern void feed_links_read(Oid database, FeedLinkStatus *status);
extern void feed_links_set_state(FeedLink *link, FeedLinkState state, TimestampTz now);
extern void feed_links_set_error(FeedLink *link, bool refused, const char *error, TimestampTz now);
extern void feed_links_prepare(FeedLink *link, FeedRequest *request, TimestampTz now);
extern bool feed_links_process(FeedLink *link, const FeedRequest *request, const FeedAnswer *answer);

#endif							/* APIKEYS_LIVE_FEED_LINKS_H */
