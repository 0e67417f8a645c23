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

#include "cache/budget_path.h"

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

/* Sets the path to the budget of a key, if it has one, and those above it. */
void
budget_path_of_key(BudgetPath *path, CachedKey *key, TimestampTz *now)
{
	path->n = 0;
	if (key->row.nulls[KEY_BUDGET_ID])
		return;
	budget_path_begin(path);
	(void) budget_path_add(path, DatumGetUUIDP(key->row.values[KEY_BUDGET_ID]), &key->budget, now);
}

/* What a budget, which has a limit, tells a client. */
static LimitStatus
budget_status(const Budget *budget)
{
	LimitStatus status = budget->status;

	status.resets_at = budget->ends_at;
	status.retry_at = budget->is_exhausted ? budget->ends_at : 0;
	return status;
}

/*
 * Is any budget of a path exhausted?  Sets the status of the limit that is
 * nearest to its end, and the least that remains of one.  The name of the first
 * is NULL, and the other, if no budget has a limit.  If one is exhausted, the
 * nearest is the one that is so for longest, and the reason, palloc'd, names it.
 * All are valid as long as the path.
 */
bool
budget_path_is_exhausted(const BudgetPath *path, char **reason, LimitStatus *limit,
						 Numeric *remaining)
{
	const Budget *nearest = NULL;

	limit->name = NULL;
	*remaining = NULL;
	for (int i = 0; i < path->n; i++)
	{
		const Budget *budget = path->budgets[i];
		LimitStatus status;

		if (budget->limit == NULL)
			continue;
		status = budget_status(budget);
		if (limit_status_is_nearer(&status, limit))
		{
			*limit = status;
			nearest = budget;
		}
		if (*remaining == NULL ||
			DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(status.remaining_cost),
											 NumericGetDatum(*remaining))))
			*remaining = status.remaining_cost;
	}
	if (nearest == NULL || !nearest->is_exhausted)
		return false;

	*reason = psprintf("budget \"%s\" is spent", nearest->name);
	return true;
}
