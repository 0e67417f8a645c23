/*-------------------------------------------------------------------------
 *
 * key_batches.c
 *	  The statements that change many keys, with their events.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A cursor finds the keys and locks them, a batch at a time, and skips those
 * that others have locked.  One statement changes a batch and writes its
 * events.  So memory does not grow with the number of keys, and a cursor passes
 * each row once, where a query for the next ones would pass all that have been
 * changed before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "base/progress.h"
#include "store/batch_write.h"
#include "store/bulk.h"
#include "store/catalog.h"
#include "store/key_batches.h"
#include "store/lock_wait.h"
#include "store/notices.h"
#include "store/spi.h"
#include "store/usage_deletion.h"

#define BATCH_SIZE	10000

/* Lives in the context in which the search was begun. */
struct KeySearch
{
	Portal		portal;
	int64		nfound;			/* so far */
	bool		reports;		/* is it what the backend reports progress of? */
};

/* Keys that are locked are left to the next clean-up. */
static Statement lock_expired = {
	.sql = "SELECT k.ctid, k.id FROM ONLY apikeys_data.key k"
		   " WHERE (" EXPIRES_BEFORE("$1") " OR (k.idle_timeout IS NOT NULL AND " KEY_ENDS_AT " OPERATOR(pg_catalog.<) $1))" OF_USER("k") " FOR UPDATE SKIP LOCKED",
	STATEMENT_ARGS(TIMESTAMPTZOID, UUIDOID)
};

/* Those that are derived from some keys and are not found by the statement above. */
static Statement lock_derived = {
	.sql = "SELECT k.ctid, k.id FROM ONLY apikeys_data.key k"
	" WHERE k.parent_id OPERATOR(pg_catalog.=) ANY ($1)"
	" AND COALESCE(k.expires_at OPERATOR(pg_catalog.>=) $2, true) FOR UPDATE SKIP LOCKED",
	STATEMENT_ARGS(UUIDARRAYOID, TIMESTAMPTZOID)
};

/* The keys k of a group, as group_values() has it; $1 is the id of one, or null. */
#define IN_GROUP \
	" AND ($3 IS NULL OR k.user_id OPERATOR(pg_catalog.=) $3)" \
	" AND ($4 IS NULL OR k.team_id OPERATOR(pg_catalog.=) $4)" \
	" AND ($5 IS NULL OR k.budget_id OPERATOR(pg_catalog.=) $5)" \
	" AND ($6 IS NULL OR k.plan OPERATOR(pg_catalog.=) $6)" \
	" AND k.revoked_at IS NULL" OF_USER("k")
#define GROUP_TYPES UUIDOID, UUIDOID, UUIDOID, UUIDOID, UUIDOID, TEXTOID
#define GROUP_ARGS STATEMENT_ARGS(GROUP_TYPES)
#define FROM_GROUP \
	" FROM ONLY apikeys_data.key k" \
	" WHERE ($1 IS NULL OR k.id OPERATOR(pg_catalog.=) $1)" IN_GROUP

static Statement lock_group = {
	.sql = "SELECT k.ctid, k.id, k.key_hash" FROM_GROUP " FOR UPDATE SKIP LOCKED",
	GROUP_ARGS
};

static Statement ids_of_group = {
	.sql = "SELECT pg_catalog.array_agg(g.id) FROM ("
	"SELECT k.id" FROM_GROUP " ORDER BY k.id LIMIT 1000) g",
	GROUP_ARGS
};

static RowLock lock_in_group = ROW_LOCK_IF("id", IN_GROUP, "this API key", "key", "k", "k.id", "UPDATE",
										   GROUP_TYPES);

static Statement delete_batch = {
	.sql = DELETE_KEYS("ctid OPERATOR(pg_catalog.=) ANY ($1)", "cleanup"),
	STATEMENT_ARGS(TIDARRAYOID, TIMESTAMPTZOID, NAMEOID)
};

static Statement revoke_batch = {
	.sql = REVOKE_KEYS("ctid OPERATOR(pg_catalog.=) ANY ($1)"),
	STATEMENT_ARGS(TIDARRAYOID, TIMESTAMPTZOID, NAMEOID, TEXTOID)
};

/* Begins a search. */
static KeySearch *
begin_search(Statement *statement, Datum *values, const bool *nulls)
{
	KeySearch  *search = palloc0(sizeof(KeySearch));
	StoreScope	scope;

	store_open(&scope);
	LockRelationOid(store_relation_oid("key"), RowExclusiveLock); /* as the changes will */
	search->portal = store_open_cursor(statement, values, nulls);
	search->reports = progress_start(store_relation_oid("key"));
	store_close(&scope);

	return search;
}

/*
 * Begins to search for the keys, of a user or, with NULL, of all, that expired
 * before until.  The search is valid until store_next_batch() returns false.
 */
KeySearch *
store_find_expired(const pg_uuid_t *user_id, TimestampTz until)
{
	return begin_search(&lock_expired, (Datum[]) {TimestampTzGetDatum(until), UUIDPGetDatum(user_id)},
						(bool[]) {false, user_id == NULL});
}

/* Begins to search for the keys that end with those of a batch of expired ones. */
KeySearch *
store_find_derived(const KeyBatch *batch, TimestampTz until)
{
	int			nest_level = store_plan_for_batches();
	KeySearch  *search = begin_search(&lock_derived,
									  (Datum[]) {PointerGetDatum(batch->ids), TimestampTzGetDatum(until)}, NULL);

	AtEOXact_GUC(true, nest_level);
	return search;
}

