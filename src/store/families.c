/*-------------------------------------------------------------------------
 *
 * families.c
 *	  Which key families still have keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A key family is a key and its successors by rotation, whose root_id is the
 * first key's id.  A family is live while one of its keys can be used, or can
 * be made usable by enabling it: a disabled key keeps its limits.  A derived key
 * is no successor; its own limits are those of a family of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"

#include "store/catalog.h"
#include "store/dirty_read.h"
#include "store/families.h"
#include "store/spi.h"

#define CAN_BE_USED(key) \
	"(" key ".revoked_at IS NULL AND (" key ".expires_at IS NULL" \
	" OR " key ".expires_at OPERATOR(pg_catalog.>=) $2))"

#define SUCCESSOR \
	"k.root_id OPERATOR(pg_catalog.=) d.id AND k.root_id OPERATOR(pg_catalog.<>) k.id" \
	" AND k.parent_id IS NULL"

/*
 * The keys with these ids, and those of their successors that can be used or
 * that a transaction may have locked or changed, as xmax says, and any one, which
 * shows that there are some; a derived key can be used only with its parent; and
 * budgets, which always can.
 */
static Statement family_states = {
	.sql = "SELECT d.n, f.can_be_used, f.ctid, f.xmin"
	" FROM pg_catalog.unnest($1) WITH ORDINALITY AS d(id, n)"
	" JOIN LATERAL ("
	"SELECT k.parent_id IS NULL AND " CAN_BE_USED("k") " AS can_be_used,"
	" k.ctid, k.xmin"
	" FROM ONLY apikeys_data.key k WHERE k.id OPERATOR(pg_catalog.=) d.id"
	" UNION ALL "
	"SELECT " CAN_BE_USED("k") " AND " CAN_BE_USED("o") ", o.ctid, o.xmin"
	" FROM ONLY apikeys_data.key k"
	" JOIN ONLY apikeys_data.key o ON o.id OPERATOR(pg_catalog.=) k.parent_id"
	" WHERE k.id OPERATOR(pg_catalog.=) d.id"
	" UNION ALL "
	"SELECT " CAN_BE_USED("k") ", k.ctid, k.xmin"
	" FROM ONLY apikeys_data.key k WHERE " SUCCESSOR
	" AND (" CAN_BE_USED("k") " OR k.xmax OPERATOR(pg_catalog.<>) '0'::pg_catalog.xid)"
	" UNION ALL "
	"(SELECT false, k.ctid, k.xmin FROM ONLY apikeys_data.key k WHERE " SUCCESSOR " LIMIT 1)"
	" UNION ALL "
	"SELECT true, b.ctid, b.xmin"
	" FROM ONLY apikeys_data.budget b WHERE b.id OPERATOR(pg_catalog.=) d.id"
	") f ON true",
	STATEMENT_ARGS(UUIDARRAYOID, TIMESTAMPTZOID)
};

static Statement find_successors = {
	.sql = "SELECT d.n FROM pg_catalog.unnest($1) WITH ORDINALITY AS d(id, n)"
	" WHERE EXISTS (SELECT FROM ONLY apikeys_data.key k WHERE " SUCCESSOR ")",
	STATEMENT_ARGS(UUIDARRAYOID)
};

/*
 * Determines the states of the families of ids.  Reads what is committed now,
 * writes nothing, and takes no row lock.  A family is live also if one of its rows
 * is not settled: its key may be usable after all, or have a successor.
 */
void
store_family_states(const pg_uuid_t *ids, int nids, TimestampTz now, FamilyState *states)
{
	StoreScope	scope;
	Datum	   *elements = palloc(nids * sizeof(Datum));
	ArrayType  *array;
	Relation	rel;
	uint64		nrows;

	for (int i = 0; i < nids; i++)
	{
		elements[i] = UUIDPGetDatum(&ids[i]);
		states[i] = FAMILY_GONE;
	}

	store_open(&scope);
	rel = store_open_table("key");
	array = construct_array(elements, nids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	nrows = store_read_committed_saved(&family_states,
									   (Datum[]) {PointerGetDatum(array), TimestampTzGetDatum(now)},
									   NULL, NULL, NULL);
	for (uint64 r = 0; r < nrows; r++)
	{
		Datum		row[4];
		bool		nulls[4];
		FamilyState *state;

		heap_deform_tuple(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, row, nulls);
		state = &states[DatumGetInt64(row[0]) - 1];
		if (DatumGetBool(row[1]) || !store_row_is_settled(rel, (ItemPointer) DatumGetPointer(row[2]),
														  DatumGetTransactionId(row[3])))
			*state = FAMILY_LIVE;
		else
			*state = Max(*state, FAMILY_DEAD);
	}
	table_close(rel, AccessShareLock);
	store_close(&scope);
	pfree(elements);
}

/*
 * Finds out which keys of a uuid[] have successors.  The caller has deleted
 * the keys, so none can get its first one any more.
 */
void
store_find_successors(ArrayType *ids, bool *have_successors)
{
	StoreScope	scope;
	uint64		nrows;
	bool		isnull;

	store_open(&scope);
	nrows = store_read_latest(&find_successors, (Datum[]) {PointerGetDatum(ids)}, NULL);
	for (uint64 r = 0; r < nrows; r++)
	{
		Datum		n = SPI_getbinval(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, 1, &isnull);

		have_successors[DatumGetInt64(n) - 1] = true;
	}
	store_close(&scope);
}
