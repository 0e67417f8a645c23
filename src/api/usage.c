/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  Records and reads the usage of keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/inet.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "api/text_argument.h"
#include "base/arguments.h"
#include "base/compat.h"
#include "cache/budget_cache.h"
#include "flush/pending_usage.h"
#include "flush/reclaim.h"
#include "live/budget_spend.h"
#include "live/last_used.h"
#include "live/limit_refund.h"
#include "live/limit_usage.h"
#include "live/rate_limiter.h"
#include "live/reservation.h"
#include "model/cost.h"
#include "model/key_config.h"
#include "model/ledger_entry.h"
#include "settings/guc.h"
#include "store/budgets.h"
#include "store/earlier_commits.h"
#include "store/usage.h"
#include "store/usage_durability.h"
#include "verify/restriction.h"

PG_FUNCTION_INFO_V1(apikey_record_usage);
PG_FUNCTION_INFO_V1(apikey_void_usage);
PG_FUNCTION_INFO_V1(apikey_usage);
PG_FUNCTION_INFO_V1(apikeys_last_use);
PG_FUNCTION_INFO_V1(apikeys_last_used_ip);
PG_FUNCTION_INFO_V1(apikeys_utc_today);

/* reclaim_for() frees one kind of space at a time: holds, what a standby may lose, entries. */
#define MAX_RECLAIMS	3

/* Reads apikey_record_usage's arguments.  Raises 22023. */
static void
read_record(FunctionCallInfo fcinfo, UsageRecord *record)
{
	require_not_null(fcinfo, 0, "id");
	require_not_null(fcinfo, 1, "tokens");
	require_not_null(fcinfo, 2, "cost");
	record->id = PG_GETARG_UUID_P(0);
	record->user_id = restriction_by_setting();
	record->tokens = PG_GETARG_INT64(1);
	record->cost = round_amount(PG_GETARG_NUMERIC(2));

	check_tokens(record->tokens);
	check_nonnegative_amount("cost", record->cost);
	record->request_id = optional_text_argument(fcinfo, 4, "request_id", LEDGER_TEXT_MAX_CHARS);
	record->model = optional_text_argument(fcinfo, 5, "model", LEDGER_TEXT_MAX_CHARS);
	record->budget_id = PG_ARGISNULL(6) ? NULL : PG_GETARG_UUID_P(6);
}

/*
 * Has a budget warn, if this cost has taken it so far.  Costs that reach that
 * point only together, as none sees the other, are found by the next
 * transaction that spends, or by the flush; and so is what a transaction spends
 * after it has had the budget warn.
 */
static void
warn_of_spending(const ChargedBudget *budget, TimestampTz now)
{
	Numeric		own = budget_spend_pending(&budget->id, budget->period);

	if (own == NULL || !budget_has_to_warn(&budget->id, own))
		return;

	(void) store_warn_budget(&budget->id, now);
	budget_spend_set_warned(&budget->id, budget->period);
	budget_forget(&budget->id);
}

/* Lets others know, at commit, what is spent of budgets. */
static void
publish_spending(const ChargedBudgets *charged, Numeric cost)
{
	if (amount_sign(cost) == 0)
		return;
	for (int i = 0; i < charged->n; i++)
		budget_spend_record(&charged->budgets[i].id, charged->budgets[i].period, cost);
}

/* Raises 22023. */
pg_noreturn static void
raise_foreign_reservation(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("reservation is held by another key")));
}

/* Raises 22023. */
pg_noreturn static void
raise_not_reserved(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("budget_id is not a budget of the reservation"),
			 errdetail("What has been reserved is settled with the budgets of apikey_verify.")));
}

/*
 * Claims the reservation of a record, which is charged to the budgets for which
 * it was reserved: keys and budgets may have moved since.  Before it is stored
 * that the record has one: others may want to settle it, too.
 */
