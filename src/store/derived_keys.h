/*-------------------------------------------------------------------------
 *
 * derived_keys.h
 *	  The statements on keys that are derived from others.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_DERIVED_KEYS_H
#define APIKEYS_STORE_DERIVED_KEYS_H

#include "store/keys.h"

extern int64 store_count_derived(const pg_uuid_t *parent_id);
extern void store_move_derived(const pg_uuid_t *parent_id);
extern void store_insert_derived(const pg_uuid_t *parent_id, const NewKey *key,
								 const KeyConfig *config);

#endif							/* APIKEYS_STORE_DERIVED_KEYS_H */
