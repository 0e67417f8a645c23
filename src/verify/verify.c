/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  apikey_verify and apikey_check: is a raw key valid, and what does it permit?
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
	RESULT_RESERVATION,
	RESULT_LIMIT_NAME,
	RESULT_LIMIT_MAX,
	RESULT_LIMIT_REMAINING,
	RESULT_LIMIT_RESETS_IN,
	RESULT_BUDGET_REMAINING,
	RESULT_NCOLUMNS
};

StaticAssertDecl(KEY_ID == 0 && KEY_NRESULT_COLUMNS <= KEY_NCOLUMNS,
				 "the first columns of a key's row are those of the result");

PG_FUNCTION_INFO_V1(apikey_verify);
PG_FUNCTION_INFO_V1(apikey_check);

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

/* Sets the seconds until a time, if there are any. */
static void
put_seconds(const AuthDecision *decision, TimestampTz at, Datum *value, bool *null)
{
	int32		seconds = authorize_seconds_until(decision, at);

	*value = Int32GetDatum(seconds);
	*null = (seconds == 0);
}

/* Sets the columns that differ from one request of a valid key to the next. */
static void
put_limits(const AuthDecision *decision, Datum *values, bool *nulls)
{
	const LimitStatus *limit = &decision->limit;
	Numeric		remaining;

	values[RESULT_RESERVATION] = UUIDPGetDatum(&decision->reservation);
	nulls[RESULT_RESERVATION] = !decision->has_reservation;
	if (limit->name != NULL)
	{
		values[RESULT_LIMIT_NAME] = CStringGetTextDatum(limit->name);
		values[RESULT_LIMIT_MAX] = NumericGetDatum(limit_status_numbers(limit, &remaining));
		values[RESULT_LIMIT_REMAINING] = NumericGetDatum(remaining);
		nulls[RESULT_LIMIT_NAME] = nulls[RESULT_LIMIT_MAX] = nulls[RESULT_LIMIT_REMAINING] = false;
		put_seconds(decision, limit->resets_at,
					&values[RESULT_LIMIT_RESETS_IN], &nulls[RESULT_LIMIT_RESETS_IN]);
	}
	if (decision->budget_remaining != NULL)
	{
		values[RESULT_BUDGET_REMAINING] = NumericGetDatum(decision->budget_remaining);
		nulls[RESULT_BUDGET_REMAINING] = false;
	}
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
	put_seconds(decision, decision->retry_at, &values[RESULT_RETRY_AFTER], &nulls[RESULT_RETRY_AFTER]);
	put_limits(decision, values, nulls);
	if (decision->key != NULL)
	{
		const KeyRow *row = &decision->key->row;

		memcpy(&values[RESULT_KEY], row->values, sizeof(Datum) * KEY_NRESULT_COLUMNS);
		memcpy(&nulls[RESULT_KEY], row->nulls, sizeof(bool) * KEY_NRESULT_COLUMNS);
	}

	return heap_form_tuple(result_tupdesc(fcinfo, type), values, nulls);
}

/* How many bytes a value has, or a few more. */
static Size
value_size(Form_pg_attribute att, Datum value)
{
	return att->attlen > 0 ? (Size) att->attlen : VARSIZE_ANY(DatumGetPointer(value));
}

/* Stores a value at data, as heap_fill_tuple() does; returns where the next one goes. */
static char *
store_value(char *data, Form_pg_attribute att, Datum value)
{
	Size		size;

	if (att->attbyval)
	{
		data = (char *) att_align_nominal(data, att->attalign);
		store_att_byval(data, value, att->attlen);
		return data + att->attlen;
	}

	if (att->attlen > 0)
	{
		Assert(att->attalign == TYPALIGN_CHAR);
		memcpy(data, DatumGetPointer(value), att->attlen);
		return data + att->attlen;
	}

	Assert(att->attlen == -1 && att->attstorage != TYPSTORAGE_PLAIN && !VARATT_IS_EXTERNAL(DatumGetPointer(value)));
	if (VARATT_CAN_MAKE_SHORT(DatumGetPointer(value)))
	{
		size = VARATT_CONVERTED_SHORT_SIZE(DatumGetPointer(value));
		SET_VARSIZE_SHORT(data, size);
		memcpy(data + 1, VARDATA(DatumGetPointer(value)), size - 1);
		return data + size;
	}
	if (!VARATT_IS_SHORT(DatumGetPointer(value)))
		data = (char *) att_align_nominal(data, att->attalign);
	size = VARSIZE_ANY(DatumGetPointer(value));
	memcpy(data, DatumGetPointer(value), size);
	return data + size;
}