static void
claim_reservation(const pg_uuid_t *id, Reservation *reservation, UsageRecord *record)
{
	Datum		budgets[MAX_LIMIT_OWNERS];

	reservation_find(id, reservation);
	if (reservation->nparts > 0 &&
		!reservation_claim(id, record->tokens, cost_to_billionths(record->cost, true)))
		reservation->nparts = 0;
	if (reservation->nparts == 0)
		return;

	/* The last may be a derived key: what is no budget is not charged. */
	for (int i = 1; i < reservation->nparts; i++)
		budgets[i - 1] = UUIDPGetDatum(&reservation->parts[i].owner);
	record->reserved_budgets = construct_array(budgets, reservation->nparts - 1, UUIDOID, UUID_LEN,
											   false, TYPALIGN_CHAR);
	record->reserved_at = reservation->reserved_at;
}

/* Returns the windows of an owner in which a reservation will be settled. */
static TrackedWindowSet
settled_windows(const Reservation *reservation, const pg_uuid_t *owner)
{
	for (int i = 0; i < reservation->nparts; i++)
	{
		if (memcmp(&reservation->parts[i].owner, owner, sizeof(pg_uuid_t)) == 0)
			return reservation->parts[i].windows;
	}
	return 0;
}

/* Counts in the windows of an owner what was used; warns if there is no space. */
static void
count_use(const pg_uuid_t *owner, const RateLimits *limits, const UsedAmounts *used,
		  const Reservation *reservation)
{
	TrackedWindowSet settled = settled_windows(reservation, owner);
	WindowSet	left = limit_usage_record(owner, limits, limit_usage_windows(limits, used), used, settled);

	for (int n = 0; n < MAX_RECLAIMS && left != 0 && reclaim_for(owner); n++)
		left = limit_usage_record(owner, limits, left, used, settled);
	if (left != 0)
		rate_limiter_report_no_space(WARNING);
}

/* Counts in all windows what was used, but for what the reservation settles. */
static void
count_in_windows(const pg_uuid_t *id, const Charge *charge, const UsedAmounts *used,
				 const Reservation *reservation)
{
	count_use(&charge->key.root_id, charge->key.limits, used, reservation);
	if (charge->key.own_limits != NULL)
		count_use(id, charge->key.own_limits, used, reservation);
	for (int i = 0; i < charge->charged.n; i++)
		count_use(&charge->charged.budgets[i].id, charge->charged.budgets[i].limits, used, reservation);
}

/* Returns what a record counts in windows. */
static UsedAmounts
used_amounts(const text *model, int64 tokens, Numeric cost, TimestampTz at)
{
	return (UsedAmounts){
		.model = model,
		.tokens = tokens,
		.cost = cost_to_billionths(cost, true),
		.at = at
	};
}

/* Spends what has been recorded, of limits and budgets. */
static void
spend(const UsageRecord *record, const Charge *charge, const Reservation *reservation)
{
	UsedAmounts used = used_amounts(record->model, record->tokens, record->cost, record->now);

	if (reservation->nparts > 0 &&
		memcmp(&reservation->parts[0].owner, &charge->key.root_id, sizeof(pg_uuid_t)) != 0)
		raise_foreign_reservation();
	count_in_windows(record->id, charge, &used, reservation);
	publish_spending(&charge->charged, record->cost);
	for (int i = 0; i < charge->charged.n; i++)
	{
		if (charge->charged.budgets[i].warns)
			warn_of_spending(&charge->charged.budgets[i], record->now);
	}
}

/*
 * apikey_record_usage(id uuid, tokens bigint, cost numeric, reservation uuid,
 * request_id text, model text, budget_id uuid): boolean.  Counts one request;
 * false if it has been counted already, under its request_id.  Works for revoked
 * keys: the usage may be from before.  Without a reservation windows count at
 * once, even if the transaction rolls back: the application has used it.
 */
Datum
apikey_record_usage(PG_FUNCTION_ARGS)
{
	UsageRecord record = {.now = GetCurrentTimestamp()};
	Reservation reservation = {.nparts = 0};
	Charge		charge;

	read_record(fcinfo, &record);
	if (!PG_ARGISNULL(3))
		claim_reservation(PG_GETARG_UUID_P(3), &reservation, &record);
	usage_durability_begin();
	switch (store_add_usage(&record, &charge))
	{
		case RECORD_KEY_GONE:
			raise_key_not_found(record.id);
		case RECORD_BUDGET_GONE:
			if (record.reserved_budgets != NULL)
				raise_not_reserved();
			raise_no_such_budget(record.budget_id);
		case RECORD_REPEATED:
			if (reservation.nparts > 0)
				reservation_give_up_claim();
			usage_durability_repeated();
			PG_RETURN_BOOL(false);
		case RECORD_ADDED:
			break;
	}

	spend(&record, &charge, &reservation);
	usage_durability_end();
	pending_usage_record();

	PG_RETURN_BOOL(true);
}

