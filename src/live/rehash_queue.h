/*-------------------------------------------------------------------------
 *
 * rehash_queue.h
 *	  What backends tell each other about HMAC secrets: no secret.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_REHASH_QUEUE_H
#define APIKEYS_LIVE_REHASH_QUEUE_H

#include "store/rehash.h"

#define MISSING_SECRETS_MAX	16	/* secrets at a time */

extern void rehash_queue_init(void);
extern bool rehash_available(void);

/* keys that are to be signed anew */
extern bool rehash_enqueue(const RehashRequest *request);
extern int	rehash_dequeue(Oid database, RehashRequest *requests, int max);
extern bool rehash_is_pending(Oid database);
extern void rehash_remove_database(Oid database);

/* the file by which keys are signed */
extern void secret_file_announce(const char *path);
extern bool secret_file_newer(char *path);

/* secrets that are missing */
extern void missing_secrets_exchange(Oid database, char *const *names, int n, bool *news);

#endif							/* APIKEYS_LIVE_REHASH_QUEUE_H */
