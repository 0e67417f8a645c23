/*-------------------------------------------------------------------------
 *
 * budget_cache.h
 *	  A backend's cache of budgets, with what is spent of them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_BUDGET_CACHE_H
#define APIKEYS_CACHE_BUDGET_CACHE_H

#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "base/saved_snapshot.h"
#include "cache/key_cache.h"
#include "live/budget_sums.h"
#include "model/limit_status.h"
#include "model/rate_limits.h"

/* A budget in its current period.  Without exists, nothing else is set. */
typedef struct Budget
{
	bool		exists;
	bool		is_exhausted;
	bool		has_parent;
	pg_uuid_t	parent_id;		/* if so */
	BudgetHint	parent;			/* where it was found last */
	char	   *name;
	RateLimits *rate_limits;	/* NULL: none */
	Numeric		limit;			/* NULL: it is never exhausted */
	Numeric		spent;
	int64		available;		/* limit less spent, in billionths; or unlimited */
	bool		is_exact;		/* that is all that remains: nothing was rounded down */
	BudgetSpendPosition position; /* up to which costs are known */
	LimitStatus status;			/* as of these, without its times */
	TimestampTz started_at;		/* the period; DT_NOBEGIN if it never ends */
	TimestampTz ends_at;

	/* For budget_cache.c alone. */
	MemoryContext context;		/* of what this points to */
	Numeric		warn_next;		/* spent when it warns next; NULL: never */
	TimestampTz read_at;
	uint64		generation;		/* see watch.h */
	BudgetSum	sum;			/* spent, as it is in shared memory */
	bool		is_consistent;	/* false while that is taken over */
} Budget;

extern void budget_cache_begin(void);
extern Budget *budget_cache_find(const pg_uuid_t *id, bool own, BudgetHint *hint,
								 TimestampTz *now);

extern bool budget_has_to_warn(const pg_uuid_t *id, Numeric own);
extern void budget_forget(const pg_uuid_t *id);

#endif							/* APIKEYS_CACHE_BUDGET_CACHE_H */
