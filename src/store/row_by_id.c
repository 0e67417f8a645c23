/*-------------------------------------------------------------------------
 *
 * row_by_id.c
 *	  Reads a row by its id, without a statement.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * What is read is what store_read_latest() would: what is committed now, and what
 * this transaction has written itself.  Likewise locks come first, then the
 * snapshot, and they end with the read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "store/catalog.h"
#include "store/primary_key.h"
#include "store/row_by_id.h"

/*
 * Returns a copy of the row, in the current memory context, or NULL; with flatten
 * all of it, for which its TOAST table is locked.
 */
static HeapTuple
copy_row(Relation rel, const pg_uuid_t *id, bool flatten)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = store_scan_primary_key(rel, snapshot, &(KeyColumn){"id", F_UUID_EQ, UUIDPGetDatum(id)}, 1);
	HeapTuple	row = systable_getnext(scan);

	if (HeapTupleIsValid(row))
		row = flatten ? toast_flatten_tuple(row, RelationGetDescr(rel)) : heap_copytuple(row);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);

	return row;
}

/* Returns a copy of a row that has values in the TOAST table, or NULL. */
static HeapTuple
copy_toasted_row(Relation rel, const pg_uuid_t *id)
{
	Relation	toast = table_open(rel->rd_rel->reltoastrelid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(toast);
	HeapTuple	row;
	ListCell   *cell;

	foreach(cell, indexes)
		LockRelationOid(lfirst_oid(cell), AccessShareLock);
	row = copy_row(rel, id, true);
	foreach(cell, indexes)
		UnlockRelationOid(lfirst_oid(cell), AccessShareLock);
	table_close(toast, AccessShareLock);

	return row;
}

/* Returns a copy of a row, or NULL. */
static HeapTuple
read_locked(Relation rel, const pg_uuid_t *id)
{
	HeapTuple	row = copy_row(rel, id, false);

	return HeapTupleIsValid(row) && HeapTupleHasExternal(row) ? copy_toasted_row(rel, id) : row;
}

static void
get_values(Relation rel, HeapTuple row, const char *const *columns, int ncolumns, Datum *values,
		   bool *nulls)
{
	for (int i = 0; i < ncolumns; i++)
		values[i] = heap_getattr(row, store_column(rel, columns[i]), RelationGetDescr(rel), &nulls[i]);
}

/*
 * Reads columns of the row with this id in a table of schema apikeys_data, into the
 * current memory context; false if there is none.
 */
bool
store_read_row(const char *table, const pg_uuid_t *id, const char *const *columns, int ncolumns,
			   Datum *values, bool *nulls)
{
	Relation	rel = store_open_table(table);
	Oid			index = store_primary_key(rel);
	HeapTuple	row;

	if (OidIsValid(index))
		LockRelationOid(index, AccessShareLock);
	row = read_locked(rel, id);
	if (HeapTupleIsValid(row))
		get_values(rel, row, columns, ncolumns, values, nulls);
	if (OidIsValid(index))
		UnlockRelationOid(index, AccessShareLock);
	table_close(rel, AccessShareLock);

	return HeapTupleIsValid(row);
}
