/*-------------------------------------------------------------------------
 *
 * dirty_read.c
 *	  What transactions do to rows that no statement shows.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * No statement can ask for what a transaction has written that is still open.  The
 * column xmax is no answer: it also names who has locked a row, and may be the
 * number of a multixact.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "store/catalog.h"
#include "store/dirty_read.h"
#include "store/primary_key.h"

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
	bool		found;

	InitDirtySnapshot(dirty);
	scan = store_scan_primary_key(rel, &dirty, &(KeyColumn){"id", F_UUID_EQ, UUIDPGetDatum(id)}, 1);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	return found;
}

/*
 * Has no transaction changed the row at tid, of which a snapshot saw the version
 * that xmin wrote, and is none that has locked it still running?  Whoever took
 * the snapshot has locked the table since.
 *
 * The answer is formed under the lock of the page, so a transaction that has
 * ended meanwhile is known to have changed the row, or not.
 */
bool
store_row_is_settled(Relation rel, ItemPointer tid, TransactionId xmin)
{
	HeapTupleData tuple = {.t_self = *tid};
	Buffer		buffer;
	bool		is_settled;

	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID ||
		!heap_fetch(rel, SnapshotAny, &tuple, &buffer, false))
		return false;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	is_settled = TransactionIdEquals(HeapTupleHeaderGetRawXmin(tuple.t_data), xmin) &&
				 HeapTupleSatisfiesUpdate(&tuple, GetCurrentCommandId(false), buffer) == TM_Ok;
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	ReleaseBuffer(buffer);

	return is_settled;
}
