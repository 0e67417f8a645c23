/*-------------------------------------------------------------------------
 *
 * replicated_requests.c
 *	  Which requests other nodes have recorded.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Not by a statement: with a plan from when the table was empty it would read all
 * of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "settings/guc.h"
#include "store/catalog.h"
#include "store/replicated_requests.h"

/* Begins to read the rows of a request, by the first columns of the primary key. */
static SysScanDesc
begin_scan(Relation rel, const pg_uuid_t *key_id, const text *request_id, Snapshot snapshot)
{
	Oid			relid = RelationGetRelid(rel);
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], get_attnum(relid, "key_id"), BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(key_id));
	ScanKeyInit(&keys[1], get_attnum(relid, "request_id"), BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(request_id));
	(void) RelationGetIndexList(rel); /* which finds the primary key */
	return systable_beginscan(rel, rel->rd_pkindex, OidIsValid(rel->rd_pkindex), snapshot, 2, keys);
}

/*
 * Has another node recorded a request of a key under this id, as far as it is
 * known here?  Node 0 is alone, and does not look.
 */
bool
store_request_is_of_another_node(const pg_uuid_t *key_id, const text *request_id)
{
	Relation	rel;
	AttrNumber	node;
	Snapshot	snapshot;
	SysScanDesc scan;
	HeapTuple	row;
	bool		found = false;

	if (guc_node == 0)
		return false;

	rel = store_open_table("usage_request");
	node = get_attnum(RelationGetRelid(rel), "node");
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = begin_scan(rel, key_id, request_id, snapshot);
	while (!found && HeapTupleIsValid(row = systable_getnext(scan)))
	{
		bool		isnull;

		found = DatumGetInt32(heap_getattr(row, node, RelationGetDescr(rel), &isnull)) != guc_node;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);

	return found;
}
