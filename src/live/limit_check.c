/*-------------------------------------------------------------------------
 *
 * limit_check.c
 *	  Does a request pass the limits of its key and budgets?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The locks of the partitions of all owners are taken in the order of their
 * numbers.  Nothing that is done under them can fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"

#include "base/arguments.h"
#include "live/limit_check.h"

/* Returns the shared table.  Raises 55000 if there is no shared memory. */
TrackedKeys *
limit_check_table(void)
{
	TrackedKeys *table = tracked_keys_attach();

	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rate limits need shared memory"),
				 hint_preload()));
	return table;
}

/* ------------------------------------------------------- before the locks */

/*
 * Does an owner have to be looked at under its lock?  A budget without limits
 * only if something may be reserved of it.
 */
static bool
matters(const LimitCheck *check, const LimitOwner *owner)
{
	if (owner->limits != NULL || check->request->reserve)
		return true;
	return owner->budget != NULL && check->table != NULL &&
		   check->table->free_holds.nfree < tracked_keys_nholds(check->table);
}

/* Collects the owners that matter.  Raises 55000 if there is no shared memory. */
static void
collect_owners(LimitCheck *check)
{
	const LimitRequest *request = check->request;

	check->nowners = 0;
	check->partitions = 0;
	check->table = tracked_keys_attach();
	for (int i = 0; i < request->nowners; i++)
	{
		const LimitOwner *owner = &request->owners[i];
		CheckedOwner *checked = &check->owners[check->nowners];

		if (!matters(check, owner))
			continue;
		if (check->table == NULL)
			check->table = limit_check_table(); /* raises the error */
		checked->owner = owner;
		checked->index = i;
		checked->ref = tracked_keys_locate(check->table, MyDatabaseId, owner->id);
		check->partitions |= UINT64CONST(1) << checked->ref.number;
		checked->matching = owner->limits == NULL ? 0 : rate_limits_match(owner->limits, request->model, request->endpoint);
		check->nowners++;
	}
}

/* Sets what has to pass: at least one token, and the smallest cost. */
static void
set_amounts(LimitCheck *check)
{
	const LimitRequest *request = check->request;

	Assert(request->tokens >= 0 && request->cost >= 0);
	check->amounts[WINDOW_REQUESTS] = check->spent[WINDOW_REQUESTS] = 1;
	check->amounts[WINDOW_TOKENS] = Max(request->tokens, 1);
	check->amounts[WINDOW_COST] = Max(request->cost, 1);
	check->spent[WINDOW_TOKENS] = request->reserve ? request->tokens : 0;
	check->spent[WINDOW_COST] = request->reserve ? request->cost : 0;
}

/*
 * Prepares the check of a request, whose owners are those of which something
 * has to be looked at under a lock; there may be none.  Raises 55000 if there is
 * no shared memory and one has limits or something is to be reserved.
 */
void
limit_check_begin(LimitCheck *check, const LimitRequest *request, TimestampTz now, LimitResult *result)
{
	check->request = request;
	check->now = now;
	check->exceeded = NULL;
	check->too_many_holds = false;
	check->nevicted = 0;
	check->result = result;
	memset(result, 0, sizeof(LimitResult));
	result->no_space_for = -1;
	for (int i = 0; i < request->nowners; i++)
		result->exhausted |= (request->owners[i].is_exhausted || request->cost > request->owners[i].available) << i;

	collect_owners(check);
	set_amounts(check);
}

void
limit_check_lock(LimitCheck *check)
{
	tracked_keys_lock_all(check->table, check->partitions);
}

void
limit_check_unlock(LimitCheck *check)
{
	tracked_keys_unlock_all(check->table, check->partitions);
}

/* ------------------------------------------------ checks, under the locks */

/* Finds what an owner has used, if that is known in memory. */
static void
find_use(LimitCheck *check, CheckedOwner *checked)
{
	const RateLimits *limits = checked->owner->limits;

	checked->entry = tracked_keys_find(&checked->ref);
	memset(checked->windows, 0, sizeof(checked->windows));
	if (checked->matching != 0 && (checked->entry == NULL || !tracked_limits_are_known(&checked->entry->limits)))
		check->result->unread |= 1 << checked->index;
	if (checked->entry == NULL)
		return;
	checked->entry->limits.used_at = check->now;
	tracked_limits_expire(&checked->ref.pools, &checked->entry->limits, check->now);
	if (limits != NULL)
		tracked_windows_find(&checked->ref.pools.windows, &checked->entry->limits.windows,
							 limits, checked->windows);
}

