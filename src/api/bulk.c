/*-------------------------------------------------------------------------
 *
 * bulk.c
 *	  Makes many keys: generates or imports them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Keys are made in batches, each by one statement, so that but the result grows
 * with their number.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "api/key_arguments.h"
#include "api/key_references.h"
#include "api/new_key.h"
#include "api/notices.h"
#include "base/arguments.h"
#include "base/compat.h"
#include "base/progress.h"
#include "store/catalog.h"
#include "store/new_keys.h"
#include "verify/own_key.h"

#define MAX_KEYS		1000000
#define BATCH_SIZE		10000

/* A call that makes keys. */
typedef struct Making
{
	TimestampTz now;
	KeyConfig	config;
	bool		imported;
	ReturnSetInfo *result;
	MemoryContext per_batch;
	bool		reports;		/* does it report its progress? */
	pg_uuid_t	last_id;
} Making;

PG_FUNCTION_INFO_V1(apikey_generate_many);
PG_FUNCTION_INFO_V1(apikey_import_many);

/* Has the result in memory whatever its size: raw keys are not to be in temporary files. */
static void
keep_result_in_memory(ReturnSetInfo *rsinfo)
{
	MemoryContext old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);

	tuplestore_end(rsinfo->setResult);
	rsinfo->setResult = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0, false,
											  MAX_KILOBYTES);
	MemoryContextSwitchTo(old);
}

static void
start_making(Making *making, FunctionCallInfo fcinfo, bool imported)
{
	InitMaterializedSRF(fcinfo, 0);
	making->now = GetCurrentTimestamp();
	making->imported = imported;
	making->result = (ReturnSetInfo *) fcinfo->resultinfo;
	making->per_batch = AllocSetContextCreate(CurrentMemoryContext, "apikeys batch", ALLOCSET_DEFAULT_SIZES);
	making->reports = progress_start(store_relation_oid("key"));
}

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(*(pg_uuid_t *const *) a, *(pg_uuid_t *const *) b, UUID_LEN);
}

/*
 * Has n keys stand in the order of their ids, which are random: then neighbours go
 * to the same page of an index, and else they would go anywhere.
 */
static void
sort_ids(NewKey *keys, int n)
{
	pg_uuid_t **ids = palloc(n * sizeof(pg_uuid_t *));

	for (int i = 0; i < n; i++)
		ids[i] = keys[i].id;
	qsort(ids, n, sizeof(pg_uuid_t *), compare_ids);
	for (int i = 0; i < n; i++)
		keys[i].id = ids[i];
	pfree(ids);
}

/* Stores a batch of keys, which are from number first on of the call.  Raises 23505. */
static void
store_batch(Making *making, const NewKeys *new, int first)
{
	int			conflict;
	ArrayType  *ids = store_insert_keys(new, making->imported, &making->config, making->now, &conflict);

	if (ids == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("an API key with this hash exists already"),
				 errdetail("It is element %d of key_hashes.", first + conflict + 1)));
	notices_plan(ids, &making->config);
	making->last_id = *new->keys[new->n - 1].id;
	if (making->reports)
		progress_report(first + new->n);
}

/* Adds (id, value) to the result. */
static void
put_row(const Making *making, const pg_uuid_t *id, void *value)
{
	tuplestore_putvalues(making->result->setResult, making->result->setDesc,
						 (Datum[]) {UUIDPGetDatum(id), PointerGetDatum(value)},
						 (bool[]) {false, false});
}

static Datum
end_making(Making *making)
{
	MemoryContextDelete(making->per_batch);
	if (making->reports)
		progress_end();
	key_arguments_warn_of_limits(&making->last_id);

	return (Datum) 0;
}

/* Raises 22023 unless so many keys may be made by one call. */
static void
check_count(const char *what, int64 count)
{
	if (count < 1 || count > MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be from 1 to %d", what, MAX_KEYS)));
}

/* Generates n keys, from number first on of the call. */
static void
generate_batch(Making *making, const char *prefix, int first, int n)
{
	NewKey	   *keys = palloc(n * sizeof(NewKey));
	text	  **raw_keys = palloc(n * sizeof(text *));

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		raw_keys[i] = new_key_make(prefix, making->now, &keys[i]);
	}
	sort_ids(keys, n);
	store_batch(making, &(NewKeys){.keys = keys, .n = n}, first);
	for (int i = 0; i < n; i++)
		put_row(making, keys[i].id, raw_keys[i]);
}

/*
 * apikey_generate_many(count integer, ...): rows (id, raw_key).  The arguments
 * after count are those of apikey_generate.
 */
