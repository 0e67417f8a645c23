/*-------------------------------------------------------------------------
 *
 * keycache.h
 *	  Keys that this backend has looked up, coherent with the table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_KEYCACHE_H
#define APIKEYS_KEYCACHE_H

#include "keyhash.h"
#include "policy.h"
#include "store.h"

typedef struct CachedKey
{
	uint8		hash[KEY_HASH_LEN]; /* the hash table's key: first */
	TimestampTz noted_at;		/* to be signed anew; 0: never */
	int			candidate;		/* which of the hashes of the text it was */
	KeyRow		row;
	bool		limited;		/* has it limits? */
	RateLimits	limits;			/* if so */
	MemoryContext policy;		/* of the two below; NULL: not parsed yet */
	Permissions permissions;
	Datum	   *allowed_ips;	/* of type inet */
	int			nallowed_ips;	/* 0: no list */
	HeapTuple	answer;			/* verify's, for as long as the row is; or NULL */
	bool		cached;			/* else it is gone at the next look-up */
	bool		used;			/* since the clock's hand was here */
} CachedKey;

extern void keycache_begin(void);
extern CachedKey *keycache_probe(const bytea *hash);
extern CachedKey *keycache_read(const KeyCandidate *candidates, int ncandidates);
extern void keycache_parse_policy(CachedKey *key);
extern MemoryContext keycache_memory(void);
extern uint64 keycache_generation(void);
extern bool keycache_may_keep(void);

#endif							/* APIKEYS_KEYCACHE_H */
