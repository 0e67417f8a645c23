/*-------------------------------------------------------------------------
 *
 * replicated_requests.c
 *	  Which requests other nodes have recorded.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "settings/guc.h"
#include "store/catalog.h"
#include "store/primary_key.h"
#include "store/replicated_requests.h"

/*
 * Has another node recorded a request of a key under this id, as far as it is
 * known here?  Node 0 is alone, and does not look.
 */
bool
store_request_is_of_another_node(const pg_uuid_t *key_id, const text *request_id)
{
	const KeyColumn request[] = {
		{"key_id", F_UUID_EQ, UUIDPGetDatum(key_id)},
		{"request_id", F_TEXTEQ, PointerGetDatum(request_id)}};
	Relation	rel;
	AttrNumber	node;
	Snapshot	snapshot;
	SysScanDesc scan;
	HeapTuple	row;
	bool		found = false;

	if (guc_node == 0)
		return false;

	rel = store_open_table("usage_request");
	node = store_column(rel, "node");
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = store_scan_primary_key(rel, snapshot, request, lengthof(request));
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
