/*-------------------------------------------------------------------------
 *
 * rehash.h
 *	  The statements on the HMAC secrets of keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_REHASH_H
#define APIKEYS_STORE_REHASH_H

#include "utils/uuid.h"

#include "model/key_hash.h"
#include "settings/hmac_secrets.h"

/* A key to be hashed with another secret. */
typedef struct RehashRequest
{
	pg_uuid_t	id;
	uint8		old_hash[KEY_HASH_LEN];
	uint8		new_hash[KEY_HASH_LEN];
	char		secret[HMAC_SECRET_NAME_MAX_LEN + 1]; /* of the new hash */
} RehashRequest;

extern int64 store_rehash_keys(const RehashRequest *requests, int nrequests);
extern int	store_missing_secrets(const char *const *known, int nknown, char **missing,
								  int max);

#endif							/* APIKEYS_STORE_REHASH_H */
