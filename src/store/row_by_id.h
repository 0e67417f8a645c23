/*-------------------------------------------------------------------------
 *
 * row_by_id.h
 *	  Reads a row by its id, without a statement.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_ROW_BY_ID_H
#define APIKEYS_STORE_ROW_BY_ID_H

#include "utils/relcache.h"
#include "utils/uuid.h"

/* A table with a primary key on its column id, while its rows are read. */
typedef struct RowTable
{
	Relation	rel;
	Oid			index;			/* InvalidOid: it has lost it */
} RowTable;

/* A column, in a static array. */
typedef struct RowColumn
{
	const char *name;
	int			number;			/* where it was found last; 0: not yet */
} RowColumn;

extern void store_open_rows(RowTable *table, const char *name);
extern bool store_read_row(const RowTable *table, const pg_uuid_t *id, RowColumn *columns,
						   int ncolumns, Datum *values, bool *nulls);
extern void store_close_rows(const RowTable *table);

#endif							/* APIKEYS_STORE_ROW_BY_ID_H */
