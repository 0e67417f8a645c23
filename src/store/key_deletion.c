/*-------------------------------------------------------------------------
 *
 * key_deletion.c
 *	  The statements that delete keys, with those that are derived from them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Each key has its own event.  There is no foreign key from derived keys to their
 * parents: it would delete them without one, and COPY and INSERT of a dump would
 * depend on the order of the rows.  A derived key whose parent is gone, because a
 * snapshot has not seen it or somebody has deleted by hand, is not found by
 * verify, and is deleted when it has expired.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "store/key_deletion.h"
#include "store/spi.h"
#include "store/usage_deletion.h"

/* A key, and those that are derived from it. */
static Statement lock_with_derived = {
	.sql = "SELECT pg_catalog.array_agg(found.id) FROM ("
	"SELECT k.id FROM ONLY apikeys_data.key k"
	" WHERE k.id OPERATOR(pg_catalog.=) $1 OR k.parent_id OPERATOR(pg_catalog.=) $1"
	" ORDER BY k.id FOR UPDATE) found",
	STATEMENT_ARGS(UUIDOID)
};

/* Derived keys that have ended. */
static Statement lock_ended_derived = {
	.sql = "SELECT pg_catalog.array_agg(found.id) FROM ("
	"SELECT k.id FROM ONLY apikeys_data.key k"
	" WHERE k.parent_id OPERATOR(pg_catalog.=) $1"
	" AND (k.revoked_at IS NOT NULL OR k.expires_at OPERATOR(pg_catalog.<) $2)"
	" ORDER BY k.id FOR UPDATE SKIP LOCKED) found",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID)
};

static Statement delete_keys = {
	.sql = DELETE_KEYS("id OPERATOR(pg_catalog.=) ANY ($1)", "delete"),
	STATEMENT_ARGS(UUIDARRAYOID, TIMESTAMPTZOID, NAMEOID)
};

static Statement clean_up_keys = {
	.sql = DELETE_KEYS("id OPERATOR(pg_catalog.=) ANY ($1)", "cleanup"),
	STATEMENT_ARGS(UUIDARRAYOID, TIMESTAMPTZOID, NAMEOID)
};

/*
 * Deletes the keys that a statement locks by another, with their usage, and returns
 * their ids, a uuid[], palloc'd; NULL if it locks none.  Raises an error if a
 * trigger prevents it.  For use in an open scope.
 */
static ArrayType *
delete_locked(const StoreScope *scope, Statement *lock, Datum *values, Statement *delete, TimestampTz now)
{
	Datum		ids;
	ArrayType  *array;
	int64		deleted;
	bool		none;

	store_write(lock, values, NULL);
	ids = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &none);
	if (none)
		return NULL;

	ids = SPI_datumTransfer(PointerGetDatum(DatumGetArrayTypeP(ids)), false, -1);
	array = (ArrayType *) DatumGetPointer(ids);
	Assert(ARR_ELEMTYPE(array) == UUIDOID);
	deleted = store_write_durably(delete, (Datum[]) {ids, TimestampTzGetDatum(now), store_acting_role(scope)}, NULL);
	if (deleted != ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)))
		store_not_written("key");
	store_delete_use(ids);

	return array;
}

/*
 * Deletes a locked key with those that are derived from it, and returns their ids,
 * a uuid[], palloc'd.
 */
ArrayType *
store_delete_key(const pg_uuid_t *id, TimestampTz now)
{
	StoreScope	scope;
	ArrayType  *ids;

	store_open(&scope);
	ids = delete_locked(&scope, &lock_with_derived, (Datum[]) {UUIDPGetDatum(id)}, &delete_keys, now);
	store_close(&scope);

	return ids;
}

/*
 * Deletes the derived keys of a locked one that are revoked or have expired, and
 * returns their ids, a uuid[], or NULL.
 */
ArrayType *
store_delete_ended_derived(const pg_uuid_t *parent_id, TimestampTz now)
{
	StoreScope	scope;
	ArrayType  *ids;

	store_open(&scope);
	ids = delete_locked(&scope, &lock_ended_derived, (Datum[]) {UUIDPGetDatum(parent_id), TimestampTzGetDatum(now)},
						&clean_up_keys, now);
	store_close(&scope);

	return ids;
}
