/*-------------------------------------------------------------------------
 *
 * new_key.c
 *	  Makes a raw key, and returns it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "api/new_key.h"
#include "base/secure_memory.h"
#include "model/key_format.h"
#include "verify/hash_new_key.h"

/*
 * A new id, of version 4: all of it is random, but for six bits.  Not one that begins
 * with the time: clean-up looks for orphans from a random id on, so each has its turn
 * (store/usage_deletion.c).
 */
pg_uuid_t *
new_key_id(void)
{
	return DatumGetUUIDP(DirectFunctionCall1(gen_random_uuid, (Datum) 0));
}

/*
 * Generates a raw key, and what is stored of it.  The raw key is in secure
 * memory of the current context: wiped with it after an error, else by the
 * caller.
 */
text *
new_key_make(const char *prefix, TimestampTz now, NewKey *key)
{
	text	   *raw_key = key_format_compose(prefix);

	key->id = new_key_id();
	hash_new_key(raw_key, key);
	key->key_prefix = key_format_mask(raw_key);
	key->created_at = now;

	return raw_key;
}

/*
 * Returns the row (id, raw_key).  Wipes all copies of the raw key but the one
 * in the row, which is wiped with the current memory context.
 */
Datum
new_key_form_result(FunctionCallInfo fcinfo, const pg_uuid_t *id, text *raw_key)
{
	TupleDesc	tupdesc;
	HeapTuple	tuple;
	void	   *result;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	Assert(tupdesc->natts == 2);

	tuple = heap_form_tuple(BlessTupleDesc(tupdesc),
							(Datum[]) {UUIDPGetDatum(id), PointerGetDatum(raw_key)},
							(bool[]) {false, false});
	secure_wipe(raw_key);

	result = secure_alloc(tuple->t_len);
	memcpy(result, tuple->t_data, tuple->t_len);
	explicit_bzero(tuple->t_data, tuple->t_len);

	return PointerGetDatum(result);
}
