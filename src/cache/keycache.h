/*-------------------------------------------------------------------------
 *
 * keycache.h
 *	  Keys that this backend has looked up, coherent with the table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_KEYCACHE_H
#define APIKEYS_KEYCACHE_H

#include "model/keyhash.h"
#include "model/permit.h"
#include "store/store.h"

/*
 * Where budget.c has found a budget last, so as not to look for it again;
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
	HeapTuple	answer;			/* verify's, for as long as the row is; or NULL */
	int			candidate;		/* which of the hashes of the text it was */
	bool		cached;			/* else it is gone at the next look-up */
	bool		used;			/* since the clock's hand was here */
	bool		limited;		/* has it limits? */
	RateLimits	limits;			/* if so */
	BudgetHint	budget;			/* of its budget, if it has one */
	Permit	   *permit;			/* NULL: nobody has asked yet */
	KeyRow		row;
	TimestampTz noted_at;		/* to be signed anew; 0: never */
} CachedKey;

extern void keycache_begin(void);
extern CachedKey *keycache_probe(const bytea *hash);
extern CachedKey *keycache_read(const KeyCandidate *candidates, int ncandidates);
extern void keycache_make_permit(CachedKey *key);
extern MemoryContext keycache_memory(void);
extern uint64 keycache_generation(void);
extern bool keycache_may_keep(void);

#endif							/* APIKEYS_KEYCACHE_H */
