/*-------------------------------------------------------------------------
 *
 * budget_path.h
 *	  Which budgets a request counts against.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_BUDGET_PATH_H
#define APIKEYS_CACHE_BUDGET_PATH_H

#include "cache/budget_cache.h"
#include "model/budget_config.h"

/* A budget and those above it, and another one and those above that. */
#define BUDGET_PATH_MAX	(2 * BUDGET_MAX_LEVELS)

typedef struct BudgetPath
{
	int			n;
	pg_uuid_t	ids[BUDGET_PATH_MAX];
	Budget	   *budgets[BUDGET_PATH_MAX];
} BudgetPath;

/* What shared memory says of the budgets of a path. */
typedef struct BudgetPathUse
{
	int64		cost;			/* of the request, in billionths */
	uint16		no_room;		/* set of those that have none for the request */
	const int64 *reserved;		/* of each, in billionths */
	const TimestampTz *frees_at; /* when the oldest reservation of each ends; 0: none */
} BudgetPathUse;

extern void budget_path_begin(BudgetPath *path);
extern bool budget_path_add(BudgetPath *path, const pg_uuid_t *id, BudgetHint *hint,
							TimestampTz *now);
extern bool budget_path_is_exhausted(const BudgetPath *path, const BudgetPathUse *use, char **reason,
									 LimitStatus *limit, Numeric *remaining);

#endif							/* APIKEYS_CACHE_BUDGET_PATH_H */
