/*-------------------------------------------------------------------------
 *
 * families.h
 *	  Which key families still have keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_FAMILIES_H
#define APIKEYS_STORE_FAMILIES_H

#include "utils/array.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

typedef enum FamilyState
{
	FAMILY_GONE,				/* all of its keys have been deleted */
	FAMILY_DEAD,				/* those that have not are revoked or expired */
	FAMILY_LIVE					/* one of them can be used */
} FamilyState;

extern void store_family_states(const pg_uuid_t *ids, int nids, TimestampTz now,
								FamilyState *states);
extern void store_find_successors(ArrayType *ids, bool *have_successors);

#endif							/* APIKEYS_STORE_FAMILIES_H */