/*
 * Returns a copy of a row with values in place of its nulls from RESULT_RESERVATION on.
 * heap_form_tuple() would collect each of the other columns again.
 */
static HeapTuple
extend_row(HeapTuple row, TupleDesc tupdesc, const Datum *values, const bool *nulls)
{
	Size		space = 0;
	HeapTuple	result;
	char	   *data;

	for (int i = RESULT_RESERVATION; i < RESULT_NCOLUMNS; i++)
	{
		if (!nulls[i])
			space += MAXIMUM_ALIGNOF + value_size(TupleDescAttr(tupdesc, i), values[i]);
	}

	result = palloc0(HEAPTUPLESIZE + row->t_len + space);
	*result = *row;
	result->t_data = (HeapTupleHeader) ((char *) result + HEAPTUPLESIZE);
	memcpy(result->t_data, row->t_data, row->t_len);
	data = (char *) result->t_data + row->t_len;

	for (int i = RESULT_RESERVATION; i < RESULT_NCOLUMNS; i++)
	{
		if (nulls[i])
			continue;
		Assert(att_isnull(i, result->t_data->t_bits));
		result->t_data->t_bits[i >> 3] |= 1 << (i & 7);
		data = store_value(data, TupleDescAttr(tupdesc, i), values[i]);
	}

	result->t_len = data - (char *) result->t_data;
	HeapTupleHeaderSetDatumLength(result->t_data, result->t_len);
	return result;
}

/* Adds to the row of a valid key what differs from request to request. */
static HeapTuple
add_limits(HeapTuple row, TupleDesc tupdesc, const AuthDecision *decision)
{
	Datum		values[RESULT_NCOLUMNS];
	bool		nulls[RESULT_NCOLUMNS];

	memset(nulls, true, sizeof(nulls));
	put_limits(decision, values, nulls);
	return extend_row(row, tupdesc, values, nulls);
}

/*
 * Returns the row for a valid key.  A copy is stored with a cached key, without
 * what limits say: all else is always the same.
 */
HeapTuple
verify_form_result(FunctionCallInfo fcinfo, ResultType *type, const AuthDecision *decision)
{
	CachedKey  *key = decision->key;

	Assert(decision->valid && key != NULL);
	if (!key->cached)
		return form_result(fcinfo, type, decision);

	if (key->result == NULL)
	{
		AuthDecision unlimited = *decision;
		MemoryContext old;
		HeapTuple	result;

		unlimited.has_reservation = false;
		unlimited.limit.name = NULL;
		unlimited.budget_remaining = NULL;
		result = form_result(fcinfo, type, &unlimited);
		old = MemoryContextSwitchTo(key_cache_memory());
		key->result = heap_copytuple(result);
		MemoryContextSwitchTo(old);
		pfree(result);
	}

	if (decision->limit.name != NULL || decision->has_reservation)
		return add_limits(key->result, result_tupdesc(fcinfo, type), decision);
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

/* apikey_check(raw_key text, ...): the code alone. */
Datum
apikey_check(PG_FUNCTION_ARGS)
{
	AuthDecision decision;

	authorize(fcinfo->args, &decision);
	if (decision.valid)
		authorize_record_use(&decision);

	PG_RETURN_TEXT_P(cstring_to_text(decision.code));
}
