/*-------------------------------------------------------------------------
 *
 * key_cache.h
 *	  A backend's cache of the keys it has looked up, coherent with the table.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_KEY_CACHE_H
#define APIKEYS_CACHE_KEY_CACHE_H

#include "model/key_hash.h"
#include "model/permission_check.h"
#include "model/rate_limits.h"
#include "store/key_lookup.h"

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
	Oid			number;			/* the hash table's key: first; see invalidation.h */
	Oid			plan;			/* its plan's number, or InvalidOid */
	uint8		hash[KEY_HASH_LEN];
	HeapTuple	result;			/* apikey_verify's row for a valid key; or NULL */
	int			candidate;		/* which of the text's hashes this is */
	bool		cached;			/* else valid only until the next lookup */
	bool		used;			/* since the clock sweep last passed */
	int			use_max_lag;	/* ms in which its use is persisted; 0: no idle_timeout */
	TimestampTz idle_end;		/* not idle before, for all we know; DT_NOEND: never */
	bool		changed;		/* since it was cached: it, or its plan */
	RateLimits *limits;			/* NULL: none */
	BudgetHint	budget;			/* if it has one */
	PermissionCheck *permission_check; /* NULL: not needed so far */
	KeyRow		row;
	TimestampTz rehash_requested_at; /* 0: never */
	TimestampTz use_recorded_at; /* see last_used_record(); 0: not from here */
} CachedKey;

extern void key_cache_begin(void);
extern CachedKey *key_cache_probe(const bytea *hash);
extern CachedKey *key_cache_read(const KeyCandidate *candidates, int ncandidates);
extern void key_cache_make_permission_check(CachedKey *key);
extern MemoryContext key_cache_memory(void);
extern uint64 key_cache_generation(void);
extern uint64 key_cache_nmessages(void);
extern bool key_cache_is_cacheable(void);
extern bool key_cache_is_current(void);

#endif							/* APIKEYS_CACHE_KEY_CACHE_H */
