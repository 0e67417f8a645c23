/*-------------------------------------------------------------------------
 *
 * leaks.c
 *	  Which keys are in a text, and whose they are.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * To look at a key is not to use it: no last use is recorded, no outcome
 * counted, no limit spent.  What is returned has the masked form alone, and our
 * copies of the raw keys are wiped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/secure_memory.h"
#include "model/key_format.h"
#include "model/key_scan.h"
#include "store/found_keys.h"
#include "verify/lookup.h"
#include "verify/restriction.h"

/* How many characters are counted between two looks at interrupts. */
#define COUNT_STEP		(1024 * 1024)

/* The columns of apikeys_data.found_key. */
enum
{
	FOUND_KEY_PREFIX,
	FOUND_AT_CHARACTER,
	FOUND_ID,
	FOUND_STATUS,
	FOUND_NCOLUMNS
};

/* A place in a document. */
typedef struct Place
{
	Size		byte;
	int32		character;
} Place;

PG_FUNCTION_INFO_V1(apikey_identify);
PG_FUNCTION_INFO_V1(apikey_scan);

/* Finds the id of the key that a text names; false if there is none. */
static bool
find_id(struct varlena *raw_key, pg_uuid_t *id)
{
	CachedKey  *key = lookup_key(raw_key);

	if (key != NULL)
		*id = *DatumGetUUIDP(key->row.values[KEY_ID]);
	return key != NULL;
}

/* apikey_identify(raw_key text): the key's row of apikeys.info, or no row. */
Datum
apikey_identify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const pg_uuid_t *user_id = restriction_for_reading();
	pg_uuid_t	id;
	Datum		info;

	if (!PG_ARGISNULL(0) && find_id((struct varlena *) PG_GETARG_POINTER(0), &id) &&
		store_found_info(&id, user_id, &info))
		PG_RETURN_DATUM(info);

	rsinfo->isDone = ExprEndResult;
	PG_RETURN_NULL();
}

/* Moves a place on to a byte that starts a character. */
static void
advance(Place *place, const char *document, Size to)
{
	Assert(place->byte <= to);
	while (place->byte < to)
	{
		const char *character = document + place->byte;

		place->byte += IS_HIGHBIT_SET(*character) ? pg_mblen(character) : 1;
		if (++place->character % COUNT_STEP == 0)
			CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Adds the row of a key that was found, a copy of which is in raw_key.  Those of
 * others look like those that do not exist, if user_id is not NULL.
 */
static void
put_key(ReturnSetInfo *rsinfo, const pg_uuid_t *user_id, text *raw_key, const Place *place)
{
	Datum		values[FOUND_NCOLUMNS];
	bool		nulls[FOUND_NCOLUMNS] = {0};
	pg_uuid_t	id;

	Assert(rsinfo->setDesc->natts == FOUND_NCOLUMNS);

	values[FOUND_KEY_PREFIX] = CStringGetTextDatum(key_format_mask(raw_key));
	values[FOUND_AT_CHARACTER] = Int32GetDatum(place->character);
	values[FOUND_ID] = UUIDPGetDatum(&id);
	nulls[FOUND_ID] = nulls[FOUND_STATUS] =
		!find_id(raw_key, &id) || !store_found_status(&id, user_id, &values[FOUND_STATUS]);

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Adds a row for each key in a document.  Keys that overlap have a row each:
 * one of them is a key by chance.
 */
static void
put_keys(ReturnSetInfo *rsinfo, const pg_uuid_t *user_id, const char *document, Size len)
{
	MemoryContext per_key = AllocSetContextCreate(CurrentMemoryContext, "apikey_scan",
												  ALLOCSET_SMALL_SIZES);
	text	   *raw_key = secure_alloc(VARHDRSZ + RAW_KEY_MAX_LEN);
	Place		place = {0, 1};
	KeyMatch	match;

	for (Size from = 0; key_scan_find_in_steps(document, len, from, &match); from = match.key_start + 1)
	{
		MemoryContext old = MemoryContextSwitchTo(per_key);
		Size		key_len = match.key_end - match.key_start;

		advance(&place, document, match.key_start);
		SET_VARSIZE(raw_key, VARHDRSZ + key_len);
		memcpy(VARDATA(raw_key), document + match.key_start, key_len);
		put_key(rsinfo, user_id, raw_key, &place);
		MemoryContextSwitchTo(old);
		MemoryContextReset(per_key);
	}

	secure_wipe(raw_key);
	MemoryContextDelete(per_key);
}

/*
 * apikey_scan(document text): a row for each key of ours, whether it still
 * exists or not; none for null.
 */
Datum
apikey_scan(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const pg_uuid_t *user_id = restriction_for_reading();
	text	   *document;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;

	document = PG_GETARG_TEXT_PP(0);
	PG_TRY();
	{
		put_keys(rsinfo, user_id, VARDATA_ANY(document), VARSIZE_ANY_EXHDR(document));
	}
	PG_FINALLY();
	{
		if (document != (text *) PG_GETARG_POINTER(0))
			explicit_bzero(VARDATA_ANY(document), VARSIZE_ANY_EXHDR(document));
	}
	PG_END_TRY();

	return (Datum) 0;
}
