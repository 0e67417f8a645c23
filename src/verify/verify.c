/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  apikey_verify: the answer to an application.
 *
 * Whatever the text, the answer is one row and never an error: it is asked
 * before anybody is authenticated.  Who decides is judge.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "verify/verify.h"

/* The columns of apikey_verify's row; the key's own start at ANSWER_KEY. */
enum
{
	ANSWER_VALID,
	ANSWER_CODE,
	ANSWER_REASON,
	ANSWER_KEY,
	ANSWER_RETRY_AFTER = ANSWER_KEY + KEY_NANSWER_COLUMNS,
	ANSWER_SLOT,
	ANSWER_NCOLUMNS
};

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
 * Returns the descriptor of the row.  It is looked up once a backend; a
 * function that is made anew has a new oid.
 */
static TupleDesc
answer_tupdesc(FunctionCallInfo fcinfo, AnswerType *type)
{
	if (type->function != fcinfo->flinfo->fn_oid)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		if (get_call_result_type(fcinfo, NULL, &type->tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		type->tupdesc = BlessTupleDesc(type->tupdesc);
		type->function = fcinfo->flinfo->fn_oid;
		MemoryContextSwitchTo(old);
	}

	return type->tupdesc;
}

/* Makes apikey_verify's row. */
static HeapTuple
form_answer(FunctionCallInfo fcinfo, AnswerType *type, const Judgement *judgement)
{
	Datum		values[ANSWER_NCOLUMNS] = {0};
	bool		nulls[ANSWER_NCOLUMNS];

	memset(nulls, true, sizeof(nulls));
	values[ANSWER_VALID] = BoolGetDatum(judgement->valid);
	nulls[ANSWER_VALID] = false;
	values[ANSWER_CODE] = CStringGetTextDatum(judgement->code);
	nulls[ANSWER_CODE] = false;
	if (judgement->reason != NULL)
	{
		values[ANSWER_REASON] = CStringGetTextDatum(judgement->reason);
		nulls[ANSWER_REASON] = false;
	}
	if (judgement->retry_at > judgement->now && judgement->retry_at != DT_NOEND)
	{
		values[ANSWER_RETRY_AFTER] = time_until(judgement->retry_at, judgement->now);
		nulls[ANSWER_RETRY_AFTER] = false;
	}
	if (judgement->slot != 0)
	{
		values[ANSWER_SLOT] = Int64GetDatum(judgement->slot);
		nulls[ANSWER_SLOT] = false;
	}
	if (judgement->key != NULL)
	{
		const KeyRow *row = &judgement->key->row;

		memcpy(&values[ANSWER_KEY], row->values, sizeof(Datum) * KEY_NANSWER_COLUMNS);
		memcpy(&nulls[ANSWER_KEY], row->nulls, sizeof(bool) * KEY_NANSWER_COLUMNS);
	}

	return heap_form_tuple(answer_tupdesc(fcinfo, type), values, nulls);
}

/*
 * Returns the row that says a key is good, without a slot a copy of the one
 * that is kept with a cached key.
 */
HeapTuple
verify_valid_answer(FunctionCallInfo fcinfo, AnswerType *type, const Judgement *judgement)
{
	CachedKey  *key = judgement->key;

	if (!key->cached || judgement->slot != 0)
		return form_answer(fcinfo, type, judgement);

	if (key->answer == NULL)
	{
		HeapTuple	answer = form_answer(fcinfo, type, judgement);
		MemoryContext old = MemoryContextSwitchTo(keycache_memory());

		key->answer = heap_copytuple(answer);
		MemoryContextSwitchTo(old);
		return answer;
	}

	return heap_copytuple(key->answer);
}

/* apikey_verify(raw_key text, ...): one row. */
Datum
apikey_verify(PG_FUNCTION_ARGS)
{
	static AnswerType type;
	Judgement	judgement;
	HeapTuple	answer;

	judge(fcinfo->args, &judgement);
	if (judgement.valid)
	{
		answer = verify_valid_answer(fcinfo, &type, &judgement);
		judge_note_use(&judgement);
	}
	else
		answer = form_answer(fcinfo, &type, &judgement);

	PG_RETURN_DATUM(HeapTupleGetDatum(answer));
}
