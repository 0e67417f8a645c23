/*-------------------------------------------------------------------------
 *
 * rate_limiter.c
 *	  Limits of keys and budgets, checked and spent in one step.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The keys of one family, a key and its successors by rotation, share the
 * entry of their root_id in the shared table; a budget has an entry as well.
 * A request is checked (limit_check.c) and spent under the exclusive locks of the
 * partitions of all of them: either it passes all limits, and
 * all of them are spent and its reservation is made, or nothing is.  What was
 * spent stays spent if the transaction is rolled back.
 *
 * What is committed of a budget is known from the ledger, outside of the locks;
 * what is reserved, under them.  A reservation ends under the lock of its budget
 * after the costs have been published (reservation.c).  So if nothing has been
 * published of a budget since its costs were read, each request is seen once, as
 * a reservation or as a cost; if something has, the costs are read again.
 *
 * Reading a window with an outdated time would age what others have spent, as
 * if the clock had been set back.  So the time is read here, right before the
 * lock is taken, except where the caller has just read it.
 *
 * Limits fail closed: if there is no shared memory, or no space in it, a key
 * with limits raises an error and is not treated as a key without limits.
 * The caller may try to reclaim space first (flush/reclaim.c).
 *
 * A transaction that has an id may have written the key or its successor,
 * which nobody else can see yet.  So the entry remembers the id, and is not
 * taken for that of a deleted key before that transaction has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"

#include "base/shmem.h"
#include "live/counters.h"
#include "live/last_used.h"
#include "live/rate_limiter.h"
#include "live/tracked_space.h"
#include "model/reservation_id.h"

/* Can limits be enforced here? */
bool
rate_limiter_available(void)
{
	return tracked_keys_attach() != NULL;
}

/*
 * Reports that shared memory has no space for an entry, a window or a
 * reservation: 53400, or a warning.
 */
void
rate_limiter_report_no_space(int elevel)
{
	counters_add(elevel >= ERROR ? COUNT_REFUSED : COUNT_DROPPED, 1);
	ereport(elevel,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("not enough shared memory to enforce the limits of this API key"),
			 shmem_preloaded()
				 ? errhint("Raise apikeys.max_tracked_keys, and restart the server.")
				 : errhint("Add \"apikeys\" to shared_preload_libraries, raise apikeys.max_tracked_keys and restart the server.")));
}

/* ---------------------------------------------- spending, under the locks */

/*
 * Makes space for what a request spends of an owner; false if there is none.
 * Windows are added even if nothing is spent yet, so that there is space when
 * tokens or costs are recorded later.
 */
static bool
make_space(LimitCheck *check, CheckedOwner *checked)
{
	bool		evicted = false;

	if (checked->matching == 0 && !check->request->reserve)
		return true;
	if (checked->entry == NULL)
	{
		checked->entry = tracked_keys_add(check->table, &checked->ref, check->now, &evicted);
		check->nevicted += evicted;
	}
	if (checked->entry == NULL)
		return false;

	checked->entry->pinned = true; /* it may be new */
	for (int i = 0; checked->matching >> i != 0; i++)
	{
		if (!(checked->matching & 1 << i) || checked->windows[i] != NULL)
			continue;
		evicted = false;
		checked->windows[i] = tracked_keys_add_window(check->table, &checked->ref, checked->entry,
													  checked->owner->limits,
													  &checked->owner->limits->windows[i],
													  check->now, &evicted);
		check->nevicted += evicted;
		if (checked->windows[i] == NULL)
			return false;
	}

	return true;
}

/* Sets whether the entries of all owners, as far as they have one, can be evicted. */
static void
pin_entries(LimitCheck *check, bool pinned)
{
	for (int i = 0; i < check->nowners; i++)
	{
		if (check->owners[i].entry != NULL)
			check->owners[i].entry->pinned = pinned;
	}
}

/*
 * Makes space for all owners; false if one has none.  What is evicted for one of
 * them must not be the entry of another.
 */
static bool
make_all_space(LimitCheck *check)
{
	int			i = 0;

	pin_entries(check, true);
	while (i < check->nowners && make_space(check, &check->owners[i]))
		i++;
	pin_entries(check, false);
	if (i < check->nowners)
		check->result->no_space_for = check->owners[i].index;
	return i == check->nowners;
}

/* Spends a request in the windows of an owner, and returns those that reserve. */
static TrackedWindowSet
spend_windows(LimitCheck *check, CheckedOwner *checked)
{
	TrackedWindowSet reserving = 0;

	for (int i = 0; checked->matching >> i != 0; i++)
	{
		TrackedWindow *window = checked->windows[i];
		int64		amount;
		int64		reserved;

		if (!(checked->matching & 1 << i))
			continue;
		amount = check->spent[window->unit];
		tracked_windows_spend(window, amount, check->now);
		/* What would be too much to add up counts as used. */
		if (check->request->reserve && window->unit != WINDOW_REQUESTS &&
			!pg_add_s64_overflow(window->reserved, amount, &reserved))
		{
			window->reserved = reserved;
			reserving |= 1 << window->number;
			/* It is not later than the reservation, also if the clock was set back. */
			window->created_at = Min(window->created_at, check->now);
		}
	}

	return reserving;
}

