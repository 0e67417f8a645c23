/*-------------------------------------------------------------------------
 *
 * budget.h
 *	  Is the budget of a key spent?
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BUDGET_H
#define APIKEYS_BUDGET_H

#include "cache/keycache.h"

extern bool budget_is_spent(CachedKey *key, TimestampTz *now,
							char **reason, TimestampTz *retry_at);

#endif							/* APIKEYS_BUDGET_H */
