/*-------------------------------------------------------------------------
 *
 * hash_new_key.h
 *	  Under which hash a new key is stored.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_HASH_NEW_KEY_H
#define APIKEYS_VERIFY_HASH_NEW_KEY_H

#include "store/keys.h"

extern void hash_new_key(const text *raw_key, NewKey *key);

#endif							/* APIKEYS_VERIFY_HASH_NEW_KEY_H */
