/*-------------------------------------------------------------------------
 *
 * checkpoint.c
 *	  The limits and budgets that a request has to pass.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * All are checked and spent at once, in shared memory.  What is not there is read
 * first, and then all is checked again.  A request that cannot be counted there,
 * since nothing can be evicted, is refused, never passed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/arguments.h"
#include "flush/flush_queue.h"
#include "flush/reclaim.h"
#include "live/counters.h"
#include "live/flush_problems.h"
#include "live/last_used.h"
#include "live/rate_limiter.h"
#include "live/stored_windows.h"
#include "verify/checkpoint.h"
#include "verify/request.h"

#define MAX_SPEND_ATTEMPTS	100		/* until what is published of a budget pauses */

StaticAssertDecl(MAX_LIMIT_BUDGETS == BUDGET_PATH_MAX, "a request's budgets are those of its path");

/*
 * Finds the budgets of the key and of the request; false if they name none, and
 * nothing was looked for.  Raises 22023.
 */
static bool
find_budgets(const NullableDatum *args, Checkpoint *check)
{
	CachedKey  *key = check->decision->key;
	BudgetHint	hint = {0};

	check->path.n = 0;
	if (key->row.nulls[KEY_BUDGET_ID] && args[AUTHORIZE_BUDGET_ID].isnull)
		return false;

	budget_path_begin(&check->path);
	if (!key->row.nulls[KEY_BUDGET_ID])
		(void) budget_path_add(&check->path, DatumGetUUIDP(key->row.values[KEY_BUDGET_ID]), &key->budget,
							   &check->decision->now);
	if (!args[AUTHORIZE_BUDGET_ID].isnull &&
		!budget_path_add(&check->path, DatumGetUUIDP(args[AUTHORIZE_BUDGET_ID].value), &hint,
						 &check->decision->now))
		raise_no_such_budget(DatumGetUUIDP(args[AUTHORIZE_BUDGET_ID].value));
	return true;
}

/* Sets the owners whose limits are checked. */
static void
set_owners(Checkpoint *check)
{
	CachedKey  *key = check->decision->key;

	check->owners[0] = (LimitOwner){
		.id = DatumGetUUIDP(key->row.values[KEY_ROOT_ID]),
		.limits = key->limits,
		.is_parent = !key->row.nulls[KEY_PARENT_ID],
		.available = COST_UNLIMITED
	};
	for (int i = 0; i < check->path.n; i++)
	{
		const Budget *budget = check->path.budgets[i];

		check->owners[1 + i] = (LimitOwner){
			.id = &check->path.ids[i],
			.limits = budget->rate_limits,
			.budget = budget->name,
			.is_exhausted = budget->is_exhausted,
			.available = budget->available,
			.position = budget->position
		};
	}
	check->request.nowners = 1 + check->path.n;
	if (key->own_limits != NULL)
	{
		check->owners[check->request.nowners++] = (LimitOwner){
			.id = DatumGetUUIDP(key->row.values[KEY_ID]),
			.limits = key->own_limits,
			.available = COST_UNLIMITED
		};
	}
}

/*
 * Describes the request.  One for which nothing is limited reserves nothing.
 * Raises 22023.
 */
static void
set_request(const NullableDatum *args, Checkpoint *check)
{
	LimitRequest *request = &check->request;

	set_owners(check);
	request->owners = check->owners;
	request->key_id = DatumGetUUIDP(check->decision->key->row.values[KEY_ID]);
	request->use = decision_use_note(check->decision);
	request->model = args[AUTHORIZE_MODEL].isnull ? NULL : DatumGetTextPP(args[AUTHORIZE_MODEL].value);
	request->endpoint = args[AUTHORIZE_ENDPOINT].isnull ? NULL : DatumGetTextPP(args[AUTHORIZE_ENDPOINT].value);
	request->tokens = args[AUTHORIZE_TOKENS].isnull ? 0 : DatumGetInt64(args[AUTHORIZE_TOKENS].value);
	request->cost = request_cost(&args[AUTHORIZE_COST]);
	request->reserve = !args[AUTHORIZE_RESERVE].isnull && DatumGetBool(args[AUTHORIZE_RESERVE].value) &&
					   (check->owners[0].limits != NULL || request->nowners > 1);
}

/*
 * Reads the windows of owners that are not in shared memory; of one that finds no
 * space there, says so in the result.
 */
static void
read_windows(Checkpoint *check)
{
	for (int i = 0; i < check->request.nowners && check->result.no_space_for < 0; i++)
	{
		if (check->result.unread & 1 << i && !stored_windows_read(check->owners[i].id))
			check->result.no_space_for = i;
	}
}

/* Has what is pending written now, so that there is space; raises 53400 if it is for reservations. */
static void
refuse(Checkpoint *check)
{
	if (check->result.lacks_holds)
		rate_limiter_report_no_space(ERROR);
	counters_add(COUNT_REFUSED, 1);
	check->refused = true;
	last_used_set_crowded();
	flush_problems_check_launcher();
	flush_queue_wake();
}

/*
 * Checks the limits and spends them, once all windows are known, nothing is stale
 * and there is space.  Finding the budgets, reading windows and making space may
 * take time; false if keys or budgets have changed meanwhile, unless this is the
 * last attempt.  Of a budget of which others publish costs all the time, somebody's
 * request passes each time: what is tried too often is rejected.
 */
bool
checkpoint_pass(const NullableDatum *args, AuthDecision *decision, Checkpoint *check, bool last)
{
	bool		may_have_space = true;

	check->decision = decision;
	check->refused = false;
	for (int attempts = MAX_SPEND_ATTEMPTS; attempts > 0; attempts--)
	{
		LimitResult *result = &check->result;

		CHECK_FOR_INTERRUPTS();
		if (find_budgets(args, check) && !last && !key_cache_is_current())
			return false;
		set_request(args, check);
		rate_limiter_check_and_spend(&check->request, decision->now, result);
		if (result->unread != 0)
			read_windows(check);
		if (result->no_space_for >= 0)
		{
			if (!may_have_space)
			{
				refuse(check);
				return true;
			}
			/* Even if nothing is found, others may have been faster. */
			may_have_space = reclaim_for(check->owners[result->no_space_for].id);
		}
		if (result->unread != 0 || result->no_space_for >= 0)
		{
			if (!last && !key_cache_is_current())
				return false;
			decision->now = GetCurrentTimestamp();
		}
		else if (result->stale == 0 || result->reason != NULL)
			return true;
	}

	if (check->result.unread != 0 || check->result.no_space_for >= 0)
		refuse(check);
	check->result.exhausted |= check->result.stale;
	return true;
}
