/*-------------------------------------------------------------------------
 *
 * primary_key.c
 *	  Finds rows by the primary key of their table, and columns, without a statement.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * To start and end the executor takes several times as long as to find a row.  And a
 * plan may be one from when the table was empty, which reads all of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "executor/spi.h"
#include "utils/relcache.h"

#include "store/primary_key.h"

#define MAX_COLUMNS	2

/* Returns the number of a column.  The catalog's cache would take several times as long. */
AttrNumber
store_column(Relation rel, const char *name)
{
	int			column = SPI_fnumber(RelationGetDescr(rel), name);

	if (column <= 0)
		elog(ERROR, "table \"%s\" has no column \"%s\"", RelationGetRelationName(rel), name);
	return column;
}

/* Returns the index of a table's primary key; InvalidOid if somebody has dropped it. */
Oid
store_primary_key(Relation rel)
{
	if (!rel->rd_indexvalid)
		list_free(RelationGetIndexList(rel)); /* which finds it */
	return rel->rd_pkindex;
}

/*
 * Begins to read the rows that have these values in the first columns of the primary
 * key, until systable_endscan().  Without the index the table is read from end to end.
 */
SysScanDesc
store_scan_primary_key(Relation rel, Snapshot snapshot, const KeyColumn *columns, int ncolumns)
{
	Oid			index = store_primary_key(rel);
	ScanKeyData keys[MAX_COLUMNS];

	Assert(ncolumns <= MAX_COLUMNS);
	for (int i = 0; i < ncolumns; i++)
		ScanKeyInit(&keys[i], store_column(rel, columns[i].name), BTEqualStrategyNumber,
					columns[i].equal, columns[i].value);
	return systable_beginscan(rel, index, OidIsValid(index), snapshot, ncolumns, keys);
}
