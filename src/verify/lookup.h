/*-------------------------------------------------------------------------
 *
 * lookup.h
 *	  Under which hash a raw key is stored, and which key a text names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_LOOKUP_H
#define APIKEYS_VERIFY_LOOKUP_H

#include "cache/key_cache.h"
#include "store/keys.h"

extern void hash_new_key(const text *raw_key, NewKey *key);
extern CachedKey *lookup_key(struct varlena *raw_key);

#endif							/* APIKEYS_VERIFY_LOOKUP_H */
