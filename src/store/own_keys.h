/*-------------------------------------------------------------------------
 *
 * own_keys.h
 *	  What a role with the level own acts under: the key that is logged in.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_OWN_KEYS_H
#define APIKEYS_STORE_OWN_KEYS_H

#include "store/keys.h"

/* The documents of a key that a plan completes. */
typedef struct KeyDocuments
{
	Datum		permissions;
	Datum		rate_limits;
} KeyDocuments;

extern bool store_read_usable_key(const pg_uuid_t *id, TimestampTz now, KeyRow *row);
extern void store_apply_plan(const text *plan, KeyDocuments *documents);
extern int64 store_count_live_keys(const pg_uuid_t *user_id, TimestampTz now);

#endif							/* APIKEYS_STORE_OWN_KEYS_H */
