/*-------------------------------------------------------------------------
 *
 * usage_deletion.c
 *	  The statements that delete what deleted keys and budgets have used.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * They wait for nobody: rows that are locked, or changed meanwhile, are left for a
 * later clean-up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/fmgrprotos.h"

#include "store/batch_write.h"
#include "store/spi.h"
#include "store/usage_deletion.h"

#define LOOK_AT	10000			/* owners, when orphans are looked for */

/* Deletes the rows of owners, a uuid[], that nobody has locked. */
#define DELETE_ROWS(table, owner, ids) \
	"DELETE FROM apikeys_data." table " WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(" \
	"SELECT t.ctid FROM apikeys_data." table " t" \
	" WHERE t." owner " OPERATOR(pg_catalog.=) ANY (" ids ") FOR UPDATE SKIP LOCKED))"

static Statement delete_usage[] = {
	{.sql = DELETE_ROWS("usage", "key_id", "$1"), STATEMENT_ARGS(UUIDARRAYOID)},
	{.sql = DELETE_ROWS("usage_day", "key_id", "$1"), STATEMENT_ARGS(UUIDARRAYOID)},
};

/*
 * Looks at the next $2 owners in the index of a table, from $1 on, and deletes the rows
 * of those that are not there any more.  Each step goes to the next owner, however many
 * rows one has.
 */
#define DELETE_ORPHANS(table, owner, owners) { \
	.sql = "WITH RECURSIVE step(id) AS (" \
	"(SELECT t." owner " FROM apikeys_data." table " t" \
	" WHERE t." owner " OPERATOR(pg_catalog.>=) $1 ORDER BY t." owner " LIMIT 1)" \
	" UNION ALL " \
	"SELECT (SELECT t." owner " FROM apikeys_data." table " t" \
	" WHERE t." owner " OPERATOR(pg_catalog.>) s.id ORDER BY t." owner " LIMIT 1)" \
	" FROM step s WHERE s.id IS NOT NULL)," \
	" looked AS MATERIALIZED (SELECT s.id FROM step s WHERE s.id IS NOT NULL LIMIT $2)," \
	" deleted AS (" DELETE_ROWS(table, owner, "ARRAY(" \
	"SELECT l.id FROM looked l EXCEPT SELECT o.id FROM apikeys_data." owners " o" \
	" WHERE o.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT l.id FROM looked l)))") ")" \
	" SELECT pg_catalog.count(*) FROM looked", \
	STATEMENT_ARGS(UUIDOID, INT8OID) \
}

/* What a deletion has left because it was locked or written later. */
static Statement delete_orphans[] = {
	DELETE_ORPHANS("usage", "key_id", "key"),
	DELETE_ORPHANS("usage_day", "key_id", "key"),
	DELETE_ORPHANS("budget_period", "budget_id", "budget"),
	DELETE_ORPHANS("budget_warning", "budget_id", "budget"),
};

/* Deletes the usage of keys, a uuid[].  For use in an open scope. */
void
store_delete_use(Datum ids)
{
	for (int i = 0; i < (int) lengthof(delete_usage); i++)
		store_write_batch(&delete_usage[i], &ids);
}

/* Executes such a statement; returns how many owners it has looked at. */
static int64
delete_from(Statement *statement, Datum first_owner, int64 n)
{
	bool		isnull;

	store_write_batch(statement, (Datum[]) {first_owner, Int64GetDatum(n)});
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Deletes rows of keys and budgets that are not there any more, as far as it looks:
 * at LOOK_AT owners in each table, from any on.  Ids are random.
 */
void
store_delete_orphans(void)
{
	static const pg_uuid_t least = {0};
	StoreScope	scope;

	store_open(&scope);
	for (int i = 0; i < (int) lengthof(delete_orphans); i++)
	{
		int64		n = delete_from(&delete_orphans[i], DirectFunctionCall1(gen_random_uuid, (Datum) 0), LOOK_AT);

		if (n < LOOK_AT)
			delete_from(&delete_orphans[i], UUIDPGetDatum(&least), LOOK_AT - n);
	}
	store_close(&scope);
}
