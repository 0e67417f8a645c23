/*-------------------------------------------------------------------------
 *
 * signing.h
 *	  Under which hash a raw key is stored, and which key a text names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_SIGNING_H
#define APIKEYS_SIGNING_H

#include "cache/keycache.h"

extern void signing_sign(const text *raw_key, NewKey *key);
extern CachedKey *signing_find(struct varlena *raw_key);

#endif							/* APIKEYS_SIGNING_H */
