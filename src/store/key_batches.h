/*-------------------------------------------------------------------------
 *
 * key_batches.h
 *	  Changes of many keys, in batches.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_KEY_BATCHES_H
#define APIKEYS_STORE_KEY_BATCHES_H

#include "utils/array.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Which keys are to be revoked: those that meet all conditions. */
typedef struct KeyGroup
{
	const pg_uuid_t *restriction; /* the user that the caller is restricted to; NULL: none */
	const pg_uuid_t *user_id;	/* NULL, as any of the following: no condition */
	const pg_uuid_t *team_id;
	const pg_uuid_t *budget_id;
	const text *plan;
} KeyGroup;

/* Some of the keys that are found, locked. */
typedef struct KeyBatch
{
	int			n;
	ArrayType  *ids;			/* uuid[], sorted: the server sorts it for each index that it asks */
	ArrayType  *tids;			/* tid[], of their rows */
	Datum	   *hashes;			/* bytea; NULL for expired keys */
} KeyBatch;

typedef struct KeySearch KeySearch;

extern KeySearch *store_find_expired(const pg_uuid_t *user_id, TimestampTz until);
extern KeySearch *store_find_derived(const KeyBatch *batch, TimestampTz until);
extern KeySearch *store_find_unrevoked(const KeyGroup *group);
extern bool store_next_batch(KeySearch *search, KeyBatch *batch);
extern void store_delete_batch(const KeyBatch *batch, TimestampTz now);
extern void store_revoke_batch(const KeyBatch *batch, text *reason, TimestampTz now);
extern ArrayType *store_unrevoked_ids(const KeyGroup *group);
extern bool store_lock_unrevoked(const pg_uuid_t *id, const KeyGroup *group);

#endif							/* APIKEYS_STORE_KEY_BATCHES_H */
