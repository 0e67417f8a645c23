/*-------------------------------------------------------------------------
 *
 * cached_key.h
 *	  A key as a backend has it in memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_CACHED_KEY_H
#define APIKEYS_CACHE_CACHED_KEY_H

#include "cache/changes.h"
#include "model/key_hash.h"
#include "model/permission_check.h"
#include "model/rate_limits.h"
#include "store/keys.h"

/*
 * Where budget_cache.c has found a budget last, to save a search; all zeroes:
 * it has not been searched yet.
 */
typedef struct BudgetHint
{
	struct CachedBudget *cached;
	uint64		nremovals;		/* valid as long as this is budget_cache.c's */
} BudgetHint;

/* What each lookup reads comes first, on few cache lines. */
typedef struct CachedKey
{
	uint32		bits;			/* the hash table's key, first: of the hash below */
	uint8		hash[KEY_HASH_LEN]; /* of the text's first candidate */
	bool		cached;			/* else valid only until the next lookup */
	bool		used;			/* since the clock sweep last passed */
	bool		changed;		/* since it was cached: what it depends on */
	RowStamp	stamp;			/* what that is */
	HeapTuple	result;			/* apikey_verify's row for a valid key; or NULL */
	int			candidate;		/* by which of the text's hashes the table has it */
	int			use_max_lag;	/* ms in which its use is persisted; 0: no idle_timeout */
	TimestampTz idle_end;		/* not idle before, for all we know; DT_NOEND: never */
	RateLimits *limits;			/* of its family; NULL: none */
	RateLimits *own_limits;		/* of a derived key alone, likewise */
	BudgetHint	budget;			/* if it has one */
	PermissionCheck *permission_check; /* NULL: not needed so far */
	KeyRow		row;
	TimestampTz rehash_requested_at; /* 0: never */
	TimestampTz use_recorded_at; /* see last_used_record(); 0: not from here */
	TimestampTz parent_use_recorded_at; /* likewise, of the key it is derived from */
} CachedKey;

extern void cached_key_complete(CachedKey *key, const bytea *hash, MemoryContext memory);
extern void cached_key_free_contents(CachedKey *key);

#endif							/* APIKEYS_CACHE_CACHED_KEY_H */
