/*-------------------------------------------------------------------------
 *
 * feed_sessions.h
 *	  The sessions in which other servers tell this one of their use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_FEED_SESSIONS_H
#define APIKEYS_LIVE_FEED_SESSIONS_H

#include "live/feed_state.h"

extern void feed_sessions_register(FeedServer *server);
extern void feed_sessions_end(FeedServer *server);
extern bool feed_sessions_may_stay(const FeedState *feed, Oid database);
extern void feed_sessions_exclude(Oid database);
extern void feed_sessions_admit(void);

#endif							/* APIKEYS_LIVE_FEED_SESSIONS_H */