/*
 * Records that a limit rejects the request, unless another does so for longer.
 * A full window is reported before a lack of concurrent requests, since it is
 * known when it ends; those may end before they time out.
 */
static void
set_exceeded(LimitCheck *check, CheckedOwner *checked, int limit, TimestampTz retry_at)
{
	check->result->retry_at = Max(check->result->retry_at, retry_at);
	if (check->exceeded != NULL &&
		(retry_at <= check->exceeded_retry_at ||
		 (limit == CONCURRENT && check->exceeded_limit != CONCURRENT)))
		return;
	check->exceeded = checked;
	check->exceeded_limit = limit;
	check->exceeded_retry_at = retry_at;
}

/* Checks the windows of an owner. */
static void
check_windows(LimitCheck *check, CheckedOwner *checked)
{
	for (int i = 0; checked->matching >> i != 0; i++)
	{
		const WindowLimit *limit = &checked->owner->limits->windows[i];
		Window		none = {0};
		TimestampTz wait;

		if (!(checked->matching & 1 << i))
			continue;
		wait = window_wait(checked->windows[i] != NULL ? &checked->windows[i]->window : &none,
						   limit->length, limit->max, check->amounts[limit->unit], check->now);
		if (wait != 0)
			set_exceeded(check, checked, i, wait);
	}
}

/* Checks whether an owner may have one more concurrent request. */
static void
check_concurrency(LimitCheck *check, CheckedOwner *checked)
{
	const RateLimits *limits = checked->owner->limits;

	checked->holds_retry_at = 0;
	if (!check->request->reserve || checked->entry == NULL || limits == NULL ||
		limits->max_concurrent == 0 || checked->entry->limits.holds.count < limits->max_concurrent)
		return;

	checked->holds_retry_at = holds_wait(checked->ref.pools.holds, &checked->entry->limits.holds,
										 limits->max_concurrent, tracked_limits_timeout());
	set_exceeded(check, checked, CONCURRENT, checked->holds_retry_at);
}

/*
 * Checks whether a budget has room for what is reserved and for this request,
 * of the smallest cost if it has none.  Nothing that was published since its
 * costs were read may be missing.
 */
static void
check_budget(LimitCheck *check, CheckedOwner *checked)
{
	const LimitOwner *owner = checked->owner;
	const HoldList *holds = checked->entry != NULL ? &checked->entry->limits.holds : NULL;
	int64		reserved = holds != NULL ? holds->cost : 0;
	/* Of one without a limit it only matters that it can be counted. */
	int64		amount = owner->available == COST_UNLIMITED ? check->spent[WINDOW_COST] : check->amounts[WINDOW_COST];
	int64		needed;

	if (owner->budget == NULL)
		return;

	check->result->reserved[checked->index] = reserved;
	if (holds != NULL && holds->count > 0)
		check->result->frees_at[checked->index] =
			checked->ref.pools.holds[holds->oldest].reserved_at + tracked_limits_timeout();
	/* Without either of them the exact amounts have been compared. */
	if (reserved == 0 && check->request->cost == 0)
		return;
	if (pg_add_s64_overflow(reserved, amount, &needed) || needed > owner->available)
		check->result->exhausted |= 1 << checked->index;
	if (owner->available != COST_UNLIMITED && budget_spend_has_news(owner->position, owner->id))
		check->result->stale |= 1 << checked->index;
}

/* Checks all limits of all owners, under their locks. */
void
limit_check_all(LimitCheck *check)
{
	for (int i = 0; i < check->nowners; i++)
	{
		find_use(check, &check->owners[i]);
		check_windows(check, &check->owners[i]);
		check_budget(check, &check->owners[i]);
	}
	for (int i = 0; i < check->nowners; i++)
		check_concurrency(check, &check->owners[i]);
}
