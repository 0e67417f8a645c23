/*-------------------------------------------------------------------------
 *
 * key_limits.h
 *	  What limits a key, as read from the tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_KEY_LIMITS_H
#define APIKEYS_STORE_KEY_LIMITS_H

#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "model/rate_limits.h"

/* What the limits of a key are, and whom it shares them with. */
typedef struct KeyLimits
{
	pg_uuid_t	root_id;
	RateLimits	limits;
	bool		has_budget;		/* it points to one, which may not exist */
	pg_uuid_t	budget_id;
} KeyLimits;

extern bool store_key_limits(const pg_uuid_t *id, KeyLimits *limits);
extern void store_copy_limits(const Datum *row, const bool *nulls, KeyLimits *limits);

#endif							/* APIKEYS_STORE_KEY_LIMITS_H */
