/*-------------------------------------------------------------------------
 *
 * last_used.c
 *	  The statements on the last use of keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * No transaction waits here.  A row of usage that another one has locked is
 * skipped.  A first use, which inserts, takes an advisory lock of the key
 * first, because two inserts of one key would wait for each other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/inet.h"

#include "store/batch_write.h"
#include "store/catalog.h"
#include "store/last_used.h"
#include "store/spi.h"

/* Is the stored last use of a key not later than $2? */
static Statement last_use_is_due = {
	.sql = "SELECT u.last_used_at IS NULL"
	" OR u.last_used_at OPERATOR(pg_catalog.<=) $2"
	" FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) $1 AND u.node OPERATOR(pg_catalog.=) apikeys.this_node()",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID)
};

/* On any node. */
static Statement read_last_use = {
	.sql = "SELECT pg_catalog.max(u.last_used_at) FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID)
};

static Statement update_last_use = {
	.sql = "UPDATE apikeys_data.usage o SET last_used_at = $2,"
	" last_used_ip = COALESCE($3, o.last_used_ip)"
	" WHERE o.key_id OPERATOR(pg_catalog.=) ANY ("
	"SELECT u.key_id FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) $1 AND u.node OPERATOR(pg_catalog.=) apikeys.this_node()"
	" AND (u.last_used_at IS NULL OR u.last_used_at OPERATOR(pg_catalog.<) $2)"
	" FOR UPDATE SKIP LOCKED) AND o.node OPERATOR(pg_catalog.=) apikeys.this_node()",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INETOID)
};

static Statement insert_last_use = {
	.sql = "INSERT INTO apikeys_data.usage (key_id, last_used_at, last_used_ip)"
	" SELECT $1, $2, $3 WHERE apikeys.try_lock_use($1)"
	" ON CONFLICT (key_id, node) DO NOTHING",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INETOID)
};

/*
 * Locked rows are left to the next flush, and are not in the result.  The arrays
 * are in key order.  For store_write_batch().
 */
static Statement persist_uses = {
	.sql = "WITH use AS MATERIALIZED ("
	"SELECT d.key_id, d.used_at, d.ip, d.n FROM ROWS FROM ("
	"pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))"
	" WITH ORDINALITY AS d(key_id, used_at, ip, n)),"
	" locked AS MATERIALIZED (SELECT u.key_id FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) ANY ($1) AND u.node OPERATOR(pg_catalog.=) apikeys.this_node()"
	" ORDER BY u.key_id FOR UPDATE SKIP LOCKED),"
	" existing AS MATERIALIZED (SELECT k.id FROM apikeys_data.key k"
	" WHERE k.id OPERATOR(pg_catalog.=) ANY ($1)),"
	" updated AS (UPDATE apikeys_data.usage u SET last_used_at = use.used_at,"
	" last_used_ip = COALESCE(use.ip, u.last_used_ip)"
	" FROM use JOIN locked ON locked.key_id OPERATOR(pg_catalog.=) use.key_id"
	" WHERE u.key_id OPERATOR(pg_catalog.=) use.key_id"
	" AND u.key_id OPERATOR(pg_catalog.=) ANY ($1) AND u.node OPERATOR(pg_catalog.=) apikeys.this_node()"
	" AND (u.last_used_at IS NULL OR u.last_used_at OPERATOR(pg_catalog.<) use.used_at)"
	" RETURNING u.key_id),"
	" inserted AS (INSERT INTO apikeys_data.usage (key_id, last_used_at, last_used_ip)"
	" SELECT use.key_id, use.used_at, use.ip FROM use"
	" JOIN existing k ON k.id OPERATOR(pg_catalog.=) use.key_id"
	" WHERE NOT use.key_id OPERATOR(pg_catalog.=) ANY (SELECT u.key_id FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) ANY ($1) AND u.node OPERATOR(pg_catalog.=) apikeys.this_node())"
	" ORDER BY use.key_id"
	" ON CONFLICT (key_id, node) DO NOTHING RETURNING key_id)"
	" SELECT use.n, k.id IS NULL,"
	" updated.key_id IS NOT NULL OR inserted.key_id IS NOT NULL"
	" FROM use"
	" LEFT JOIN existing k ON k.id OPERATOR(pg_catalog.=) use.key_id"
	" LEFT JOIN locked ON locked.key_id OPERATOR(pg_catalog.=) use.key_id"
	" LEFT JOIN updated ON updated.key_id OPERATOR(pg_catalog.=) use.key_id"
	" LEFT JOIN inserted ON inserted.key_id OPERATOR(pg_catalog.=) use.key_id"
	" WHERE k.id IS NULL OR locked.key_id IS NOT NULL OR inserted.key_id IS NOT NULL",
	STATEMENT_ARGS(UUIDARRAYOID, TIMESTAMPTZARRAYOID, INETARRAYOID)
};

