/*-------------------------------------------------------------------------
 *
 * limit_check.h
 *	  Does a request pass the limits of its key and budgets?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_LIMIT_CHECK_H
#define APIKEYS_LIVE_LIMIT_CHECK_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "live/budget_sums.h"
#include "live/last_used.h"
#include "live/tracked_keys.h"
#include "model/cost.h"
#include "model/limit_status.h"
#include "model/rate_limits.h"

#define MAX_LIMIT_BUDGETS	8		/* two paths through the tree of budgets */
#define MAX_LIMIT_OWNERS	(1 + MAX_LIMIT_BUDGETS + 1)	/* a family, budgets, a derived key */

/* Whose limits a request is checked against: a key family's, a budget's, or a derived key's. */
typedef struct LimitOwner
{
	const pg_uuid_t *id;		/* the family's root_id, or the budget's or key's id */
	const RateLimits *limits;	/* NULL: none */
	const char *budget;			/* its name; NULL: it is none */
	bool		is_parent;		/* the family of the key's parent */
	bool		is_exhausted;	/* a budget, by committed costs */
	int64		available;		/* of a budget, in billionths, rounded down; else unlimited */
	BudgetSpendPosition position; /* up to which these costs are known */
} LimitOwner;

/* A request, as far as limits are concerned. */
typedef struct LimitRequest
{
	const LimitOwner *owners;	/* the key family first, a derived key last */
	int			nowners;
	const pg_uuid_t *key_id;
	UseNote		use;
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
	LimitOwnerSet unread;		/* owners whose windows have to be read first */
	int			no_space_for;	/* owner for whom shared memory has no space; -1: none */
	int64		reserved[MAX_LIMIT_OWNERS]; /* of budgets, in billionths */
	TimestampTz frees_at[MAX_LIMIT_OWNERS]; /* when the oldest reservation times out; 0: none */
	bool		lacks_holds;	/* that space is for reservations */
	bool		has_reservation;
	pg_uuid_t	reservation;
	bool		use_recorded;	/* last use, in the same entry */
	bool		use_newly_pending; /* as last_used_record() returns */
	bool		newly_changed;	/* windows that were stored, likewise */
	LimitStatus nearest;		/* of the rate limits that apply to the request */
} LimitResult;

/* The index of the limit of concurrent requests, after the windows. */
#define CONCURRENT	RATE_MAX_WINDOWS

/* An owner while a request is checked. */
typedef struct CheckedOwner
{
	const LimitOwner *owner;
	int			index;			/* in the request */
	TrackedKeyRef ref;
	TrackedKey *entry;			/* NULL: it has none yet */
	WindowSet	matching;		/* the limits that count the request */
	TrackedWindow *windows[RATE_MAX_WINDOWS]; /* NULL: nothing is counted */

	/* Copies, so that the locks are held briefly. */
	Window		used[RATE_MAX_WINDOWS];
	int64		nholds;
	TimestampTz holds_retry_at; /* when there can be another; 0: now */
	TimestampTz holds_reset_at; /* 0: there is none */
} CheckedOwner;

/* The check of one request. */
typedef struct LimitCheck
{
	const LimitRequest *request;
	TrackedKeys *table;
	TimestampTz now;
	int64		amounts[WINDOW_NUNITS]; /* that have to pass */
	int64		spent[WINDOW_NUNITS]; /* if they do */
	int			nowners;
	TrackedPartitionSet partitions; /* of them */
	CheckedOwner owners[MAX_LIMIT_OWNERS]; /* those that matter */
	CheckedOwner *exceeded;		/* the owner whose rate limit rejects the request, or NULL */
	int			exceeded_limit;
	TimestampTz exceeded_retry_at; /* of that limit */
	bool		too_many_holds;
	int			nevicted;
	pg_uuid_t	reservation;	/* its random bits */
	LimitResult *result;
} LimitCheck;

extern TrackedKeys *limit_check_table(void);
extern void limit_check_begin(LimitCheck *check, const LimitRequest *request, TimestampTz now,
							  LimitResult *result);
extern void limit_check_lock(LimitCheck *check);
extern void limit_check_unlock(LimitCheck *check);
extern void limit_check_all(LimitCheck *check);

#endif							/* APIKEYS_LIVE_LIMIT_CHECK_H */
