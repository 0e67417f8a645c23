/*-------------------------------------------------------------------------
 *
 * key_lookup.c
 *	  Finds a key by its hash, with what it takes from its plan and parent.
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

#include "base/compat.h"
#include "model/key_hash.h"
#include "store/key_lookup.h"
#include "store/plans.h"
#include "store/spi.h"

/* With the key's own documents, and with those that hold for it. */
#define OWN_COLUMNS KEY_ROW("k.permissions", "k.rate_limits")
#define EFFECTIVE_COLUMNS KEY_ROW(EFFECTIVE("permissions"), EFFECTIVE("rate_limits"))

/*
 * KEY_ROW of a key k that may be derived, whose owner o is its parent: it has of
 * its own what describes it, and at most what both permit.  The parent's idleness
 * is its own.  A key of which nothing is left that it may do is disabled.
 */
#define COMMON_PERMISSIONS \
	"CASE WHEN k.parent_id IS NULL THEN " EFFECTIVE_OF("o", "permissions") \
	" ELSE apikeys_data.common_permissions(" EFFECTIVE_OF("o", "permissions") \
	" OPERATOR(pg_catalog.||) k.permissions, " EFFECTIVE_OF("o", "permissions") ") END"
#define DERIVED_COLUMNS \
	"k.id, " ROOT_OF("o") ", k.name, k.key_prefix, o.user_id, o.team_id," \
	" o.budget_id, o.external_id, COALESCE(c.permissions, k.permissions), " \
	"CASE WHEN k.parent_id IS NULL OR k.rate_limits OPERATOR(pg_catalog.=) '{}'" \
	" THEN " EFFECTIVE_OF("o", "rate_limits") \
	" ELSE apikeys_data.common_rate_limits(k.rate_limits, " EFFECTIVE_OF("o", "rate_limits") ") END," \
	" k.metadata," \
	" LEAST(k.expires_at, o.expires_at), k.description, o.allowed_ips," \
	" k.enabled AND o.enabled AND c.permissions IS NOT NULL," \
	" COALESCE(k.revoked_at, o.revoked_at)," \
	" k.rotated_at, o.plan, k.created_at, o.idle_timeout," \
	" GREATEST(o.idle_since, o.created_at), k.xmin, k.parent_id," \
	" CASE WHEN k.parent_id IS NOT NULL THEN o.key_hash END," \
	" CASE WHEN k.parent_id IS NOT NULL THEN " EFFECTIVE_OF("o", "rate_limits") " END," \
	" CASE WHEN k.parent_id IS NOT NULL THEN k.rate_limits END," \
	" CASE WHEN k.parent_id IS NOT NULL THEN o.xmin END"
#define JOIN_COMMON JOIN_OWNER \
	" CROSS JOIN LATERAL (SELECT " COMMON_PERMISSIONS " AS permissions OFFSET 0) c"

/*
 * Keys whose hash has the same start as that of a candidate.  The last two columns
 * say which candidate it is, if any: fewer conditions make a look-up cheaper.  ONLY:
 * child tables have no triggers that invalidate caches.
 */
#define FIND(columns, join, operand, type, condition) { \
	.sql = "SELECT " columns ", k.key_hash, k.hash_secret" \
	" FROM ONLY apikeys_data.key k" join \
	" WHERE " KEY_HASH_START("k.key_hash") " OPERATOR(pg_catalog.=) " operand condition, \
	STATEMENT_ARGS(type) \
}
#define FIND_KEY(columns, join, condition) FIND(columns, join, "$1", UUIDOID, condition)
#define FIND_CANDIDATES(columns, join, condition) FIND(columns, join, "ANY ($1)", UUIDARRAYOID, condition)

/* What a key is read with; each finds what those before it find. */
typedef enum LookupKind
{
	LOOKUP_ALONE,
	LOOKUP_WITH_PLAN,
	LOOKUP_WITH_OWNER			/* and the plan of that */
} LookupKind;

static Statement find_key[] = {
	[LOOKUP_ALONE] = FIND_KEY(OWN_COLUMNS, "", ""),
	[LOOKUP_WITH_PLAN] = FIND_KEY(EFFECTIVE_COLUMNS, JOIN_PLAN, " AND " HAS_ITS_PLAN),
	[LOOKUP_WITH_OWNER] = FIND_KEY(DERIVED_COLUMNS, JOIN_COMMON, " AND " HAS_ITS_PLAN_OF("o")),
};
static Statement find_candidates[] = {
	[LOOKUP_ALONE] = FIND_CANDIDATES(OWN_COLUMNS, "", ""),
	[LOOKUP_WITH_PLAN] = FIND_CANDIDATES(EFFECTIVE_COLUMNS, JOIN_PLAN, " AND " HAS_ITS_PLAN),
	[LOOKUP_WITH_OWNER] = FIND_CANDIDATES(DERIVED_COLUMNS, JOIN_COMMON, " AND " HAS_ITS_PLAN_OF("o")),
};

