/*-------------------------------------------------------------------------
 *
 * key_bounds.h
 *	  What a caller may make of keys who is restricted to those of a user.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_API_KEY_BOUNDS_H
#define APIKEYS_API_KEY_BOUNDS_H

#include "model/key_config.h"
#include "store/keys.h"

/* What the keys must be that a call makes or changes. */
typedef struct KeyBounds
{
	const pg_uuid_t *user_id;	/* whose keys, palloc'd; NULL: anybody's */
	bool		own;			/* level own: within the key that is logged in */
	KeyConfig	login;			/* that key, as it is stored */
} KeyBounds;

extern void key_bounds_get(KeyBounds *bounds, bool adds);
extern void key_bounds_new(const KeyBounds *bounds, KeyConfig *config, int nkeys,
						   TimestampTz now);
extern void key_bounds_check_rotation(const KeyBounds *bounds, const KeyRow *old,
									  TimestampTz expires_at, bool adds, TimestampTz now);
extern void key_bounds_check_change(const KeyBounds *bounds, const KeyRow *key,
									const KeyConfig *config, TimestampTz now);

#endif							/* APIKEYS_API_KEY_BOUNDS_H */
