/*-------------------------------------------------------------------------
 *
 * key_cache.h
 *	  Keys that this backend has looked up, coherent with the table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_KEY_CACHE_H
#define APIKEYS_CACHE_KEY_CACHE_H

#include "model/key_hash.h"
#include "model/permission_check.h"
#include "model/rate_limits.h"
#include "store/keys.h"

/*
 * Where budget_cache.c has found a budget last, so as not to look for it again;
 * zeroes: nowhere.
 */
typedef struct BudgetHint
{
	struct CachedBudget *cached;
	uint64		nremovals;		/* good until more have been removed */
} BudgetHint;

/* What each look-up reads comes first and lies together. */
typedef struct CachedKey
{
	uint8		hash[KEY_HASH_LEN]; /* the hash table's key: first */
	HeapTuple	result;			/* verify's, for as long as the row is; or NULL */
	int			candidate;		/* which of the hashes of the text it was */
	bool		cached;			/* else it is gone at the next look-up */
	bool		used;			/* since the clock's hand was here */
	bool		limited;		/* has it limits? */
	RateLimits	limits;			/* if so */
	BudgetHint	budget;			/* of its budget, if it has one */
	PermissionCheck *permission_check; /* NULL: nobody has asked yet */
	KeyRow		row;
	TimestampTz rehash_requested_at; /* to be signed anew; 0: never */
} CachedKey;

extern void key_cache_begin(void);
extern CachedKey *key_cache_probe(const bytea *hash);
extern CachedKey *key_cache_read(const KeyCandidate *candidates, int ncandidates);
extern void key_cache_make_permission_check(CachedKey *key);
extern MemoryContext key_cache_memory(void);
extern uint64 key_cache_generation(void);
extern bool key_cache_is_cacheable(void);

#endif							/* APIKEYS_CACHE_KEY_CACHE_H */