/* What the key that was found last needed.  So may the next. */
static LookupKind expected = LOOKUP_ALONE;

/* Returns what a candidate is found by, a uuid that lies in its hash. */
static Datum
hash_start(const KeyCandidate *candidate)
{
	Assert(VARSIZE_ANY_EXHDR(candidate->hash) == KEY_HASH_LEN);
	return UUIDPGetDatum((pg_uuid_t *) VARDATA_ANY(candidate->hash));
}

/* Returns the candidate that has a hash and a secret, or NULL; ncandidates if none has. */
static int
match_candidate(const KeyCandidate *candidates, int ncandidates, const bytea *hash, const char *secret)
{
	int			i;

	for (i = 0; i < ncandidates; i++)
	{
		const char *name = candidates[i].secret;

		if (VARSIZE_ANY_EXHDR(hash) == KEY_HASH_LEN &&
			memcmp(VARDATA_ANY(candidates[i].hash), VARDATA_ANY(hash), KEY_HASH_LEN) == 0 &&
			(name == NULL || secret == NULL ? name == secret : strcmp(name, secret) == 0))
			break;
	}
	return i;
}

/* Which candidate is a row? */
static int
candidate_of_row(const KeyCandidate *candidates, int ncandidates, const KeyRow *row)
{
	char	   *secret = row->nulls[KEY_HASH_SECRET] ? NULL : TextDatumGetCString(row->values[KEY_HASH_SECRET]);

	return match_candidate(candidates, ncandidates, DatumGetByteaPP(row->values[KEY_HASH]), secret);
}

/* Reads the rows of candidates, in one snapshot; returns how many there are. */
static uint64
read_candidates(const KeyCandidate *candidates, int ncandidates, LookupKind kind)
{
	Datum		starts[KEY_MAX_CANDIDATES];
	Datum		array;

	for (int i = 0; i < ncandidates; i++)
		starts[i] = hash_start(&candidates[i]);
	if (ncandidates == 1)
		return store_read_latest(&find_key[kind], starts, NULL);
	array = PointerGetDatum(construct_array(starts, ncandidates, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	return store_read_latest(&find_candidates[kind], &array, NULL);
}

/* Finds a key; read alone, it is as it is stored. */
static bool
find(const KeyCandidate *candidates, int ncandidates, LookupKind kind, KeyRow *row,
	 int *candidate)
{
	StoreScope	scope;
	uint64		nrows;

	store_open(&scope);
	*candidate = ncandidates;
	nrows = read_candidates(candidates, ncandidates, kind);
	for (uint64 r = 0; r < nrows; r++)
	{
		KeyRow		found;
		int			match;

		SPI_tuptable->vals[0] = SPI_tuptable->vals[r];
		store_copy_key_row(&found);
		match = candidate_of_row(candidates, ncandidates, &found);
		if (match < *candidate)
		{
			*row = found;
			*candidate = match;
		}
	}
	store_close(&scope);

	return *candidate < ncandidates;
}

/* Returns what all that holds for a key is read with. */
static LookupKind
needed_for(const KeyRow *row)
{
	if (!row->nulls[KEY_PARENT_ID])
		return LOOKUP_WITH_OWNER;
	return row->nulls[KEY_PLAN] ? LOOKUP_ALONE : LOOKUP_WITH_PLAN;
}

/*
 * Finds a key by the hashes that it may have, the plain one last, as it is
 * committed now, however old the transaction's snapshot is: a key that has been
 * revoked since must not verify.  Takes no row lock.
 *
 * The row has what holds for the key: its documents over those of its plan, and if
 * it is derived, within those of its parent.  All must be of one snapshot, so a key
 * that turns out to have a plan or a parent is read again, in a join that takes half
 * as long again, or twice.
 */
bool
store_find_key(const KeyCandidate *candidates, int ncandidates, KeyRow *row, int *candidate)
{
	LookupKind	kind = expected;

	Assert(ncandidates >= 1 && ncandidates <= KEY_MAX_CANDIDATES);

	for (;;)
	{
		LookupKind	needed;

		if (!find(candidates, ncandidates, kind, row, candidate))
			return false;
		needed = needed_for(row);
		if (needed <= kind)
		{
			expected = needed;
			return true;
		}
		heap_freetuple(row->tuple);
		row->tuple = NULL;
		kind = needed;
	}
}
