/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  apikey_verify: is this key good, now?
 *
 * Whatever the text, the answer is one row and never an error: it is asked
 * before anybody is authenticated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity.h"
#include "compat.h"
#include "counters.h"
#include "flushqueue.h"
#include "keyhash.h"
#include "secret.h"
#include "status.h"
#include "store.h"

/* Longer texts are no keys, our own or imported, and are not even read. */
#define KEY_TEXT_MAX_LEN	256

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

typedef struct Verdict
{
	Counter		counter;
	const char *code;
	const char *reason;			/* NULL: valid */
} Verdict;

static const Verdict not_found = {COUNT_NOT_FOUND, "NOT_FOUND", "API key not found"};

static const Verdict verdicts[] = {
	[KEY_STATUS_REVOKED] = {COUNT_REVOKED, "REVOKED", "API key has been revoked"},
	[KEY_STATUS_EXPIRED] = {COUNT_EXPIRED, "EXPIRED", "API key has expired"},
	[KEY_STATUS_DISABLED] = {COUNT_DISABLED, "DISABLED", "API key is disabled"},
	[KEY_STATUS_ACTIVE] = {COUNT_VALID, "VALID", NULL},
};

PG_FUNCTION_INFO_V1(apikey_verify);

/* Does a text consist of printable ASCII, as every key does? */
static bool
is_printable(const text *txt)
{
	const char *data = VARDATA_ANY(txt);
	int			len = VARSIZE_ANY_EXHDR(txt);

	for (int i = 0; i < len; i++)
	{
		if (data[i] < ' ' || data[i] > '~')
			return false;
	}

	return true;
}

/*
 * Finds the key that a text names.  A toasted text is measured before it is
 * unpacked, and our copy of it is wiped.
 */
static bool
find_key(struct varlena *raw_key, KeyRow *row)
{
	Size		len = toast_raw_datum_size(PointerGetDatum(raw_key)) - VARHDRSZ;
	text	   *plain;
	bytea	   *hash = NULL;

	if (len < 1 || len > KEY_TEXT_MAX_LEN)
		return false;

	plain = (text *) pg_detoast_datum_packed(raw_key);
	if (is_printable(plain))
		hash = keyhash_compute(plain);
	if (plain != (text *) raw_key)
		explicit_bzero(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));

	return hash != NULL && store_find_key(hash, row);
}

static const Verdict *
judge(const KeyRow *row, TimestampTz now)
{
	TimestampTz expires_at = row->nulls[KEY_EXPIRES_AT] ? DT_NOEND : DatumGetTimestampTz(row->values[KEY_EXPIRES_AT]);

	return &verdicts[status_at(now, !row->nulls[KEY_REVOKED_AT], expires_at,
							   DatumGetBool(row->values[KEY_ENABLED]))];
}

/* Returns apikey_verify's row; key is NULL when none was found. */
static Datum
form_answer(FunctionCallInfo fcinfo, const Verdict *verdict, const KeyRow *key)
{
	TupleDesc	tupdesc;
	Datum		values[ANSWER_NCOLUMNS] = {0};
	bool		nulls[ANSWER_NCOLUMNS];

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	memset(nulls, true, sizeof(nulls));
	values[ANSWER_VALID] = BoolGetDatum(verdict->reason == NULL);
	nulls[ANSWER_VALID] = false;
	values[ANSWER_CODE] = CStringGetTextDatum(verdict->code);
	nulls[ANSWER_CODE] = false;
	if (verdict->reason != NULL)
	{
		values[ANSWER_REASON] = CStringGetTextDatum(verdict->reason);
		nulls[ANSWER_REASON] = false;
	}
	if (key != NULL)
	{
		memcpy(&values[ANSWER_KEY], key->values, sizeof(Datum) * KEY_NANSWER_COLUMNS);
		memcpy(&nulls[ANSWER_KEY], key->nulls, sizeof(bool) * KEY_NANSWER_COLUMNS);
	}

	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}

/*
 * apikey_verify(raw_key text, ...): one row.  Time is the wall clock at the
 * call, not the start of the transaction.
 */
Datum
apikey_verify(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	const Verdict *verdict = &not_found;
	KeyRow		key;
	bool		found;

	found = !PG_ARGISNULL(0) &&
			find_key((struct varlena *) DatumGetPointer(PG_GETARG_DATUM(0)), &key);
	if (found)
		verdict = judge(&key, now);

	counters_add(verdict->counter, 1);
	if (verdict->reason == NULL &&
		activity_note_use(DatumGetUUIDP(key.values[KEY_ID]), now))
		flushqueue_wake();

	return form_answer(fcinfo, verdict, found ? &key : NULL);
}
