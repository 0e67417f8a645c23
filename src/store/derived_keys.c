/*-------------------------------------------------------------------------
 *
 * derived_keys.c
 *	  The statements on keys that are derived from others.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A derived key's row has of its parent only what it is found by: its user, team
 * and external id, which follow the parent's.  What holds is read from
 * the parent's row at each lookup (key_lookup.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "store/derived_keys.h"
#include "store/spi.h"
#include "store/write_latest.h"

static Statement count_derived = {
	.sql = "SELECT pg_catalog.count(*) FROM ONLY apikeys_data.key k"
	" WHERE k.parent_id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID)
};

static Statement insert_derived = {
	.sql = "WITH new AS (INSERT INTO apikeys_data.key (id, root_id, parent_id, key_hash,"
	" hash_secret, key_prefix, name, user_id, team_id, external_id, permissions,"
	" rate_limits, metadata, expires_at, created_at)"
	" SELECT $1, " ROOT_OF("o") ", o.id, $2, $3, $4, $5, o.user_id, o.team_id, o.external_id,"
	" $6, $12, $7, $8, $9 FROM ONLY apikeys_data.key o"
	" WHERE o.id OPERATOR(pg_catalog.=) $10"
	" RETURNING id, parent_id)"
	" " ADD_EVENT
	" SELECT $9, $11, 'derive', new.id, pg_catalog.jsonb_build_object("
	"'name', $5, 'key_prefix', $4, 'parent_id', new.parent_id, 'expires_at', $8) FROM new",
	STATEMENT_ARGS(UUIDOID, BYTEAOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID,
				   TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID, NAMEOID, JSONBOID)
};

/* Arrays compare nulls, too. */
static Statement move_derived = {
	.sql = "UPDATE ONLY apikeys_data.key k"
	" SET user_id = o.user_id, team_id = o.team_id, external_id = o.external_id"
	" FROM ONLY apikeys_data.key o"
	" WHERE o.id OPERATOR(pg_catalog.=) $1 AND k.parent_id OPERATOR(pg_catalog.=) o.id"
	" AND (ARRAY[k.user_id, k.team_id] OPERATOR(pg_catalog.<>) ARRAY[o.user_id, o.team_id]"
	" OR ARRAY[k.external_id] OPERATOR(pg_catalog.<>) ARRAY[o.external_id])",
	STATEMENT_ARGS(UUIDOID)
};

/* Counts the keys that are derived from one, whatever their status. */
int64
store_count_derived(const pg_uuid_t *parent_id)
{
	StoreScope	scope;
	int64		n;
	bool		isnull;

	store_open(&scope);
	(void) store_read_latest(&count_derived, (Datum[]) {UUIDPGetDatum(parent_id)}, NULL);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	store_close(&scope);

	return n;
}

/*
 * Stores a key that is derived from a locked one.  Of its configuration it has
 * the name, the documents and expires_at.
 */
void
store_insert_derived(const pg_uuid_t *parent_id, const NewKey *key, const KeyConfig *config)
{
	StoreScope	scope;

	store_open(&scope);
	store_write_one(&insert_derived, "key",
					(Datum[]) {
						UUIDPGetDatum(key->id),
						PointerGetDatum(key->hash),
						PointerGetDatum(key->hash_secret),
						CStringGetTextDatum(key->key_prefix),
						config->values[CONFIG_NAME],
						config->values[CONFIG_PERMISSIONS],
						config->values[CONFIG_METADATA],
						config->values[CONFIG_EXPIRES_AT],
						TimestampTzGetDatum(key->created_at),
						UUIDPGetDatum(parent_id),
						store_acting_role(&scope),
						config->values[CONFIG_RATE_LIMITS]},
					(bool[]) {
						false, false,
						key->hash_secret == NULL,
						false, false, false, false, false, false, false, false, false});
	store_close(&scope);
}

/*
 * Has the keys that are derived from a locked one belong to whom that belongs to
 * now; also those that the transaction's snapshot does not see.  The event of the
 * parent is that of all.
 */
void
store_move_derived(const pg_uuid_t *parent_id)
{
	StoreScope	scope;

	store_open(&scope);
	store_write_latest(&move_derived, (Datum[]) {UUIDPGetDatum(parent_id)}, NULL);
	store_close(&scope);
}
