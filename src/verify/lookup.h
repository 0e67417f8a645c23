/*-------------------------------------------------------------------------
 *
 * lookup.h
 *	  Which key a text names.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_LOOKUP_H
#define APIKEYS_VERIFY_LOOKUP_H

#include "cache/key_cache.h"

extern CachedKey *lookup_key(struct varlena *raw_key);

#endif							/* APIKEYS_VERIFY_LOOKUP_H */
