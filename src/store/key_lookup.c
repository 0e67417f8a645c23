/*-------------------------------------------------------------------------
 *
 * key_lookup.c
 *	  Finds a key by its hash, with what it takes from its plan.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "model/key_hash.h"
#include "store/key_lookup.h"
#include "store/plans.h"
#include "store/spi.h"

/* With the key's own documents, and with those that hold for it. */
#define OWN_COLUMNS KEY_ROW("k.permissions", "k.rate_limits")
#define EFFECTIVE_COLUMNS KEY_ROW(EFFECTIVE("permissions"), EFFECTIVE("rate_limits"))

/* ONLY: child tables have no triggers that invalidate caches. */
#define FIND_KEY(columns, join, condition) { \
	.sql = "SELECT " columns " FROM ONLY apikeys_data.key k" join \
	" WHERE k.key_hash OPERATOR(pg_catalog.=) $1" \
	" AND k.hash_secret IS NULL" condition, \
	STATEMENT_ARGS(BYTEAOID) \
}

/* The same for several candidates, which the last two columns identify. */
#define FIND_CANDIDATES(columns, join, condition) { \
	.sql = "SELECT " columns ", k.key_hash, k.hash_secret" \
	" FROM ONLY apikeys_data.key k" join \
	" WHERE k.key_hash OPERATOR(pg_catalog.=) ANY ($1)" condition, \
	STATEMENT_ARGS(BYTEAARRAYOID) \
}

/* Indexed by whether the key is read with its plan. */
static Statement find_key[] = {
	[false] = FIND_KEY(OWN_COLUMNS, "", ""),
	[true] = FIND_KEY(EFFECTIVE_COLUMNS, JOIN_PLAN, " AND " HAS_ITS_PLAN),
};
static Statement find_candidates[] = {
	[false] = FIND_CANDIDATES(OWN_COLUMNS, "", ""),
	[true] = FIND_CANDIDATES(EFFECTIVE_COLUMNS, JOIN_PLAN, " AND " HAS_ITS_PLAN),
};

/* Did the key that was found last have a plan?  So may the next. */
static bool expect_plan = false;

/*
 * Returns the candidate that a row of find_candidates matches in hash and
 * secret; ncandidates if none does.
 */
static int
match_candidate(HeapTuple tuple, const KeyCandidate *candidates, int ncandidates)
{
	TupleDesc	tupdesc = SPI_tuptable->tupdesc;
	bool		isnull;
	bool		plain;
	Datum		value = SPI_getbinval(tuple, tupdesc, KEY_NCOLUMNS + 1, &isnull);
	const char *hash = VARDATA_ANY(DatumGetByteaPP(value));
	const char *secret = NULL;
	int			i;

	value = SPI_getbinval(tuple, tupdesc, KEY_NCOLUMNS + 2, &plain);
	if (!plain)
		secret = TextDatumGetCString(value);

	for (i = 0; i < ncandidates; i++)
	{
		const char *name = candidates[i].secret;

		if (memcmp(VARDATA_ANY(candidates[i].hash), hash, KEY_HASH_LEN) == 0 &&
			(name == NULL || secret == NULL ? name == secret : strcmp(name, secret) == 0))
			break;
	}
	return i;
}

/*
 * Finds the first of several candidates that exists, in one snapshot.  Its row
 * becomes the first of the result.
 */
static bool
find_first_candidate(const KeyCandidate *candidates, int ncandidates, bool with_plan,
					 int *candidate)
{
	Datum		hashes[KEY_MAX_CANDIDATES];
	ArrayType  *array;
	uint64		nrows;

	for (int i = 0; i < ncandidates; i++)
	{
		Assert(VARSIZE_ANY_EXHDR(candidates[i].hash) == KEY_HASH_LEN);
		hashes[i] = PointerGetDatum(candidates[i].hash);
	}
	array = construct_array(hashes, ncandidates, BYTEAOID, -1, false, TYPALIGN_INT);
	nrows = store_read_latest(&find_candidates[with_plan], (Datum[]) {PointerGetDatum(array)}, NULL);

	*candidate = ncandidates;
	for (uint64 r = 0; r < nrows; r++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[r];
		int			match = match_candidate(tuple, candidates, ncandidates);

		if (match >= *candidate)
			continue;
		*candidate = match;
		SPI_tuptable->vals[r] = SPI_tuptable->vals[0];
		SPI_tuptable->vals[0] = tuple;
	}
	return *candidate < ncandidates;
}

/* Finds a key; without its plan, the documents are its own. */
static bool
find(const KeyCandidate *candidates, int ncandidates, bool with_plan, KeyRow *row,
	 int *candidate)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	if (ncandidates > 1)
		found = find_first_candidate(candidates, ncandidates, with_plan, candidate);
	else
	{
		*candidate = 0;
		found = store_read_latest(&find_key[with_plan],
								  (Datum[]) {PointerGetDatum(candidates[0].hash)}, NULL) > 0;
	}
	if (found)
		store_copy_key_row(row);
	store_close(&scope);

	return found;
}

/*
 * Finds a key by the hashes that it may have, the plain one last, as it is
 * committed now, however old the transaction's snapshot is: a key that has been
 * revoked since must not verify.  Takes no row lock.
 *
 * The row has the documents that hold: those of the key over those of its plan.
 * Both must be of one snapshot, so a key that turns out to have a plan is read
 * again, in a join that takes half as long again.
 */
bool
store_find_key(const KeyCandidate *candidates, int ncandidates, KeyRow *row, int *candidate)
{
	bool		found;

	Assert(ncandidates >= 1 && ncandidates <= KEY_MAX_CANDIDATES);

	found = find(candidates, ncandidates, expect_plan, row, candidate);
	if (found && !expect_plan && !row->nulls[KEY_PLAN])
	{
		heap_freetuple(row->tuple);
		row->tuple = NULL;
		found = find(candidates, ncandidates, true, row, candidate);
	}
	if (found)
		expect_plan = !row->nulls[KEY_PLAN];

	return found;
}
