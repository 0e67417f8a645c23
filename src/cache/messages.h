/*-------------------------------------------------------------------------
 *
 * messages.h
 *	  Who hears of relcache invalidation messages.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_MESSAGES_H
#define APIKEYS_CACHE_MESSAGES_H

/* It must neither fail nor free anything: it may be called in nearly any state. */
typedef void (*MessageListener)(Oid relid);

extern void messages_listen(MessageListener listener);
extern bool messages_look_up_tables(void);
extern bool messages_concern_everything(Oid relid);

#endif							/* APIKEYS_CACHE_MESSAGES_H */
