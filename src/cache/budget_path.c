/*-------------------------------------------------------------------------
 *
 * budget_path.c
 *	  Which budgets a request counts against, and is one of them exhausted?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A budget of the request and all that are above it.  Each of them is found as
 * it is now; if which are above which changes meanwhile, key_cache_is_current()
 * is false afterwards.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/arguments.h"
#include "cache/budget_path.h"
#include "model/cost.h"

/* Makes a path empty.  That of an earlier request is not valid any more. */
void
budget_path_begin(BudgetPath *path)
{
	budget_cache_begin();
	path->n = 0;
}

static bool
is_on_path(const BudgetPath *path, const pg_uuid_t *id)
{
	for (int i = 0; i < path->n; i++)
	{
		if (memcmp(&path->ids[i], id, sizeof(pg_uuid_t)) == 0)
			return true;
	}
	return false;
}

/*
 * Adds a budget and those above it, but none twice; what this transaction has
 * spent counts.  Returns false if there is no budget with this id.  hint is for
 * the first.  Sets now to the current time if one of them had to be read.
 */
bool
budget_path_add(BudgetPath *path, const pg_uuid_t *id, BudgetHint *hint, TimestampTz *now)
{
	Assert(IsTransactionState());

	for (int level = 0; level < BUDGET_MAX_LEVELS && !is_on_path(path, id); level++)
	{
		Budget	   *budget = budget_cache_find(id, true, hint, now);

		if (!budget->exists)
			return level > 0;

		Assert(path->n < BUDGET_PATH_MAX);
		path->ids[path->n] = *id;
		path->budgets[path->n++] = budget;
		if (!budget->has_parent)
			break;
		id = &budget->parent_id;
		hint = &budget->parent;
	}
	return true;
}

/* What is left of a budget with what is reserved, in billionths, at least 0. */
static int64
left_of(const BudgetPath *path, int i, const BudgetPathUse *use)
{
	return Max(path->budgets[i]->available - use->reserved[i], 0);
}

/* Is there room for the request once reservations have ended? */
static bool
frees_enough(const Budget *budget, const BudgetPathUse *use, int i)
{
	return !budget->is_exhausted && use->frees_at[i] != 0 && use->cost <= budget->available;
}

/*
 * What a budget, which has a limit, tells a client, but for what remains: that
 * takes longer to compute, and is needed of few.  What is reserved of it is taken
 * for spent.  One that has no room only because of that has some when the oldest
 * reservation ends, or sooner.
 */
static LimitStatus
budget_status(const BudgetPath *path, int i, const BudgetPathUse *use)
{
	const Budget *budget = path->budgets[i];
	LimitStatus status = budget->status;

	if (use->reserved[i] > 0)
		status.remaining_part *= (double) left_of(path, i, use) / Max(budget->available, 1);
	status.resets_at = budget->ends_at;
	status.retry_at = 0;
	if (use->no_room & 1 << i)
		status.retry_at = frees_enough(budget, use, i) ? Min(budget->ends_at, use->frees_at[i])
													   : budget->ends_at;
	return status;
}

/* What remains of a budget, as a numeric, with what is reserved of it spent. */
static Numeric
remaining_of(const BudgetPath *path, int i, const BudgetPathUse *use)
{
	const Budget *budget = path->budgets[i];
	Numeric		remaining;

	if (use->reserved[i] == 0)
		return budget->status.remaining_cost;
	if (budget->is_exact)
		return cost_from_billionths(left_of(path, i, use));

	remaining = DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(budget->status.remaining_cost),
													NumericGetDatum(cost_from_billionths(use->reserved[i]))));
	return amount_sign(remaining) < 0 ? int64_to_numeric(0) : remaining;
}

/* Does less remain of one budget than of another?  Numerics decide where integers end. */
static bool
has_less(const BudgetPath *path, int a, int b, const BudgetPathUse *use)
{
	if (path->budgets[a]->available != COST_UNLIMITED || path->budgets[b]->available != COST_UNLIMITED)
		return left_of(path, a, use) < left_of(path, b, use);
	return DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(remaining_of(path, a, use)),
											NumericGetDatum(remaining_of(path, b, use))));
}

/* Returns why a budget rejects a request, palloc'd. */
static char *
explain(const Budget *budget)
{
	return psprintf(budget->is_exhausted ? "budget \"%s\" is spent"
										 : "budget \"%s\" has too little left for this request",
					budget->name);
}

/*
 * Has a budget of a path no room?  Sets the status of the limit that is nearest
 * to its end, and the least that remains of one.  The name of the first is
 * NULL, and the other, if no budget has a limit.  If one has no room, the
 * nearest is the one that has none for longest, and the reason, palloc'd, names
 * it.  All are valid as long as the path.
 */
bool
budget_path_is_exhausted(const BudgetPath *path, const BudgetPathUse *use, char **reason,
						 LimitStatus *limit, Numeric *remaining)
{
	int			nearest = -1;
	int			least = -1;
	int			overflowing = -1; /* too much is reserved of one without a limit */

	limit->name = NULL;
	*remaining = NULL;
	for (int i = 0; i < path->n; i++)
	{
		LimitStatus status;

		if (path->budgets[i]->limit == NULL)
		{
			if (use->no_room & 1 << i)
				overflowing = i;
			continue;
		}
		status = budget_status(path, i, use);
		if (limit_status_is_nearer(&status, limit))
		{
			*limit = status;
			nearest = i;
		}
		if (least < 0 || has_less(path, i, least, use))
			least = i;
	}
	if (nearest >= 0)
	{
		limit->remaining_cost = remaining_of(path, nearest, use);
		*remaining = least == nearest ? limit->remaining_cost : remaining_of(path, least, use);
	}
	if (use->no_room == 0)
		return false;
	*reason = explain(path->budgets[overflowing >= 0 ? overflowing : nearest]);
	return true;
}
