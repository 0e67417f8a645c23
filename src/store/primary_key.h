/*-------------------------------------------------------------------------
 *
 * primary_key.h
 *	  Finds rows by the primary key of their table, without a statement.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_PRIMARY_KEY_H
#define APIKEYS_STORE_PRIMARY_KEY_H

#include "access/genam.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* A column of a primary key, and the value that is looked for. */
typedef struct KeyColumn
{
	const char *name;
	RegProcedure equal;			/* such as F_UUID_EQ */
	Datum		value;
} KeyColumn;

extern AttrNumber store_column(Relation rel, const char *name);
extern Oid	store_primary_key(Relation rel);
extern SysScanDesc store_scan_primary_key(Relation rel, Snapshot snapshot, const KeyColumn *columns,
										  int ncolumns);

#endif							/* APIKEYS_STORE_PRIMARY_KEY_H */
