/*-------------------------------------------------------------------------
 *
 * shared_keys.h
 *	  A cache of keys that all backends share.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_SHARED_KEYS_H
#define APIKEYS_CACHE_SHARED_KEYS_H

#include "cache/changes.h"
#include "model/key_hash.h"
#include "settings/hmac_secrets.h"

#define SHARED_ROW_MAX_SIZE	8192	/* bytes */

/* By what a row is found. */
typedef struct SharedKeyTag
{
	Oid			database;
	uint8		hash[KEY_HASH_LEN]; /* of the raw key: its first candidate */
	HmacSecretsId secrets;		/* under which it was looked up in the table */
} SharedKeyTag;

/* What is stored of a key; the row's own format is that of whoever stores it. */
typedef struct SharedKey
{
	RowStamp	stamp;
	uint16		candidate;		/* the hash by which the table has it */
	uint16		size;			/* of the row */
} SharedKey;

typedef struct SharedKeysFill
{
	uint64		entries;
	uint64		bytes;
	uint64		evictions;
} SharedKeysFill;

extern void shared_keys_init(void);
extern bool shared_keys_find(const SharedKeyTag *tag, SharedKey *key, char *row);
extern void shared_keys_store(const SharedKeyTag *tag, const SharedKey *key, const char *row);
extern bool shared_keys_read_fill(SharedKeysFill *fill);

#endif							/* APIKEYS_CACHE_SHARED_KEYS_H */