/* Fills in the hold of an owner. */
static void
reserve(LimitCheck *check, CheckedOwner *checked, TrackedWindowSet windows, int hold, int next)
{
	Hold	   *held = &checked->ref.pools.holds[hold];

	held->reservation = check->result->reservation;
	held->partition = checked->ref.number;
	held->owner = checked->entry - checked->ref.entries;
	held->next = next;
	held->windows = windows;
	held->of_budget = checked->owner->budget != NULL;
	held->settling = false;
	held->reserved_at = check->now;
	held->tokens = check->request->tokens;
	held->cost = check->request->cost;
	holds_add(checked->ref.pools.holds, &checked->entry->limits.holds, hold);
	check->result->reserved[checked->index] = checked->entry->limits.holds.cost;
}

/*
 * Records the use of the key in the entry of its family, if it is the key's own;
 * or that of a derived key, in its own.
 */
static void
record_use(LimitCheck *check, CheckedOwner *checked)
{
	const LimitRequest *request = check->request;
	LimitResult *result = check->result;

	if (checked->owner->budget != NULL || memcmp(request->key_id, checked->owner->id, sizeof(pg_uuid_t)) != 0)
		return;
	result->use_recorded = true;
	result->use_newly_pending = last_used_record_in_entry(checked->entry, check->now, &request->use);
}

/* An owner gets at most half of all holds: others need some. */
static bool
has_too_many_holds(const LimitCheck *check)
{
	for (int i = 0; i < check->nowners; i++)
	{
		if (check->owners[i].entry->limits.holds.count >= tracked_keys_nholds(check->table) / 2)
			return true;
	}
	return false;
}

/* Takes the holds of a reservation; false if there are not enough. */
static bool
take_holds(LimitCheck *check, int *holds)
{
	LimitResult *result = check->result;

	check->too_many_holds = has_too_many_holds(check);
	if (check->too_many_holds ||
		!holds_take(&check->table->free_holds, check->owners[0].ref.pools.holds, check->nowners, holds))
	{
		result->no_space_for = 0;
		result->lacks_holds = true;
		return false;
	}

	result->has_reservation = true;
	result->reservation = check->reservation;
	reservation_id_set_hold(&result->reservation, holds[0]);
	return true;
}

/* Spends a request of all owners, and makes its reservation; all or nothing. */
static void
spend(LimitCheck *check)
{
	TransactionId xid = GetTopTransactionIdIfAny();
	int			holds[MAX_LIMIT_OWNERS];

	if (!make_all_space(check))
		return;
	if (check->request->reserve && !take_holds(check, holds))
		return;

	for (int i = 0; i < check->nowners; i++)
	{
		CheckedOwner *checked = &check->owners[i];
		TrackedWindowSet windows;

		if (checked->entry == NULL)
			continue;
		windows = spend_windows(check, checked);
		if (check->request->reserve)
			reserve(check, checked, windows, holds[i], i + 1 < check->nowners ? holds[i + 1] : NO_HOLD);
		check->result->newly_changed |= tracked_limits_are_stored(&checked->entry->limits);
		tracked_limits_change(&checked->ref.pools, &checked->entry->limits);
		if (TransactionIdIsValid(xid))
			checked->entry->limits.xid = xid;
		record_use(check, checked);
	}
}

/* Copies what an owner has used. */
static void
copy_use(CheckedOwner *checked)
{
	const HoldList *holds = checked->entry != NULL ? &checked->entry->limits.holds : NULL;

	checked->nholds = holds != NULL ? holds->count : 0;
	checked->holds_reset_at = checked->nholds == 0 ? 0 : checked->ref.pools.holds[holds->newest].reserved_at + tracked_limits_timeout();
	for (int i = 0; checked->matching >> i != 0; i++)
	{
		if (checked->windows[i] != NULL)
			checked->used[i] = checked->windows[i]->window;
		else
			memset(&checked->used[i], 0, sizeof(Window));
	}
}

/* -------------------------------------------------------- after the locks */

/* Whose limits they are, as limit_status_name() takes it. */
static const char *
name_of(const LimitOwner *owner)
{
	return owner->is_parent ? limit_status_of_parent : owner->budget;
}

/* A limit that applies to a request: a window, or CONCURRENT. */
typedef struct AppliedLimit
{
	CheckedOwner *checked;		/* whose limit it is; NULL: there is none */
	int			index;
	LimitStatus status;			/* without a name: not described yet */
} AppliedLimit;

StaticAssertDecl(CONCURRENT < sizeof(WindowSet) * BITS_PER_BYTE, "a set of windows has room for CONCURRENT");

/* Returns the limits of an owner that apply: that of concurrent requests only if one is reserved. */
static WindowSet
applied_limits(const LimitCheck *check, const CheckedOwner *checked)
{
	const RateLimits *limits = checked->owner->limits;
	bool		is_concurrent = check->request->reserve && limits != NULL && limits->max_concurrent > 0;

	return checked->matching | (is_concurrent ? 1 << CONCURRENT : 0);
}

