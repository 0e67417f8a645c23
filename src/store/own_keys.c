/*-------------------------------------------------------------------------
 *
 * own_keys.c
 *	  What a role with the level own acts under: the key that is logged in.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * All of it is read as it is committed now, in any isolation level: what a key
 * may do must not outlive a revocation in somebody's snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "store/own_keys.h"
#include "store/plans.h"
#include "store/spi.h"

/* A key that verify would take; it was used in this transaction. */
static Statement usable_key = {
	.sql = "SELECT " KEY_ROW("k.permissions", "k.rate_limits") " FROM ONLY apikeys_data.key k" JOIN_PLAN
	" WHERE k.id OPERATOR(pg_catalog.=) $1"
	" AND k.revoked_at IS NULL AND k.enabled"
	" AND (k.expires_at IS NULL OR k.expires_at OPERATOR(pg_catalog.>=) $2)"
	" AND " HAS_ITS_PLAN,
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID)
};

static Statement apply_plan = {
	.sql = "SELECT p.permissions OPERATOR(pg_catalog.||) $2, p.rate_limits OPERATOR(pg_catalog.||) $3"
	" FROM ONLY apikeys_data.plan p WHERE p.name OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(TEXTOID, JSONBOID, JSONBOID)
};

/* Disabled keys count: they can be enabled again.  Derived ones don't. */
static Statement count_live_keys = {
	.sql = "SELECT pg_catalog.count(*) FROM ONLY apikeys_data.key k"
	" WHERE k.user_id OPERATOR(pg_catalog.=) $1 AND k.parent_id IS NULL AND k.revoked_at IS NULL"
	" AND COALESCE(" KEY_ENDS_AT ", 'infinity') OPERATOR(pg_catalog.>=) $2",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID)
};

/*
 * Reads a key with its own documents; returns false if it does not exist, or can
 * no longer be used.
 */
bool
store_read_usable_key(const pg_uuid_t *id, TimestampTz now, KeyRow *row)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_read_latest(&usable_key, (Datum[]) {UUIDPGetDatum(id), TimestampTzGetDatum(now)},
							  NULL) > 0;
	if (found)
		store_copy_key_row(row);
	store_close(&scope);

	return found;
}

/*
 * Replaces documents of a key, with this plan, by those that hold for it, palloc'd.
 * They stay as they are without a plan, NULL.
 */
void
store_apply_plan(const text *plan, KeyDocuments *documents)
{
	StoreScope	scope;
	bool		isnull;

	if (plan == NULL)
		return;

	store_open(&scope);
	if (store_read_latest(&apply_plan,
						  (Datum[]) {PointerGetDatum(plan), documents->permissions, documents->rate_limits},
						  NULL) > 0)
	{
		HeapTuple	row = store_copy_row();

		documents->permissions = SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull);
		documents->rate_limits = SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull);
	}
	store_close(&scope);
}

/* Counts the keys of a user that are neither revoked nor expired. */
int64
store_count_live_keys(const pg_uuid_t *user_id, TimestampTz now)
{
	StoreScope	scope;
	int64		n;
	bool		isnull;

	store_open(&scope);
	(void) store_read_latest(&count_live_keys,
							 (Datum[]) {UUIDPGetDatum(user_id), TimestampTzGetDatum(now)}, NULL);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	store_close(&scope);

	return n;
}
