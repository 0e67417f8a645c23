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

#include "cache/key_cache.h"

extern bool budget_is_exhausted(CachedKey *key, TimestampTz *now,
								char **reason, TimestampTz *retry_at);

#endif							/* APIKEYS_CACHE_BUDGET_CACHE_H */
