/*-------------------------------------------------------------------------
 *
 * budget_tree.c
 *	  Which budgets are above which.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Whether budgets can be put below each other depends on all of them at once, so
 * who does so takes a lock first (store_lock_budget_tree), and then reads what is
 * committed.  There is no foreign key, whose check would lock the row of a hot
 * budget.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"

#include "model/budget_config.h"
#include "store/budget_tree.h"
#include "store/spi.h"

/*
 * The levels above and below, of which one more than there may be tells enough.
 * UNION ends a circle that somebody has made by hand.
 */
static Statement find_place = {
	.sql = "WITH RECURSIVE above AS ("
	"SELECT b.id, b.parent_id FROM apikeys_data.budget b WHERE b.id OPERATOR(pg_catalog.=) $2"
	" UNION SELECT b.id, b.parent_id"
	" FROM above a JOIN apikeys_data.budget b ON b.id OPERATOR(pg_catalog.=) a.parent_id),"
	" below(id, level) AS (SELECT $1, 1"
	" UNION SELECT b.id, w.level OPERATOR(pg_catalog.+) 1"
	" FROM below w JOIN apikeys_data.budget b ON b.parent_id OPERATOR(pg_catalog.=) w.id"
	" WHERE w.level OPERATOR(pg_catalog.<=) $3)"
	" SELECT (SELECT pg_catalog.count(*) FROM above)::pg_catalog.int4,"
	" EXISTS (SELECT FROM above a WHERE a.id OPERATOR(pg_catalog.=) $1),"
	" (SELECT pg_catalog.max(w.level) FROM below w)",
	STATEMENT_ARGS(UUIDOID, UUIDOID, INT4OID)
};

static Statement find_child = {
	.sql = "SELECT FROM apikeys_data.budget b WHERE b.parent_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
	STATEMENT_ARGS(UUIDOID)
};

/* Finds where a budget, which need not exist, would stand below a parent. */
void
store_find_budget_place(const pg_uuid_t *id, const pg_uuid_t *parent_id, BudgetPlace *place)
{
	StoreScope	scope;
	Datum		row[3];
	bool		nulls[3];

	store_open(&scope);
	store_read_latest(&find_place,
					  (Datum[]) {UUIDPGetDatum(id), UUIDPGetDatum(parent_id),
								Int32GetDatum(BUDGET_MAX_LEVELS)},
					  NULL);
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, row, nulls);
	place->has_parent = DatumGetInt32(row[0]) > 0;
	place->is_below_itself = DatumGetBool(row[1]);
	place->nlevels = DatumGetInt32(row[0]) + DatumGetInt32(row[2]);
	store_close(&scope);
}

/* Is any budget below this one? */
bool
store_budget_has_children(const pg_uuid_t *id)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_read_latest(&find_child, (Datum[]) {UUIDPGetDatum(id)}, NULL) > 0;
	store_close(&scope);

	return found;
}
