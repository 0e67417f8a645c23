/*-------------------------------------------------------------------------
 *
 * rehash_queue.h
 *	  Which keys are to be rehashed under the current HMAC secret.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_REHASH_QUEUE_H
#define APIKEYS_LIVE_REHASH_QUEUE_H

#include "store/rehash.h"

extern void rehash_queue_init(void);
extern bool rehash_available(void);

extern bool rehash_enqueue(const RehashRequest *request);
extern int	rehash_dequeue(Oid database, RehashRequest *requests, int max);
extern bool rehash_is_pending(Oid database);
extern void rehash_remove_database(Oid database);

#endif							/* APIKEYS_LIVE_REHASH_QUEUE_H */
