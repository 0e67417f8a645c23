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
#include "keycache.h"
#include "keyhash.h"
#include "permit.h"
#include "ratelimit.h"
#include "status.h"

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
	TimestampTz retry_at;		/* 0: not known, or never */
} Verdict;

static const Verdict not_found = {COUNT_NOT_FOUND, "NOT_FOUND", "API key not found", 0};

static const Verdict verdicts[] = {
	[KEY_STATUS_REVOKED] = {COUNT_REVOKED, "REVOKED", "API key has been revoked", 0},
	[KEY_STATUS_EXPIRED] = {COUNT_EXPIRED, "EXPIRED", "API key has expired", 0},
	[KEY_STATUS_DISABLED] = {COUNT_DISABLED, "DISABLED", "API key is disabled", 0},
	[KEY_STATUS_ACTIVE] = {COUNT_VALID, "VALID", NULL, 0},
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
 * Finds the key that a text names, or NULL.  A toasted text is measured
 * before it is unpacked, and our copy of it is wiped.
 */
static CachedKey *
find_key(struct varlena *raw_key)
{
	Size		len = toast_raw_datum_size(PointerGetDatum(raw_key)) - VARHDRSZ;
	text	   *plain;
	bytea	   *hash = NULL;

	if (len < 1 || len > KEY_TEXT_MAX_LEN)
		return NULL;

	plain = (text *) pg_detoast_datum_packed(raw_key);
	PG_TRY();
	{
		if (is_printable(plain))
			hash = keyhash_compute(plain);
	}
	PG_FINALLY();
	{
		if (plain != (text *) raw_key)
			explicit_bzero(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
	}
	PG_END_TRY();

	return hash != NULL ? keycache_find(hash) : NULL;
}

/* Judges the key itself. */
static const Verdict *
judge_status(const KeyRow *row, TimestampTz now)
{
	TimestampTz expires_at = row->nulls[KEY_EXPIRES_AT] ? DT_NOEND : DatumGetTimestampTz(row->values[KEY_EXPIRES_AT]);

	return &verdicts[status_at(now, !row->nulls[KEY_REVOKED_AT], expires_at,
							   DatumGetBool(row->values[KEY_ENABLED]))];
}

/* Collects what the caller says of his request; false when he says nothing. */
static bool
get_request(FunctionCallInfo fcinfo, Request *request)
{
	memset(request, 0, sizeof(Request));
	request->tokens = NO_TOKENS;

	if (PG_ARGISNULL(1) && PG_ARGISNULL(2) && PG_ARGISNULL(3) &&
		PG_ARGISNULL(4) && PG_ARGISNULL(5))
		return false;

	if (!PG_ARGISNULL(1))
		request->model = PG_GETARG_TEXT_PP(1);
	if (!PG_ARGISNULL(2))
		request->endpoint = PG_GETARG_TEXT_PP(2);
	if (!PG_ARGISNULL(3))
		request->required_permissions = PG_GETARG_ARRAYTYPE_P(3);
	if (!PG_ARGISNULL(4))
		request->tokens = PG_GETARG_INT32(4);
	if (!PG_ARGISNULL(5))
		request->client_ip = PG_GETARG_INET_PP(5);

	if (!PG_ARGISNULL(4) && request->tokens < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tokens must not be negative")));

	return true;
}

/* Judges whether a key in good standing permits the request. */
static const Verdict *
judge_request(FunctionCallInfo fcinfo, CachedKey *key)
{
	static Verdict denied;
	Request		request;
	bool		asks = get_request(fcinfo, &request);

	if (asks || !key->row.nulls[KEY_ALLOWED_IPS])
	{
		keycache_parse_policy(key);

		denied.counter = COUNT_FORBIDDEN;
		denied.code = "FORBIDDEN";
		denied.reason = permit_why_forbidden(key->allowed_ips, &request);
		if (denied.reason != NULL)
			return &denied;

		denied.counter = COUNT_INSUFFICIENT_PERMISSIONS;
		denied.code = "INSUFFICIENT_PERMISSIONS";
		denied.reason = permit_what_is_missing(&key->permissions, &request);
		if (denied.reason != NULL)
			return &denied;
	}

	return &verdicts[KEY_STATUS_ACTIVE];
}

/*
 * Judges whether the limits of the key's line leave room, and spends what
 * the request takes, a slot included.  The last to judge: of a request that
 * is refused nothing has to be given back.
 */
static const Verdict *
judge_limits(FunctionCallInfo fcinfo, CachedKey *key, TimestampTz now, int64 *slot)
{
	static Verdict limited = {COUNT_RATE_LIMITED, "RATE_LIMITED", NULL, 0};
	RateLimitDemand demand;
	RateLimitAnswer answer;

	demand.tokens = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4);
	demand.slot = !PG_ARGISNULL(6) && PG_GETARG_BOOL(6);
	demand.spend = true;
	ratelimit_judge(DatumGetUUIDP(key->row.values[KEY_ROOT_ID]), &key->limits, &demand,
					now, &answer);
	*slot = answer.slot;
	if (answer.reason == NULL)
		return &verdicts[KEY_STATUS_ACTIVE];

	limited.reason = answer.reason;
	limited.retry_at = answer.retry_at == DT_NOEND ? 0 : answer.retry_at;
	return &limited;
}

/*
 * Returns the descriptor of apikey_verify's row.  It is looked up once a
 * backend; a function that is made anew has a new oid.
 */
static TupleDesc
answer_tupdesc(FunctionCallInfo fcinfo)
{
	static TupleDesc tupdesc = NULL;
	static Oid	function = InvalidOid;

	if (function != fcinfo->flinfo->fn_oid)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		tupdesc = BlessTupleDesc(tupdesc);
		function = fcinfo->flinfo->fn_oid;
		MemoryContextSwitchTo(old);
	}

	return tupdesc;
}

/* Makes apikey_verify's row; row is NULL when no key was found, slot 0 for none. */
static HeapTuple
form_answer(FunctionCallInfo fcinfo, const Verdict *verdict, const KeyRow *row,
			int64 slot, TimestampTz now)
{
	Datum		values[ANSWER_NCOLUMNS] = {0};
	bool		nulls[ANSWER_NCOLUMNS];

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
	if (verdict->retry_at != 0)
	{
		values[ANSWER_RETRY_AFTER] =
			DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(verdict->retry_at),
								TimestampTzGetDatum(now));
		nulls[ANSWER_RETRY_AFTER] = false;
	}
	if (slot != 0)
	{
		values[ANSWER_SLOT] = Int64GetDatum(slot);
		nulls[ANSWER_SLOT] = false;
	}
	if (row != NULL)
	{
		memcpy(&values[ANSWER_KEY], row->values, sizeof(Datum) * KEY_NANSWER_COLUMNS);
		memcpy(&nulls[ANSWER_KEY], row->nulls, sizeof(bool) * KEY_NANSWER_COLUMNS);
	}

	return heap_form_tuple(answer_tupdesc(fcinfo), values, nulls);
}

