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
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/inet.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "cache/budget_cache.h"
#include "flush/pending_usage.h"
#include "flush/reclaim.h"
#include "live/budget_spend.h"
#include "live/last_used.h"
#include "live/rate_limiter.h"
#include "live/token_refund.h"
#include "model/key_config.h"
#include "model/raw_key_filter.h"
#include "settings/guc.h"
#include "store/budgets.h"
#include "store/usage.h"

#define REQUEST_ID_MAX_CHARS	255
#define MODEL_MAX_CHARS			255

PG_FUNCTION_INFO_V1(apikey_record_usage);
PG_FUNCTION_INFO_V1(apikey_void_usage);
PG_FUNCTION_INFO_V1(apikey_usage);
PG_FUNCTION_INFO_V1(apikeys_last_use);
PG_FUNCTION_INFO_V1(apikeys_last_used_ip);
PG_FUNCTION_INFO_V1(apikeys_utc_today);

/* Spends tokens from the limits of a key; warns if there is no space for it. */
static void
spend_tokens(const KeyLimits *key, int64 tokens, TimestampTz recorded_at)
{
	bool		retry = true;

	while (!rate_limiter_spend_tokens(&key->root_id, &key->limits, tokens, recorded_at))
	{
		if (!retry)
		{
			rate_limiter_report_no_space(WARNING);
			break;
		}
		retry = reclaim_for(&key->root_id);
	}
}

/*
 * Returns a text argument of 1 to max_chars characters.  Raises 22023 for
 * another, a null, or one with a raw key.
 */
static text *
text_argument(FunctionCallInfo fcinfo, int argno, const char *name, int max_chars)
{
	key_config_check_text(name, PG_GETARG_DATUM(argno), PG_ARGISNULL(argno), max_chars);
	raw_key_filter_check_text(name, PG_GETARG_TEXT_PP(argno));
	return PG_GETARG_TEXT_PP(argno);
}

/* As text_argument(), for one that may be null. */
static text *
optional_text_argument(FunctionCallInfo fcinfo, int argno, const char *name, int max_chars)
{
	return PG_ARGISNULL(argno) ? NULL : text_argument(fcinfo, argno, name, max_chars);
}

/* Reads apikey_record_usage's arguments.  Raises 22023. */
static void
read_record(FunctionCallInfo fcinfo, UsageRecord *record)
{
	require_not_null(fcinfo, 0, "id");
	require_not_null(fcinfo, 1, "tokens");
	require_not_null(fcinfo, 2, "cost");
	record->id = PG_GETARG_UUID_P(0);
	record->tokens = PG_GETARG_INT64(1);
	record->cost = round_amount(PG_GETARG_NUMERIC(2));

	if (record->tokens < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tokens must not be negative")));
	check_nonnegative_amount("cost", record->cost);
	record->request_id = optional_text_argument(fcinfo, 3, "request_id", REQUEST_ID_MAX_CHARS);
	record->model = optional_text_argument(fcinfo, 4, "model", MODEL_MAX_CHARS);
}

/*
 * Has the budget of a charge warn, if this cost has taken it so far.  Costs that
 * reach that point only together, as none sees the other, are found by the next
 * transaction that spends, or by the flush; and so is what a transaction spends
 * after it has had the budget warn.
 */
static void
warn_of_spending(const Charge *charge, TimestampTz now)
{
	const pg_uuid_t *id = &charge->key.budget_id;
	Numeric		own = budget_spend_pending(id, charge->period);

	if (own == NULL || !budget_has_to_warn(id, own))
		return;

	(void) store_warn_budget(id, now);
	budget_spend_set_warned(id, charge->period);
	budget_forget(id);
}

/*
 * apikey_record_usage(id uuid, tokens bigint, cost numeric, request_id text,
 * model text): boolean.  Counts one request; false if it has been counted
 * already, under its request_id.  Works for revoked keys: the usage may be from before.
 * Tokens are spent at once, even if the transaction rolls back: the application
 * has used them.
 */
Datum
apikey_record_usage(PG_FUNCTION_ARGS)
{
	UsageRecord record = {.now = GetCurrentTimestamp()};
	Charge		charge;

	read_record(fcinfo, &record);
	switch (store_add_usage(&record, &charge))
	{
		case RECORD_KEY_GONE:
			raise_key_not_found(record.id);
		case RECORD_REPEATED:
			PG_RETURN_BOOL(false);
		case RECORD_ADDED:
			break;
	}

	spend_tokens(&charge.key, record.tokens, record.now);
	if (charge.key.has_budget)
		budget_spend_record(&charge.key.budget_id, charge.period, record.cost);
	if (charge.key.has_budget && charge.warns)
		warn_of_spending(&charge, record.now);
	pending_usage_record();

	PG_RETURN_BOOL(true);
}

/*
 * apikey_void_usage(id uuid, request_id text): boolean.  Takes back what was
 * recorded under a request_id, where it was counted; false if that is
 * not known (any more), or was done before.  Tokens are given back to the
 * windows when this is committed.
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
	request_id = text_argument(fcinfo, 1, "request_id", REQUEST_ID_MAX_CHARS);
	if (!store_key_limits(PG_GETARG_UUID_P(0), &key))
		raise_key_not_found(PG_GETARG_UUID_P(0));

	if (!store_void_usage(PG_GETARG_UUID_P(0), request_id, oldest, &voided))
		PG_RETURN_BOOL(false);

	if (voided.tokens != 0)
		token_refund_add(&key.root_id, -voided.tokens, voided.recorded_at);
	if (voided.has_budget)
		budget_spend_record(&voided.budget_id, voided.period, voided.cost);
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
	if (!store_usage(PG_GETARG_UUID_P(0), &row))
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
