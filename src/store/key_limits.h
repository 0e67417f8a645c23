/*-------------------------------------------------------------------------
 *
 * key_limits.h
 *	  The limits of a key, as read from its row.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_KEY_LIMITS_H
#define APIKEYS_STORE_KEY_LIMITS_H

#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "model/rate_limits.h"

/*
 * The limits of a key, which its family shares, and its budget; those of a derived
 * key are its parent's, and it may have others of its own.
 */
typedef struct KeyLimits
{
	pg_uuid_t	id;				/* of the key to which usage is charged: it, or its parent */
	pg_uuid_t	root_id;
	RateLimits *limits;			/* palloc'd; NULL: none */
	bool		is_derived;
	RateLimits *own_limits;		/* if so, likewise */
	bool		has_budget;		/* budget_id is set; the budget may not exist */
	pg_uuid_t	budget_id;
} KeyLimits;

extern bool store_key_limits(const pg_uuid_t *id, const pg_uuid_t *user_id, KeyLimits *limits);
extern bool store_read_limits(const pg_uuid_t *id, const pg_uuid_t *user_id, MemoryContext memory,
							  KeyLimits *limits);

#endif							/* APIKEYS_STORE_KEY_LIMITS_H */