/* Gives back, at commit, what windows have counted. */
static void
refund(const pg_uuid_t *id, const KeyLimits *key, const VoidedUsage *voided)
{
	Numeric		cost = DatumGetNumeric(DirectFunctionCall1(numeric_uminus, NumericGetDatum(voided->cost)));
	UsedAmounts used = used_amounts(voided->model, -voided->tokens, cost, voided->counted_at);

	limit_refund_add(&key->root_id, key->limits, &used);
	limit_refund_add(id, key->own_limits, &used);
	for (int i = 0; i < voided->charged.n; i++)
		limit_refund_add(&voided->charged.budgets[i].id, voided->charged.budgets[i].limits, &used);
}

/*
 * apikey_void_usage(id uuid, request_id text): boolean.  Takes back what was
 * recorded under a request_id, where it was counted; false if that is
 * not known (any more), or was done before.  Tokens and costs are given back to
 * the windows when this is committed.
 */
Datum
apikey_void_usage(PG_FUNCTION_ARGS)
{
	TimestampTz oldest =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -INT64CONST(1000) * guc_request_id_retention);
	KeyLimits	key;
	VoidedUsage voided;
	text	   *request_id;

	require_not_null(fcinfo, 0, "id");
	request_id = text_argument(fcinfo, 1, "request_id", LEDGER_TEXT_MAX_CHARS);
	if (!store_key_limits(PG_GETARG_UUID_P(0), restriction_by_setting(), &key))
		raise_key_not_found(PG_GETARG_UUID_P(0));

	if (!store_void_usage(&key.id, request_id, oldest, &voided))
	{
		/* It may have been taken back by one who was not told. */
		store_wait_for_earlier_commits();
		PG_RETURN_BOOL(false);
	}

	refund(PG_GETARG_UUID_P(0), &key, &voided);
	publish_spending(&voided.charged, voided.cost);
	pending_usage_record();

	PG_RETURN_BOOL(true);
}

/* apikey_usage(id uuid): one row, with all usage that is committed. */
Datum
apikey_usage(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	UsageRow	row;

	require_not_null(fcinfo, 0, "id");
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	Assert(tupdesc->natts == USAGE_NCOLUMNS);
	if (!store_usage(PG_GETARG_UUID_P(0), restriction_for_reading(), &row))
		raise_key_not_found(PG_GETARG_UUID_P(0));

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  row.values, row.nulls)));
}

/* apikeys.last_use(id uuid): the last use in shared memory, or null. */
Datum
apikeys_last_use(PG_FUNCTION_ARGS)
{
	PackedAddress ip;
	TimestampTz last_use = last_used_get(PG_GETARG_UUID_P(0), &ip);

	if (last_use == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(last_use);
}

/*
 * apikeys.last_used_ip(id uuid, stored_at timestamptz, stored_ip inet): the
 * address of the latest use that has one, of that in shared memory and the one
 * stored.  A standby's own use may be older than what its primary has stored.
 */
Datum
apikeys_last_used_ip(PG_FUNCTION_ARGS)
{
	PackedAddress ip;
	TimestampTz last_use;
	bool		is_later;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();

	last_use = last_used_get(PG_GETARG_UUID_P(0), &ip);
	is_later = PG_ARGISNULL(1) || last_use >= PG_GETARG_TIMESTAMPTZ(1);
	if (ip_address_is_packed(&ip) && (is_later || PG_ARGISNULL(2)))
		PG_RETURN_INET_P(ip_address_unpack(&ip));
	if (PG_ARGISNULL(2))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(2));
}

/* apikeys.utc_today(): the day in UTC, by the wall clock. */
Datum
apikeys_utc_today(PG_FUNCTION_ARGS)
{
	/* A TimestampTz counts in UTC; division must round towards the past. */
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz days = now / USECS_PER_DAY;

	if (now % USECS_PER_DAY < 0)
		days--;
	PG_RETURN_DATEADT((DateADT) days);
}
