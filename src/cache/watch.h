/*-------------------------------------------------------------------------
 *
 * watch.h
 *	  What messages have told this backend, and whether changes send any.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_WATCH_H
#define APIKEYS_CACHE_WATCH_H

extern void watch_accept_messages(void);
extern uint64 watch_generation(void);
extern uint64 watch_nmessages(void);
extern bool watch_is_cacheable(void);

#endif							/* APIKEYS_CACHE_WATCH_H */
