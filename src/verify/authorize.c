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
#include "cache/budget_cache.h"
#include "flush/flush_queue.h"
#include "flush/reclaim.h"
#include "live/counters.h"
#include "live/flush_problems.h"
#include "live/idle_keys.h"
#include "live/last_used.h"
#include "live/rate_limiter.h"
#include "model/permission_check.h"
#include "model/status.h"
#include "verify/authorize.h"
#include "verify/lookup.h"

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

/* Returns a model or an endpoint.  Raises 22023. */
static text *
get_subject(const char *what, Datum value)
{
	check_size(what, value, PERMISSION_SUBJECT_MAX_BYTES);
	return DatumGetTextPP(value);
}

/* Returns the required permissions.  Raises 22023. */
static ArrayType *
get_required_permissions(Datum value)
{
	ArrayType  *required;

	check_size("required_permissions", value, PERMISSION_SUBJECT_MAX_BYTES);
	required = DatumGetArrayTypeP(value);
	permission_check_required(required);
	return required;
}

/*
 * Collects the arguments that describe the request; false if all are null.
 * Raises 22023 for one that is too large, and for a negative number of tokens.
 */
static bool
get_request(const NullableDatum *args, Request *request)
{
	bool		has_any = false;

	memset(request, 0, sizeof(Request));
	request->tokens = NO_TOKENS;

	for (int i = AUTHORIZE_MODEL; i <= AUTHORIZE_CLIENT_IP; i++)
		has_any |= !args[i].isnull;
	if (!has_any)
		return false;

	if (!args[AUTHORIZE_MODEL].isnull)
		request->model = get_subject("model", args[AUTHORIZE_MODEL].value);
	if (!args[AUTHORIZE_ENDPOINT].isnull)
		request->endpoint = get_subject("endpoint", args[AUTHORIZE_ENDPOINT].value);
	if (!args[AUTHORIZE_REQUIRED_PERMISSIONS].isnull)
		request->required_permissions = get_required_permissions(args[AUTHORIZE_REQUIRED_PERMISSIONS].value);
	if (!args[AUTHORIZE_CLIENT_IP].isnull)
		request->client_ip = (struct varlena *) DatumGetPointer(args[AUTHORIZE_CLIENT_IP].value);
	if (!args[AUTHORIZE_TOKENS].isnull)
	{
		request->tokens = DatumGetInt64(args[AUTHORIZE_TOKENS].value);
		if (request->tokens < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("tokens must not be negative")));
	}

	return true;
}

/* Checks whether an active key permits the request. */
static bool
check_permissions(const NullableDatum *args, AuthDecision *decision)
{
	CachedKey  *key = decision->key;
	Request		request;
	char	   *reason;

	if (!get_request(args, &request) && key->row.nulls[KEY_ALLOWED_IPS])
		return true;

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
 * Checks limits and spends them.  If there is no space to count the request,
 * reclaims some, which takes time.  Raises 53400 if there is none.  Unless this
 * is the last attempt, leaves no_space set if keys have changed meanwhile.
 */
static void
check_and_spend(const RateLimitRequest *request, AuthDecision *decision, bool last,
				RateLimitResult *result)
{
	bool		retry = true;

	rate_limiter_check_and_spend(request, decision->now, result);
	while (result->no_space)
	{
		if (!retry)
			rate_limiter_report_no_space(ERROR);
		retry = reclaim_for(request->root_id);
		if (!last && !key_cache_is_current())
			return;
		decision->now = GetCurrentTimestamp();
		rate_limiter_check_and_spend(request, decision->now, result);
	}
}

/*
 * Checks whether the request is within the limits of the key's family.  With
 * spend, it is counted if so, and its slot acquired.  If not, the request is
 * decided, unless it has to be checked again: see check_and_spend().
 */
static bool
check_limits(const NullableDatum *args, AuthDecision *decision, bool spend, bool last)
{
	CachedKey  *key = decision->key;
	RateLimitRequest limits_request;
	RateLimitResult result;

	Assert(key != NULL);
	if (!key->limited)
		return true;

	limits_request.root_id = DatumGetUUIDP(key->row.values[KEY_ROOT_ID]);
	limits_request.id = DatumGetUUIDP(key->row.values[KEY_ID]);
	limits_request.limits = &key->limits;
	limits_request.tokens = args[AUTHORIZE_TOKENS].isnull ? 0 : DatumGetInt64(args[AUTHORIZE_TOKENS].value);
	limits_request.slot = !args[AUTHORIZE_ACQUIRE_SLOT].isnull && DatumGetBool(args[AUTHORIZE_ACQUIRE_SLOT].value);
	limits_request.use_max_lag = key->use_max_lag;
	limits_request.spend = spend;
	check_and_spend(&limits_request, decision, last, &result);
	if (result.no_space)
		return false;
	decision->slot = result.slot;
	decision->use_recorded = result.use_recorded;
	decision->use_newly_pending = result.use_newly_pending;
	decision->limit = result.nearest;
	if (result.reason == NULL)
		return true;

	decision->retry_at = result.retry_at;
	decide(decision, &rate_limited, result.reason);
	return false;
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

/*
 * Checks the limits of a key whose budget is known.  An exceeded limit
 * determines the result even if the budget is exhausted, but limits are spent
 * only if it is not.  If both reject the request, it can be retried when
 * neither does.  budget_reason is NULL if the budget is not exhausted.
 */
static void
check_limits_and_budget(const NullableDatum *args, AuthDecision *decision, bool last,
						const char *budget_reason, const LimitStatus *budget)
{
	bool		within_limits = check_limits(args, decision, budget_reason == NULL, last);

	if (budget->name != NULL)
	{
		decision->retry_at = Max(decision->retry_at, budget->retry_at);
		decision->budget_remaining = budget->remaining_cost;
		if (limit_status_is_nearer(budget, &decision->limit))
			decision->limit = *budget;
	}
	if (within_limits)
		decide(decision,
			   budget_reason != NULL ? &budget_exceeded : &by_status[KEY_STATUS_ACTIVE],
			   budget_reason);
}

/*
 * Makes all checks.  To read the budget, or to reclaim space, may have to wait
 * for a lock; it updates the time, since with an outdated one, limits would
 * age what others have spent (rate_limiter.c).  If keys have changed meanwhile,
 * nothing is decided, unless this is the last attempt.
 */
static bool
try_to_decide(const NullableDatum *args, AuthDecision *decision, bool last)
{
	LimitStatus budget;
	char	   *reason = NULL;

	if (!check_key(args, decision, last))
		return decision->code != NULL;

	budget_is_exhausted(decision->key, &decision->now, &reason, &budget);
	if (!last && !decision->key->row.nulls[KEY_BUDGET_ID] && !key_cache_is_current())
		return false;

	check_limits_and_budget(args, decision, last, reason, &budget);
	return decision->code != NULL;
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
 * Records the use of a key that was found valid.  This may run code that looks
 * up keys: the decision's key is invalid afterwards.
 */
void
authorize_record_use(const AuthDecision *decision)
{
	pg_uuid_t	id = *DatumGetUUIDP(decision->key->row.values[KEY_ID]);
	bool		newly_pending = decision->use_newly_pending;

	Assert(decision->valid);
	if (!decision->use_recorded)
		newly_pending = last_used_record(&id, decision->now, decision->key->use_max_lag);
	if (!newly_pending)
		return;
	flush_problems_check_launcher();
	flush_queue_wake();
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
