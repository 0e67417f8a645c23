/*-------------------------------------------------------------------------
 *
 * authorize.c
 *	  Is a key valid for a request, now?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The checks are made in the order of their codes: the first that fails
 * determines the result.  Rate limits are spent by the last check, when no
 * other can reject the request, so that nothing ever has to be refunded.
 *
 * For a text that is not a key the only result is NOT_FOUND, and no other
 * argument is evaluated, since the caller's client is not authenticated yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "cache/budget_path.h"
#include "flush/flush_queue.h"
#include "live/counters.h"
#include "live/flush_problems.h"
#include "live/idle_keys.h"
#include "live/last_used.h"
#include "model/cost.h"
#include "model/idleness.h"
#include "model/permission_check.h"
#include "model/status.h"
#include "verify/authorize.h"
#include "verify/checkpoint.h"
#include "verify/lookup.h"

#define REFUSED_RETRY_MS	1000	/* in which flush workers have made space */

typedef struct Outcome
{
	Counter		counter;
	const char *code;
	const char *reason;
} Outcome;

static const Outcome not_found = {COUNT_NOT_FOUND, "NOT_FOUND", "API key not found"};
static const Outcome forbidden = {COUNT_FORBIDDEN, "FORBIDDEN", NULL};
static const Outcome insufficient = {COUNT_INSUFFICIENT_PERMISSIONS, "INSUFFICIENT_PERMISSIONS", NULL};
static const Outcome rate_limited = {COUNT_RATE_LIMITED, "RATE_LIMITED", NULL};
static const Outcome budget_exceeded = {COUNT_BUDGET_EXCEEDED, "BUDGET_EXCEEDED", NULL};

static const Outcome by_status[] = {
	[KEY_STATUS_REVOKED] = {COUNT_REVOKED, "REVOKED", "API key has been revoked"},
	[KEY_STATUS_EXPIRED] = {COUNT_EXPIRED, "EXPIRED", "API key has expired"},
	[KEY_STATUS_DISABLED] = {COUNT_DISABLED, "DISABLED", "API key is disabled"},
	[KEY_STATUS_ACTIVE] = {COUNT_VALID, "VALID", NULL},
};

StaticAssertDecl(lengthof(by_status) == KEY_STATUS_ACTIVE + 1,
				 "each status has an outcome");

/* Sets and counts the outcome; a reason of NULL stands for the outcome's own. */
static void
decide(AuthDecision *decision, const Outcome *outcome, const char *reason)
{
	Assert(decision->code == NULL);
	decision->code = outcome->code;
	decision->reason = reason != NULL ? reason : outcome->reason;
	decision->valid = (outcome->counter == COUNT_VALID);
	Assert(decision->valid == (decision->reason == NULL));
	counters_add(outcome->counter, 1);
}

/*
 * Checks the status of the key.  Uses only move the end of its idleness, so it
 * is looked up again when the one that is known has passed; that may update the
 * time.
 */
static const Outcome *
check_status(CachedKey *key, TimestampTz *now)
{
	const KeyRow *row = &key->row;

	if (*now > key->idle_end)
		key->idle_end = idle_keys_end(row, now);

	return &by_status[status_at(*now, !row->nulls[KEY_REVOKED_AT], Min(store_key_expires_at(row), key->idle_end),
								DatumGetBool(row->values[KEY_ENABLED]))];
}

/* Checks whether an active key permits the request. */
static bool
check_permissions(const NullableDatum *args, AuthDecision *decision)
{
	CachedKey  *key = decision->key;
	inet_struct client_ip;
	Request		request;
	char	   *reason;

	if (!request_read(args, &client_ip, &request) && key->row.nulls[KEY_ALLOWED_IPS])
		return true;
	if (request.client_ip != NULL)
		decision->client_ip = ip_address_pack(request.client_ip);

	key_cache_make_permission_check(key);
	reason = permission_check_client(key->permission_check, &request);
	if (reason != NULL)
	{
		decide(decision, &forbidden, reason);
		return false;
	}
	reason = permission_check_request(key->permission_check, &request);
	if (reason != NULL)
	{
		decide(decision, &insufficient, reason);
		return false;
	}

	return true;
}

/*
 * Finds the key, and checks its status and permissions.  The time is that of
 * the clock once the key is found, not the start of the transaction.  To read
 * the last use may have to wait for a lock: if keys have changed meanwhile,
 * nothing is decided, unless this is the last attempt.
 */
static bool
check_key(const NullableDatum *args, AuthDecision *decision, bool last)
{
	const Outcome *outcome = &not_found;

	memset(decision, 0, offsetof(AuthDecision, limit));
	decision->limit.name = NULL;
	if (!args[AUTHORIZE_RAW_KEY].isnull)
		decision->key = lookup_key((struct varlena *) DatumGetPointer(args[AUTHORIZE_RAW_KEY].value));
	decision->now = GetCurrentTimestamp();
	if (decision->key != NULL)
	{
		outcome = check_status(decision->key, &decision->now);
		if (decision->key->idle_end != DT_NOEND && !last && !key_cache_is_current())
			return false;
	}
	if (outcome->counter == COUNT_VALID)
		return check_permissions(args, decision);

	decide(decision, outcome, NULL);
	return false;
}

/* Has uses persisted that are newly pending, and windows stored that have changed. */
static void
persist_uses(void)
{
	flush_problems_check_launcher();
	flush_queue_wake();
}

/* ------------------------------------------------------------------ limits */

/* Copies from the result what the decision tells, except for budgets. */
static void
copy_result(const Checkpoint *check)
{
	AuthDecision *decision = check->decision;
	const LimitResult *result = &check->result;

	decision->has_reservation = result->has_reservation;
	decision->reservation = result->reservation;
	decision->use_recorded = result->use_recorded;
	decision->use_newly_pending = result->use_newly_pending || result->newly_changed;
	decision->limit = result->nearest;
	decision->retry_at = result->reason != NULL ? result->retry_at : 0;
}

