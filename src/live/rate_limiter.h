/*-------------------------------------------------------------------------
 *
 * rate_limiter.h
 *	  Limits of keys and budgets, checked and spent in one step.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_RATE_LIMITER_H
#define APIKEYS_LIVE_RATE_LIMITER_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "live/budget_spend.h"
#include "live/tracked_keys.h"
#include "model/limit_status.h"
#include "model/rate_limits.h"

#define MAX_LIMIT_BUDGETS	8		/* two paths through the tree of budgets */
#define MAX_LIMIT_OWNERS	(1 + MAX_LIMIT_BUDGETS)

/* Whose limits a request is checked against: a key family's or a budget's. */
typedef struct LimitOwner
{
	const pg_uuid_t *id;		/* the family's root_id, or the budget's id */
	const RateLimits *limits;	/* NULL: none */
	const char *budget;			/* its name; NULL: a key family */
	bool		is_exhausted;	/* a budget, by committed costs */
	int64		available;		/* of a budget, in billionths, rounded down; else unlimited */
	BudgetSpendPosition position;	/* up to which these costs are known */
} LimitOwner;

/* A request, as far as limits are concerned. */
typedef struct LimitRequest
{
	const LimitOwner *owners;	/* the key family first */
	int			nowners;
	const pg_uuid_t *key_id;
	const text *model;			/* NULL: unknown */
	const text *endpoint;
	int64		tokens;			/* estimates: checked, and reserved if asked for */
	int64		cost;			/* in billionths */
	bool		reserve;
} LimitRequest;

/* Sets of owners by their indexes. */
typedef uint16 LimitOwnerSet;

typedef struct LimitResult
{
	const char *reason;			/* a rate limit rejects the request; palloc'd, else NULL */
	TimestampTz retry_at;		/* if so; DT_NOEND: never */
	LimitOwnerSet exhausted;	/* budgets that have no room */
	LimitOwnerSet stale;		/* budgets whose costs have to be read again */
	int			no_space_for;	/* owner for whom shared memory has no space; -1: none */
	int64		reserved[MAX_LIMIT_OWNERS];	/* of budgets, in billionths */
	TimestampTz frees_at[MAX_LIMIT_OWNERS];	/* when the oldest reservation times out; 0: none */
	bool		has_reservation;
	pg_uuid_t	reservation;
	bool		use_recorded;	/* last use, in the same entry */
	bool		use_newly_pending; /* as last_used_record() returns */
	LimitStatus nearest;		/* of the rate limits that apply to the request */
} LimitResult;

extern bool rate_limiter_available(void);
extern TrackedKeys *rate_limiter_table(void);
extern void rate_limiter_check_and_spend(const LimitRequest *request, TimestampTz now,
										 LimitResult *result);
extern void rate_limiter_report_no_space(int elevel);

#endif							/* APIKEYS_LIVE_RATE_LIMITER_H */