/*
 * Stores the last use of a key if the stored one is not after due_before and no
 * other transaction is storing one, or has locked the table: the answer of a
 * verify would be outdated after a wait.  Needs a read-write transaction.
 */
void
store_last_use(const KeyUse *use, TimestampTz due_before)
{
	StoreScope	scope;
	Datum		values[] = {UUIDPGetDatum(&use->id), TimestampTzGetDatum(use->used_at), 0};
	bool		nulls[] = {false, false, !ip_address_is_packed(&use->ip)};
	bool		isnull;

	Assert(!XactReadOnly);

	if (!ConditionalLockRelationOid(store_relation_oid("usage"), RowExclusiveLock))
		return;

	store_open(&scope);
	values[2] = InetPGetDatum(ip_address_unpack(&use->ip));
	if (store_read_latest(&last_use_is_due,
						  (Datum[]) {values[0], TimestampTzGetDatum(due_before)},
						  NULL) == 0)
		store_write_silently(&insert_last_use, values, nulls);
	else if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull)))
		store_write_silently(&update_last_use, values, nulls);
	store_close(&scope);
}

/* Returns the last use of a key as it is stored and committed now, or DT_NOBEGIN. */
TimestampTz
store_read_last_use(const pg_uuid_t *id)
{
	StoreScope	scope;
	Datum		used_at;
	bool		isnull;

	store_open(&scope);
	(void) store_read_latest(&read_last_use, (Datum[]) {UUIDPGetDatum(id)}, NULL);
	used_at = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	store_close(&scope);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(used_at);
}

/* Converts uses into a uuid[], a timestamptz[] and an inet[]. */
static void
uses_to_arrays(const KeyUse *uses, int nuses, Datum *arrays)
{
	Datum	   *ids = palloc(nuses * sizeof(Datum));
	Datum	   *times = palloc(nuses * sizeof(Datum));
	Datum	   *ips = palloc(nuses * sizeof(Datum));
	bool	   *no_ip = palloc(nuses * sizeof(bool));

	for (int i = 0; i < nuses; i++)
	{
		Assert(i == 0 || memcmp(&uses[i - 1].id, &uses[i].id, UUID_LEN) < 0);
		ids[i] = UUIDPGetDatum(&uses[i].id);
		times[i] = TimestampTzGetDatum(uses[i].used_at);
		ips[i] = InetPGetDatum(ip_address_unpack(&uses[i].ip));
		no_ip[i] = !ip_address_is_packed(&uses[i].ip);
	}

	arrays[0] = PointerGetDatum(construct_array(ids, nuses, UUIDOID, UUID_LEN,
												false, TYPALIGN_CHAR));
	arrays[1] = PointerGetDatum(construct_array(times, nuses, TIMESTAMPTZOID,
												sizeof(TimestampTz),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	arrays[2] = PointerGetDatum(construct_md_array(ips, no_ip, 1, &nuses, (int[]) {1},
												   INETOID, -1, false, TYPALIGN_INT));
}

/*
 * Persists uses, which are in key order, in one statement.  Sets the outcome of
 * each, and returns the number of rows written.
 */
int64
store_persist_uses(const KeyUse *uses, int nuses, UseOutcome *outcomes)
{
	StoreScope	scope;
	Datum		arrays[3];
	int64		written = 0;

	Assert(nuses > 0);

	for (int i = 0; i < nuses; i++)
		outcomes[i] = USE_BUSY;

	store_open(&scope);
	uses_to_arrays(uses, nuses, arrays);
	store_write_batch(&persist_uses, arrays);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		row[3];
		bool		nulls[3];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, nulls);
		outcomes[DatumGetInt64(row[0]) - 1] =
			DatumGetBool(row[1]) ? USE_KEY_GONE : USE_PERSISTED;
		written += DatumGetBool(row[2]);
	}
	store_close(&scope);

	return written;
}