/* Adds what the budgets say; true if one of them rejects the request. */
static bool
add_budgets(const Checkpoint *check, char **reason)
{
	AuthDecision *decision = check->decision;
	BudgetPathUse use = {
		.cost = check->request.cost,
		.no_room = check->result.exhausted >> 1,
		.reserved = &check->result.reserved[1],
		.frees_at = &check->result.frees_at[1],
	};
	LimitStatus budget;
	bool		exhausted;

	exhausted = budget_path_is_exhausted(&check->path, &use, reason, &budget, &decision->budget_remaining);
	if (budget.name != NULL)
	{
		decision->retry_at = Max(decision->retry_at, budget.retry_at);
		if (limit_status_is_nearer(&budget, &decision->limit))
			decision->limit = budget;
	}
	return exhausted;
}

/*
 * Checks the limits of the key's family and of its budgets, and spends them, all
 * or nothing.  A rate limit that is exceeded determines the result even if a
 * budget is exhausted; if both reject the request, it can be retried when
 * neither does.  False if nothing is decided, since keys have changed.
 */
static bool
check_limits(const NullableDatum *args, AuthDecision *decision, bool last)
{
	Checkpoint	check;
	char	   *reason = NULL;

	if (decision->key->limits == NULL && decision->key->own_limits == NULL &&
		decision->key->row.nulls[KEY_BUDGET_ID] && args[AUTHORIZE_BUDGET_ID].isnull)
	{
		(void) request_cost(&args[AUTHORIZE_COST]);
		decide(decision, &by_status[KEY_STATUS_ACTIVE], NULL);
		return true;
	}

	if (!checkpoint_pass(args, decision, &check, last))
		return false;
	if (check.refused)
	{
		decide(decision, &rate_limited, "shared memory is full of limits that are not stored yet");
		decision->retry_at = TimestampTzPlusMilliseconds(decision->now, REFUSED_RETRY_MS);
		return true;
	}

	copy_result(&check);
	if (add_budgets(&check, &reason) && check.result.reason == NULL)
		decide(decision, &budget_exceeded, reason);
	else if (check.result.reason != NULL)
		decide(decision, &rate_limited, check.result.reason);
	else
		decide(decision, &by_status[KEY_STATUS_ACTIVE], NULL);
	return true;
}

/*
 * Makes all checks.  To read the last use or the budgets, or to reclaim space,
 * may have to wait for a lock; it updates the time, since with an outdated one,
 * limits would age what others have spent (rate_limiter.c).  If keys have changed
 * meanwhile, nothing is decided, unless this is the last attempt.
 */
static bool
try_to_decide(const NullableDatum *args, AuthDecision *decision, bool last)
{
	if (!check_key(args, decision, last))
		return decision->code != NULL;
	return check_limits(args, decision, last);
}

/*
 * Decides on a request with the arguments of apikey_verify, counts the
 * outcome, and spends limits if the result is valid.  It is checked again if
 * keys have changed while it waited, but not for ever: most often it is another
 * key that has.
 */
void
authorize(const NullableDatum *args, AuthDecision *decision)
{
	int			attempts = 5;

	while (!try_to_decide(args, decision, attempts == 1))
		attempts--;
}

/*
 * Records the use of a key that was found valid; that of a derived key is one of
 * its parent, too.  This may run code that looks up keys: the decision's key is
 * invalid afterwards.
 */
void
authorize_record_use(const AuthDecision *decision)
{
	const KeyRow *row = &decision->key->row;
	pg_uuid_t	id = *DatumGetUUIDP(row->values[KEY_ID]);
	UseNote		use = decision_use_note(decision);
	bool		newly_pending = decision->use_newly_pending;

	Assert(decision->valid);
	if (!row->nulls[KEY_PARENT_ID])
	{
		pg_uuid_t	parent_id = *DatumGetUUIDP(row->values[KEY_PARENT_ID]);

		newly_pending |= last_used_record(&parent_id, decision->now, &use,
										  &decision->key->parent_use_recorded_at);
	}
	if (!decision->use_recorded)
		newly_pending |= last_used_record(&id, decision->now, &use, &decision->key->use_recorded_at);
	if (newly_pending)
		persist_uses();
}

/* Records the use of a key, given by its row, that was found valid in another way. */
void
authorize_record_use_of(const KeyRow *row, TimestampTz now)
{
	UseNote		use = {0};
	TimestampTz recorded_at = 0;

	if (!row->nulls[KEY_IDLE_TIMEOUT])
		use.max_lag = idleness_max_lag(DatumGetIntervalP(row->values[KEY_IDLE_TIMEOUT]));
	if (last_used_record(DatumGetUUIDP(row->values[KEY_ID]), now, &use, &recorded_at))
		persist_uses();
}

/*
 * Returns in how many seconds a time comes, as HTTP has it: rounded up, at
 * least 1; 0 for the times 0 and DT_NOEND.
 */
int32
authorize_seconds_until(const AuthDecision *decision, TimestampTz at)
{
	int64		seconds;

	if (at == 0 || at == DT_NOEND)
		return 0;
	seconds = at <= decision->now ? 1 : (at - decision->now + USECS_PER_SEC - 1) / USECS_PER_SEC;
	return (int32) Min(seconds, PG_INT32_MAX);
}

/*
 * Returns after how many seconds a rejected request can be retried; 0: not
 * known, or never.
 */
int32
authorize_retry_after(const AuthDecision *decision)
{
	Assert(!decision->valid);
	return authorize_seconds_until(decision, decision->retry_at);
}
