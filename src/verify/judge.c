/*-------------------------------------------------------------------------
 *
 * judge.c
 *	  Is a key good for a request, now?
 *
 * The checks stand in the order in which their codes are answered.  What is
 * limited is spent by the last one, when nothing else can refuse the request
 * any more, so that nothing ever has to be given back.
 *
 * Nothing is said of a text that is no key but that it was not found, and no
 * other argument is looked at then: whoever asks is not authenticated yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "cache/budget.h"
#include "flush/flushqueue.h"
#include "live/activity.h"
#include "live/counters.h"
#include "live/ratelimit.h"
#include "model/permit.h"
#include "model/status.h"
#include "verify/judge.h"
#include "verify/signing.h"

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

/* Settles the judgement; a reason of NULL stands for the outcome's own. */
static void
settle(Judgement *judgement, const Outcome *outcome, const char *reason)
{
	judgement->code = outcome->code;
	judgement->reason = reason != NULL ? reason : outcome->reason;
	judgement->valid = (outcome->counter == COUNT_VALID);
	counters_add(outcome->counter, 1);
}

/* Judges the key itself. */
static const Outcome *
judge_status(const KeyRow *row, TimestampTz now)
{
	TimestampTz expires_at = row->nulls[KEY_EXPIRES_AT] ? DT_NOEND : DatumGetTimestampTz(row->values[KEY_EXPIRES_AT]);

	return &by_status[status_at(now, !row->nulls[KEY_REVOKED_AT], expires_at,
								DatumGetBool(row->values[KEY_ENABLED]))];
}

/*
 * Collects what the caller says of his request; false when he says nothing.
 * Raises 22023 for a negative number of tokens.
 */
static bool
get_request(const NullableDatum *args, Request *request)
{
	bool		says = false;

	memset(request, 0, sizeof(Request));
	request->tokens = NO_TOKENS;

	for (int i = JUDGE_MODEL; i <= JUDGE_CLIENT_IP; i++)
		says |= !args[i].isnull;
	if (!says)
		return false;

	if (!args[JUDGE_MODEL].isnull)
		request->model = DatumGetTextPP(args[JUDGE_MODEL].value);
	if (!args[JUDGE_ENDPOINT].isnull)
		request->endpoint = DatumGetTextPP(args[JUDGE_ENDPOINT].value);
	if (!args[JUDGE_REQUIRED_PERMISSIONS].isnull)
		request->required_permissions = DatumGetArrayTypeP(args[JUDGE_REQUIRED_PERMISSIONS].value);
	if (!args[JUDGE_CLIENT_IP].isnull)
		request->client_ip = DatumGetInetPP(args[JUDGE_CLIENT_IP].value);
	if (!args[JUDGE_TOKENS].isnull)
	{
		request->tokens = DatumGetInt32(args[JUDGE_TOKENS].value);
		if (request->tokens < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("tokens must not be negative")));
	}

	return true;
}

/* Judges whether a key in good standing permits the request. */
static bool
judge_permissions(const NullableDatum *args, Judgement *judgement)
{
	CachedKey  *key = judgement->key;
	Request		request;
	char	   *reason;

	if (!get_request(args, &request) && key->row.nulls[KEY_ALLOWED_IPS])
		return true;

	keycache_make_permit(key);
	reason = permit_why_forbidden(key->permit, &request);
	if (reason != NULL)
	{
		settle(judgement, &forbidden, reason);
		return false;
	}
	reason = permit_what_is_missing(key->permit, &request);
	if (reason != NULL)
	{
		settle(judgement, &insufficient, reason);
		return false;
	}

	return true;
}

/*
 * Judges whether the limits of the key's line leave room.  With spend, what
 * the request takes is spent if so, a slot included.
 */
static bool
judge_limits(const NullableDatum *args, Judgement *judgement, bool spend)
{
	CachedKey  *key = judgement->key;
	RateLimitDemand demand;
	RateLimitAnswer answer;

	if (!key->limited)
		return true;

	demand.root_id = DatumGetUUIDP(key->row.values[KEY_ROOT_ID]);
	demand.id = DatumGetUUIDP(key->row.values[KEY_ID]);
	demand.limits = &key->limits;
	demand.tokens = args[JUDGE_TOKENS].isnull ? 0 : DatumGetInt32(args[JUDGE_TOKENS].value);
	demand.slot = !args[JUDGE_ACQUIRE_SLOT].isnull && DatumGetBool(args[JUDGE_ACQUIRE_SLOT].value);
	demand.spend = spend;
	ratelimit_judge(&demand, judgement->now, &answer);
	judgement->slot = answer.slot;
	judgement->use_noted = answer.use_noted;
	judgement->use_is_news = answer.use_is_news;
	if (answer.reason == NULL)
		return true;

	judgement->retry_at = answer.retry_at;
	settle(judgement, &rate_limited, answer.reason);
	return false;
}

/*
 * Judges what is counted: limits come first in the answer, but are spent
 * only when the budget is not.  When both refuse, it is worth another try
 * when neither does.  To read the budget may have taken long, so the time is
 * then another: with an old one, limits would look as after a clock that was
 * set back, and age what others have spent.
 */
static bool
judge_allowance(const NullableDatum *args, Judgement *judgement)
{
	TimestampTz retry_at;
	char	   *reason;

	if (!budget_is_spent(judgement->key, &judgement->now, &reason, &retry_at))
		return judge_limits(args, judgement, true);

	if (judge_limits(args, judgement, false))
	{
		judgement->retry_at = retry_at;
		settle(judgement, &budget_exceeded, reason);
	}
	else
		judgement->retry_at = Max(judgement->retry_at, retry_at);
	return false;
}

/*
 * Judges a request by the arguments of apikey_verify, counts the outcome, and
 * spends what a valid one takes.  Time is the wall clock once the key is
 * found, not the start of the transaction.
 */
void
judge(const NullableDatum *args, Judgement *judgement)
{
	const Outcome *outcome = &not_found;

	memset(judgement, 0, sizeof(Judgement));
	if (!args[JUDGE_RAW_KEY].isnull)
		judgement->key = signing_find((struct varlena *) DatumGetPointer(args[JUDGE_RAW_KEY].value));
	judgement->now = GetCurrentTimestamp();
	if (judgement->key != NULL)
		outcome = judge_status(&judgement->key->row, judgement->now);

	if (outcome->counter != COUNT_VALID ||
		(judge_permissions(args, judgement) && judge_allowance(args, judgement)))
		settle(judgement, outcome, NULL);
}

/*
 * Notes the use of a key that was judged valid.  This may run code that looks
 * up keys: the judgement's key is gone afterwards.
 */
void
judge_note_use(const Judgement *judgement)
{
	pg_uuid_t	id = *DatumGetUUIDP(judgement->key->row.values[KEY_ID]);
	bool		news = judgement->use_is_news;

	if (!judgement->use_noted)
		news = activity_note_use(&id, judgement->now);
	if (news)
		flushqueue_wake();
}

/*
 * Returns in how many whole seconds a request that was refused is worth
 * another try; 0: not known, or never.
 */
int64
judge_retry_after(const Judgement *judgement)
{
	if (judgement->retry_at <= judgement->now || judgement->retry_at == DT_NOEND)
		return 0;
	return (judgement->retry_at - judgement->now + USECS_PER_SEC - 1) / USECS_PER_SEC;
}