/* Sets what is used of a limit, and until when it rejects the request. */
static void
set_use(const LimitCheck *check, AppliedLimit *applied)
{
	CheckedOwner *checked = applied->checked;
	const RateLimits *limits = checked->owner->limits;
	const WindowLimit *limit = &limits->windows[applied->index];
	Window	   *window = &checked->used[applied->index];

	if (applied->index == CONCURRENT)
	{
		limit_status_set_number(&applied->status, limits->max_concurrent, checked->nholds);
		applied->status.retry_at = checked->holds_retry_at;
		return;
	}
	limit_status_set_window(&applied->status, limit, window, check->now);
	if (check->exceeded != NULL)
		applied->status.retry_at = window_wait(window, limit->length, limit->max,
											   check->amounts[limit->unit], check->now);
}

/* Sets the rest of the status, which takes longer, and is needed of few. */
static void
describe(const LimitCheck *check, AppliedLimit *applied)
{
	CheckedOwner *checked = applied->checked;
	const char *name = name_of(checked->owner);

	if (applied->index == CONCURRENT)
		limit_status_describe_concurrent(&applied->status, name, checked->holds_reset_at);
	else
		limit_status_describe_window(&applied->status, &checked->owner->limits->windows[applied->index], name,
									 &checked->used[applied->index], check->now);
}

/* Is a limit nearer to its end than the nearest so far, which may be none? */
static bool
is_nearer(const LimitCheck *check, AppliedLimit *applied, AppliedLimit *nearest)
{
	int			order = nearest->checked == NULL ? -1 : limit_status_compare(&applied->status, &nearest->status);

	if (order != 0)
		return order < 0;
	describe(check, applied);
	if (nearest->status.name == NULL)
		describe(check, nearest);
	return limit_status_is_nearer(&applied->status, &nearest->status);
}

/* Finds the limit that is nearest to its end, of those that apply. */
static void
find_nearest(LimitCheck *check, LimitStatus *status)
{
	AppliedLimit nearest = {0};

	for (int o = 0; o < check->nowners; o++)
	{
		for (WindowSet left = applied_limits(check, &check->owners[o]); left != 0; left &= left - 1)
		{
			AppliedLimit applied = {.checked = &check->owners[o], .index = pg_rightmost_one_pos32(left)};

			set_use(check, &applied);
			if (is_nearer(check, &applied, &nearest))
				nearest = applied;
		}
	}
	if (nearest.checked != NULL && nearest.status.name == NULL)
		describe(check, &nearest);
	*status = nearest.status;
}

/* Returns why a rate limit rejects the request. */
static char *
explain(const LimitCheck *check)
{
	const LimitOwner *owner = check->exceeded->owner;
	int			i = check->exceeded_limit;
	const char *name = limit_status_name(name_of(owner), i == CONCURRENT ? RATE_CONCURRENT_NAME : owner->limits->windows[i].name);
	const WindowLimit *limit = &owner->limits->windows[i];

	if (i == CONCURRENT)
		return psprintf("%s limit of " INT64_FORMAT " is reached", name, owner->limits->max_concurrent);
	if (limit->unit == WINDOW_COST)
		return psprintf("%s limit of %s is reached", name,
						DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(cost_from_billionths(limit->max)))));
	if (limit->unit == WINDOW_TOKENS && check->amounts[WINDOW_TOKENS] > limit->max)
		return psprintf(INT64_FORMAT " tokens are more than the %s limit of " INT64_FORMAT,
						check->amounts[WINDOW_TOKENS], name, limit->max);
	return psprintf("%s limit of " INT64_FORMAT " is reached", name, limit->max);
}

/*
 * Checks whether a request passes now, and spends it if so; tells which rate
 * limit is nearest to its end afterwards.  Without a reservation tokens and
 * cost are only checked: how many are used is known when the request is done.
 * now has to be the current time, see above.  If the result names budgets that
 * are stale, owners whose windows are not read, or one without space, nothing is
 * decided or spent.  Raises
 * 55000 if there is no shared memory, 53400 if an owner has as many
 * reservations as it can get.
 */
void
rate_limiter_check_and_spend(const LimitRequest *request, TimestampTz now, LimitResult *result)
{
	LimitCheck	check;

	limit_check_begin(&check, request, now, result);
	if (check.nowners == 0)
		return;
	if (request->reserve)
		reservation_id_generate(&check.reservation);

	limit_check_lock(&check);
	limit_check_all(&check);
	if (check.exceeded == NULL && result->exhausted == 0 && result->stale == 0 && result->unread == 0)
		spend(&check);
	for (int i = 0; i < check.nowners; i++)
		copy_use(&check.owners[i]);
	limit_check_unlock(&check);

	if (check.nevicted > 0)
		counters_add(COUNT_EVICTIONS, check.nevicted);
	if (check.too_many_holds)
		rate_limiter_report_no_space(ERROR);
	if (result->unread != 0)
		return;
	if (check.exceeded != NULL)
		result->reason = explain(&check);
	find_nearest(&check, &result->nearest);
}