/*
 * Returns the row that says a key is good, without a slot a copy of the one
 * that is kept with a cached key.
 */
static HeapTuple
valid_answer(FunctionCallInfo fcinfo, const Verdict *verdict, CachedKey *key,
			 int64 slot, TimestampTz now)
{
	if (!key->cached || slot != 0)
		return form_answer(fcinfo, verdict, &key->row, slot, now);

	if (key->answer == NULL)
	{
		HeapTuple	answer = form_answer(fcinfo, verdict, &key->row, 0, now);
		MemoryContext old = MemoryContextSwitchTo(keycache_memory());

		key->answer = heap_copytuple(answer);
		MemoryContextSwitchTo(old);
		return answer;
	}

	return heap_copytuple(key->answer);
}

/*
 * apikey_verify(raw_key text, ...): one row.  Time is the wall clock once the
 * key is found, not the start of the transaction.
 */
Datum
apikey_verify(PG_FUNCTION_ARGS)
{
	TimestampTz now;
	const Verdict *verdict = &not_found;
	CachedKey  *key = NULL;
	int64		slot = 0;
	HeapTuple	answer;

	if (!PG_ARGISNULL(0))
		key = find_key((struct varlena *) DatumGetPointer(PG_GETARG_DATUM(0)));
	now = GetCurrentTimestamp();
	if (key != NULL)
		verdict = judge_status(&key->row, now);
	if (verdict->reason == NULL)
		verdict = judge_request(fcinfo, key);
	if (verdict->reason == NULL && key->limited)
		verdict = judge_limits(fcinfo, key, now, &slot);

	counters_add(verdict->counter, 1);
	if (verdict->reason == NULL)
	{
		pg_uuid_t	id = *DatumGetUUIDP(key->row.values[KEY_ID]);

		/* Noting a use may run code that looks up keys: key is gone then. */
		answer = valid_answer(fcinfo, verdict, key, slot, now);
		if (activity_note_use(&id, now))
			flushqueue_wake();
	}
	else
		answer = form_answer(fcinfo, verdict, key != NULL ? &key->row : NULL, 0, now);

	PG_RETURN_DATUM(HeapTupleGetDatum(answer));
}