/* The values of $1, the id of a key or NULL, and of a group. */
#define GROUP_VALUES(id, group) \
	(Datum[]) {UUIDPGetDatum(id), UUIDPGetDatum((group)->restriction), \
			  UUIDPGetDatum((group)->user_id), UUIDPGetDatum((group)->team_id), \
			  UUIDPGetDatum((group)->budget_id), PointerGetDatum((group)->plan)}, \
	(bool[]) {(id) == NULL, (group)->restriction == NULL, (group)->user_id == NULL, \
			 (group)->team_id == NULL, (group)->budget_id == NULL, (group)->plan == NULL}

/* Begins to search for the keys of a group that have not been revoked. */
KeySearch *
store_find_unrevoked(const KeyGroup *group)
{
	return begin_search(&lock_group, GROUP_VALUES((pg_uuid_t *) NULL, group));
}

/* Returns a column of the result, as an array of n elements. */
static ArrayType *
column_as_array(int column, Oid type, int16 typlen, char typalign)
{
	Datum	   *elements = palloc(SPI_processed * sizeof(Datum));
	bool		isnull;

	for (uint64 i = 0; i < SPI_processed; i++)
		elements[i] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column, &isnull);
	return construct_array(elements, (int) SPI_processed, type, typlen, false, typalign);
}

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* Copies a batch out of the result. */
static void
copy_batch(KeyBatch *batch)
{
	bool		isnull;

	batch->n = (int) SPI_processed;
	batch->tids = column_as_array(1, TIDOID, sizeof(ItemPointerData), TYPALIGN_SHORT);
	batch->ids = column_as_array(2, UUIDOID, UUID_LEN, TYPALIGN_CHAR);
	qsort(ARR_DATA_PTR(batch->ids), batch->n, UUID_LEN, compare_ids);
	batch->hashes = NULL;
	if (SPI_tuptable->tupdesc->natts < 3)
		return;

	batch->hashes = palloc(batch->n * sizeof(Datum));
	for (int i = 0; i < batch->n; i++)
		batch->hashes[i] = datumCopy(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3, &isnull),
									 false, -1);
}

/*
 * Locks the next batch; false if there is none, and then the search has ended.
 * The batch is allocated in the current context.
 */
bool
store_next_batch(KeySearch *search, KeyBatch *batch)
{
	MemoryContext caller = CurrentMemoryContext;
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	SPI_cursor_fetch(search->portal, true, BATCH_SIZE);
	found = SPI_processed > 0;
	if (search->reports)
		progress_report(search->nfound);
	search->nfound += SPI_processed;
	if (found)
	{
		MemoryContextSwitchTo(caller);
		copy_batch(batch);
	}
	else
	{
		SPI_cursor_close(search->portal);
		if (search->reports)
			progress_end();
	}
	store_close(&scope);

	return found;
}

/* Changes a batch by a statement, for each of whose keys there must be an event. */
static void
write_batch(Statement *statement, const KeyBatch *batch, Datum *values, const bool *nulls)
{
	int			nest_level;

	if (store_write_many(statement, values, nulls) != (uint64) batch->n)
		store_not_written("key");
	nest_level = store_plan_for_batches();
	store_remove_notices(batch->ids);
	AtEOXact_GUC(true, nest_level);
}

/* Deletes a batch of expired keys, with their usage. */
void
store_delete_batch(const KeyBatch *batch, TimestampTz now)
{
	StoreScope	scope;

	store_open(&scope);
	write_batch(&delete_batch, batch,
				(Datum[]) {PointerGetDatum(batch->tids), TimestampTzGetDatum(now),
						  store_acting_role(&scope)},
				NULL);
	store_delete_use(PointerGetDatum(batch->ids));
	store_close(&scope);
}

/* Revokes a batch; reason may be NULL. */
void
store_revoke_batch(const KeyBatch *batch, text *reason, TimestampTz now)
{
	StoreScope	scope;

	store_open(&scope);
	write_batch(&revoke_batch, batch,
				(Datum[]) {PointerGetDatum(batch->tids), TimestampTzGetDatum(now),
						  store_acting_role(&scope), PointerGetDatum(reason)},
				(bool[]) {false, false, false, reason == NULL});
	store_close(&scope);
}

/*
 * Returns the ids of up to 1,000 keys of a group that have not been revoked, as it
 * is committed now: a uuid[], sorted, or NULL.
 */
ArrayType *
store_unrevoked_ids(const KeyGroup *group)
{
	StoreScope	scope;
	Datum		ids;
	bool		none;

	store_open(&scope);
	store_write_silently_at(&ids_of_group, GROUP_VALUES((pg_uuid_t *) NULL, group), GetLatestSnapshot());
	ids = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &none);
	if (!none)
		ids = SPI_datumTransfer(ids, false, -1);
	store_close(&scope);

	return none ? NULL : DatumGetArrayTypeP(ids);
}

/*
 * Locks a key, and waits for it if others have it; returns false if it is not, or
 * no longer, an unrevoked key of a group.
 */
bool
store_lock_unrevoked(const pg_uuid_t *id, const KeyGroup *group)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_lock_row_if(&lock_in_group, GROUP_VALUES(id, group));
	store_close(&scope);

	return found;
}
