/*-------------------------------------------------------------------------
 *
 * budget_cache.h
 *	  Is the budget of a key exhausted?  A backend's cache of budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_BUDGET_CACHE_H
#define APIKEYS_CACHE_BUDGET_CACHE_H

#include "utils/numeric.h"

#include "cache/key_cache.h"
#include "model/limit_status.h"

extern bool budget_is_exhausted(CachedKey *key, TimestampTz *now,
								char **reason, LimitStatus *limit);

extern bool budget_has_to_warn(const pg_uuid_t *id, Numeric own);
extern void budget_forget(const pg_uuid_t *id);

#endif							/* APIKEYS_CACHE_BUDGET_CACHE_H */