Datum
apikey_generate_many(PG_FUNCTION_ARGS)
{
	Making		making;
	int			count;
	char	   *prefix;

	Assert(PG_NARGS() == 1 + GENERATE_NARGS);

	require_not_null(fcinfo, 0, "count");
	count = PG_GETARG_INT32(0);
	check_count("count", count);
	start_making(&making, fcinfo, false);
	keep_result_in_memory(making.result);

	prefix = key_arguments_generated(fcinfo, 1, count, &making.config, making.now);
	for (int first = 0; first < count; first += BATCH_SIZE)
	{
		MemoryContext old = MemoryContextSwitchTo(making.per_batch);

		generate_batch(&making, prefix, first, Min(BATCH_SIZE, count - first));
		MemoryContextSwitchTo(old);
		MemoryContextReset(making.per_batch);
	}

	return end_making(&making);
}

/* What is imported: arrays with an element for each key. */
typedef struct Imports
{
	Datum	   *hashes;
	Datum	   *names;
	Datum	   *prefixes;
	int			n;
} Imports;

/* Reads an array argument of n elements, or with n = -1 of 1 to MAX_KEYS.  Raises 22023. */
static Datum *
array_argument(FunctionCallInfo fcinfo, int argno, const char *name, int *n)
{
	ArrayType  *array;
	Datum	   *elements;
	int			nelements;

	require_not_null(fcinfo, argno, name);
	array = PG_GETARG_ARRAYTYPE_P(argno);
	nelements = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (*n == -1)
		check_count(psprintf("the number of %s", name), nelements);
	if (ARR_NDIM(array) != 1 || ARR_HASNULL(array) || (*n != -1 && nelements != *n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_hashes, names and key_prefixes must be arrays of one dimension and the same length, without nulls")));

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT, &elements, NULL, n);
	return elements;
}

/* Imports n keys, from number first on of the call. */
static void
import_batch(Making *making, const NewKey *common, const Imports *imports, OwnKeyTexts *texts,
			 int first, int n)
{
	NewKey	   *keys = palloc(n * sizeof(NewKey));

	for (int i = 0; i < n; i++)
	{
		Datum		name = imports->names[first + i];
		Datum		prefix = imports->prefixes[first + i];
		OwnKeyTexts *own = own_key_texts_make();
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		key_config_check_hash(imports->hashes[first + i]);
		key_config_check_masked(prefix);
		key_config_check_value(CONFIG_NAME, &name, &isnull);
		keys[i] = *common;
		keys[i].id = new_key_id();
		keys[i].hash = DatumGetByteaPP(imports->hashes[first + i]);
		keys[i].key_prefix = TextDatumGetCString(prefix);
		own_key_add_words(own, "name", DatumGetTextPP(name));
		own_key_add_text(own, "key_prefix", DatumGetTextPP(prefix));
		own_key_check(own, keys[i].hash);
		own_key_check(texts, keys[i].hash);
	}
	sort_ids(keys, n);
	store_batch(making, &(NewKeys){.keys = keys, .names = imports->names + first, .n = n}, first);
	for (int i = 0; i < n; i++)
		put_row(making, keys[i].id, keys[i].hash);
}

/*
 * apikey_import_many(key_hashes bytea[], names text[], key_prefixes text[], ...):
 * rows (id, key_hash).  The other arguments are those of apikey_import, from
 * description on.
 */
Datum
apikey_import_many(PG_FUNCTION_ARGS)
{
	Making		making;
	Imports		imports = {.n = -1};
	NewKey		common;
	OwnKeyTexts *texts = own_key_texts_make();

	Assert(PG_NARGS() == 3 + IMPORT_NARGS);

	imports.hashes = array_argument(fcinfo, 0, "key_hashes", &imports.n);
	imports.names = array_argument(fcinfo, 1, "names", &imports.n);
	imports.prefixes = array_argument(fcinfo, 2, "key_prefixes", &imports.n);
	start_making(&making, fcinfo, true);

	making.config.values[CONFIG_NAME] = imports.names[0];
	making.config.nulls[CONFIG_NAME] = false;
	key_arguments_imported(fcinfo, 3, &common, &making.config, making.now);
	if (common.hash_secret != NULL)
		own_key_add_text(texts, "hash_secret", common.hash_secret);
	own_key_add_config(texts, &making.config);
	key_references_lock(&making.config, NULL);
	for (int first = 0; first < imports.n; first += BATCH_SIZE)
	{
		MemoryContext old = MemoryContextSwitchTo(making.per_batch);

		import_batch(&making, &common, &imports, texts, first, Min(BATCH_SIZE, imports.n - first));
		MemoryContextSwitchTo(old);
		MemoryContextReset(making.per_batch);
	}

	return end_making(&making);
}
