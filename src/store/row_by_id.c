/*-------------------------------------------------------------------------
 *
 * row_by_id.c
 *	  Reads a row by its id, without a statement.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * To start and end the executor takes several times as long as to find the row.
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
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "store/catalog.h"
#include "store/primary_key.h"
#include "store/row_by_id.h"

/* Returns the number of a column, mostly that of the last time: to search for it takes longer. */
static AttrNumber
column_of(Relation rel, RowColumn *column)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);

	if (column->number < 1 || column->number > tupdesc->natts ||
		namestrcmp(&TupleDescAttr(tupdesc, column->number - 1)->attname, column->name) != 0)
		column->number = store_column(rel, column->name);
	return column->number;
}

/*
 * Returns a copy of the row, in the current memory context, or NULL; with flatten
 * all of it, for which its TOAST table is locked.
 */
static HeapTuple
copy_row(const RowTable *table, const pg_uuid_t *id, bool flatten)
{
	Relation	rel = table->rel;
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
copy_toasted_row(const RowTable *table, const pg_uuid_t *id)
{
	Relation	toast = table_open(table->rel->rd_rel->reltoastrelid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(toast);
	HeapTuple	row;
	ListCell   *cell;

	foreach(cell, indexes)
		LockRelationOid(lfirst_oid(cell), AccessShareLock);
	row = copy_row(table, id, true);
	foreach(cell, indexes)
		UnlockRelationOid(lfirst_oid(cell), AccessShareLock);
	table_close(toast, AccessShareLock);

	return row;
}

/* Returns a copy of a row, or NULL. */
static HeapTuple
read_locked(const RowTable *table, const pg_uuid_t *id)
{
	HeapTuple	row = copy_row(table, id, false);

	return HeapTupleIsValid(row) && HeapTupleHasExternal(row) ? copy_toasted_row(table, id) : row;
}

/* Locks a table in schema apikeys_data for reading, and its primary key.  Raises 42P01. */
void
store_open_rows(RowTable *table, const char *name)
{
	table->rel = store_open_table(name);
	table->index = store_primary_key(table->rel);
	if (OidIsValid(table->index))
		LockRelationOid(table->index, AccessShareLock);
}

void
store_close_rows(const RowTable *table)
{
	if (OidIsValid(table->index))
		UnlockRelationOid(table->index, AccessShareLock);
	table_close(table->rel, AccessShareLock);
}

/*
 * Reads columns of the row with this id, into the current memory context; false if
 * there is none.
 */
bool
store_read_row(const RowTable *table, const pg_uuid_t *id, RowColumn *columns, int ncolumns,
			   Datum *values, bool *nulls)
{
	HeapTuple	row = read_locked(table, id);

	if (!HeapTupleIsValid(row))
		return false;
	for (int i = 0; i < ncolumns; i++)
		values[i] = heap_getattr(row, column_of(table->rel, &columns[i]), RelationGetDescr(table->rel), &nulls[i]);
	return true;
}
