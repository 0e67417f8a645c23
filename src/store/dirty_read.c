/*-------------------------------------------------------------------------
 *
 * dirty_read.c
 *	  Is there a row, for whoever can see it?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * No statement can ask for what a transaction has written that is still open.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "store/catalog.h"
#include "store/dirty_read.h"

/*
 * Is there a row with this id in a table of schema apikeys_data that is committed
 * by now, or that an open transaction has inserted or deleted?
 */
bool
store_exists_for_anyone(const char *table, const pg_uuid_t *id)
{
	Relation	rel = store_open_table(table);
	SnapshotData dirty;
	SysScanDesc scan;
	ScanKeyData key;
	bool		found;

	ScanKeyInit(&key, get_attnum(RelationGetRelid(rel), "id"), BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(id));
	(void) RelationGetIndexList(rel); /* which finds the primary key */
	InitDirtySnapshot(dirty);
	scan = systable_beginscan(rel, rel->rd_pkindex, OidIsValid(rel->rd_pkindex), &dirty, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	return found;
}
