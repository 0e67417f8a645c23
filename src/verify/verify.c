/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  apikey_verify: is a raw key valid, and what does it permit?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Whatever the text is, the result is one row and never an error, since the
 * text comes from a client that is not authenticated yet.  The decision is
 * made by authorize.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "verify/verify.h"

/* The columns of apikey_verify's row; the key's own start at RESULT_KEY. */
enum
{
	RESULT_VALID,
	RESULT_CODE,
	RESULT_REASON,
	RESULT_KEY,
	RESULT_RETRY_AFTER = RESULT_KEY + KEY_NRESULT_COLUMNS,
	RESULT_SLOT,
	RESULT_NCOLUMNS
};

StaticAssertDecl(KEY_ID == 0 && KEY_NRESULT_COLUMNS <= KEY_NCOLUMNS,
				 "the first columns of a key's row are those of the result");

PG_FUNCTION_INFO_V1(apikey_verify);

/* Returns the time from now until a later time. */
static Datum
time_until(TimestampTz later, TimestampTz now)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = later - now;
	return IntervalPGetDatum(interval);
}

/*
 * Returns the descriptor of the row.  It is looked up once per backend; if the
 * function is created again, it has another oid.
 */
static TupleDesc
result_tupdesc(FunctionCallInfo fcinfo, ResultType *type)
{
	if (type->function != fcinfo->flinfo->fn_oid)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		if (get_call_result_type(fcinfo, NULL, &type->tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		Assert(type->tupdesc->natts == RESULT_NCOLUMNS);
		type->tupdesc = BlessTupleDesc(type->tupdesc);
		type->function = fcinfo->flinfo->fn_oid;
		MemoryContextSwitchTo(old);
	}

	return type->tupdesc;
}

/* Makes apikey_verify's row. */
static HeapTuple
form_result(FunctionCallInfo fcinfo, ResultType *type, const AuthDecision *decision)
{
	Datum		values[RESULT_NCOLUMNS] = {0};
	bool		nulls[RESULT_NCOLUMNS];

	Assert(decision->code != NULL);
	memset(nulls, true, sizeof(nulls));
	values[RESULT_VALID] = BoolGetDatum(decision->valid);
	nulls[RESULT_VALID] = false;
	values[RESULT_CODE] = CStringGetTextDatum(decision->code);
	nulls[RESULT_CODE] = false;
	if (decision->reason != NULL)
	{
		values[RESULT_REASON] = CStringGetTextDatum(decision->reason);
		nulls[RESULT_REASON] = false;
	}
	if (decision->retry_at > decision->now && decision->retry_at != DT_NOEND)
	{
		values[RESULT_RETRY_AFTER] = time_until(decision->retry_at, decision->now);
		nulls[RESULT_RETRY_AFTER] = false;
	}
	if (decision->slot != 0)
	{
		values[RESULT_SLOT] = Int64GetDatum(decision->slot);
		nulls[RESULT_SLOT] = false;
	}
	if (decision->key != NULL)
	{
		const KeyRow *row = &decision->key->row;

		memcpy(&values[RESULT_KEY], row->values, sizeof(Datum) * KEY_NRESULT_COLUMNS);
		memcpy(&nulls[RESULT_KEY], row->nulls, sizeof(bool) * KEY_NRESULT_COLUMNS);
	}

	return heap_form_tuple(result_tupdesc(fcinfo, type), values, nulls);
}

/*
 * Returns the row for a valid key.  Without a slot it is always the same, so a
 * copy of it is stored with a cached key.
 */
HeapTuple
verify_form_result(FunctionCallInfo fcinfo, ResultType *type, const AuthDecision *decision)
{
	CachedKey  *key = decision->key;

	Assert(decision->valid && key != NULL);
	if (!key->cached || decision->slot != 0)
		return form_result(fcinfo, type, decision);

	if (key->result == NULL)
	{
		HeapTuple	result = form_result(fcinfo, type, decision);
		MemoryContext old = MemoryContextSwitchTo(key_cache_memory());

		key->result = heap_copytuple(result);
		MemoryContextSwitchTo(old);
		return result;
	}

	return heap_copytuple(key->result);
}

/* apikey_verify(raw_key text, ...): one row. */
Datum
apikey_verify(PG_FUNCTION_ARGS)
{
	static ResultType type;
	AuthDecision decision;
	HeapTuple	result;

	authorize(fcinfo->args, &decision);
	if (decision.valid)
	{
		result = verify_form_result(fcinfo, &type, &decision);
		authorize_record_use(&decision);
	}
	else
		result = form_result(fcinfo, &type, &decision);

	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}
