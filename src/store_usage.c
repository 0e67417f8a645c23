/*-------------------------------------------------------------------------
 *
 * store_usage.c
 *	  The statements on apikeys.usage.
 *
 * Nobody waits here.  There is no foreign key to apikeys.key, since its
 * check would lock the row of a hot key; a row of usage that somebody else
 * holds is left alone; and a first use, which inserts, takes an advisory
 * lock of the key first, because two inserts of one key would wait for each
 * other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "store.h"
#include "store_spi.h"

/* Is the stored last use of a key older than $2?  Null: there is none. */
static Statement last_use_is_due = {
	.sql = "SELECT u.last_used_at IS NULL"
	" OR u.last_used_at OPERATOR(pg_catalog.<=) $2"
	" FROM apikeys.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID)
};

static Statement update_last_use = {
	.sql = "UPDATE apikeys.usage SET last_used_at = $2"
	" WHERE key_id OPERATOR(pg_catalog.=) ANY ("
	"SELECT u.key_id FROM apikeys.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) $1"
	" AND (u.last_used_at IS NULL OR u.last_used_at OPERATOR(pg_catalog.<) $2)"
	" FOR UPDATE SKIP LOCKED)",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID)
};

static Statement insert_last_use = {
	.sql = "INSERT INTO apikeys.usage (key_id, last_used_at)"
	" SELECT $1, $2 WHERE pg_catalog.pg_try_advisory_xact_lock("
	"'apikeys.usage'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int4,"
	" pg_catalog.uuid_hash($1))"
	" ON CONFLICT (key_id) DO NOTHING",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID)
};

static Statement forget_use = {
	.sql = "DELETE FROM apikeys.usage"
	" WHERE key_id OPERATOR(pg_catalog.=) ANY ("
	"SELECT u.key_id FROM apikeys.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) ANY ($1)"
	" FOR UPDATE SKIP LOCKED)",
	STATEMENT_ARGS(UUIDARRAYOID)
};

/*
 * Stores the last use of a key when the stored one is not after due_before,
 * and nobody else is about to.  Needs a read-write transaction.
 */
void
store_last_use(const pg_uuid_t *id, TimestampTz used_at, TimestampTz due_before)
{
	StoreScope	scope;
	Datum		use[] = {UUIDPGetDatum(id), TimestampTzGetDatum(used_at)};
	bool		isnull;

	store_open(&scope);
	if (store_read_latest(&last_use_is_due,
						  (Datum[]) {use[0], TimestampTzGetDatum(due_before)},
						  NULL) == 0)
		store_write(&insert_last_use, use, NULL);
	else if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull)))
		store_write(&update_last_use, use, NULL);
	store_close(&scope);
}

/* Deletes what is known of the use of keys.  Call it in an open scope. */
void
store_forget_use(Datum ids)
{
	store_write(&forget_use, &ids, NULL);
}
