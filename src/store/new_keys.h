/*-------------------------------------------------------------------------
 *
 * new_keys.h
 *	  The statements that insert many keys, with their events.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_NEW_KEYS_H
#define APIKEYS_STORE_NEW_KEYS_H

#include "utils/array.h"

#include "store/keys.h"

/* Keys that are inserted by one statement; they differ in what is here. */
typedef struct NewKeys
{
	const NewKey *keys;
	const Datum *names;			/* texts; NULL: that of the configuration */
	int			n;
} NewKeys;

extern ArrayType *store_insert_keys(const NewKeys *new, bool imported, const KeyConfig *config,
									TimestampTz now, int *conflict);

#endif							/* APIKEYS_STORE_NEW_KEYS_H */
