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

#include "cache/cached_key.h"
#include "store/key_lookup.h"

extern void key_cache_begin(void);
extern CachedKey *key_cache_probe(const bytea *hash);
extern CachedKey *key_cache_read(const KeyCandidate *candidates, int ncandidates);
extern void key_cache_make_permission_check(CachedKey *key);
extern MemoryContext key_cache_memory(void);
extern bool key_cache_is_current(void);

#endif							/* APIKEYS_CACHE_KEY_CACHE_H */
