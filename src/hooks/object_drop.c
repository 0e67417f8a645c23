/*-------------------------------------------------------------------------
 *
 * object_drop.c
 *	  Removes a dropped extension or database from shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Correctness does not depend on it: entries without pending uses are evicted
 * on demand, and the flush worker discards uses of keys that no longer exist.
 * But entries of dropped keys take space that live keys need.
 *
 * A session that has not loaded the library does not call the hook.  So an
 * extension that is created removes what one before it has left.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "flush/flush_queue.h"
#include "hooks/object_drop.h"
#include "live/budget_sums.h"
#include "live/feed_servers.h"

PG_FUNCTION_INFO_V1(apikeys_forget_database);

static object_access_hook_type prev_object_access_hook = NULL;

/* The database to remove when this transaction commits. */
static Oid	remove_at_commit = InvalidOid;

/* Which subtransaction dropped it; of several the first, undone last. */
static SubTransactionId dropped_in;

static void
record_database(Oid database)
{
	Assert(OidIsValid(database));
	Assert(IsTransactionState());

	if (OidIsValid(remove_at_commit))
		return;
	remove_at_commit = database;
	dropped_in = GetCurrentSubTransactionId();
}

/* Is there shared memory?  Attaches it: nothing may fail after the commit. */
static bool
attach(void)
{
	return flush_queue_attach() && budget_sums_attach();
}

static void
record_drop(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, classId, objectId, subId, arg);

	if (access != OAT_DROP ||
		(classId != DatabaseRelationId && classId != ExtensionRelationId) ||
		!attach())
		return;

	if (classId == DatabaseRelationId)
		record_database(objectId);
	else if (objectId == get_extension_oid("apikeys", true))
		record_database(MyDatabaseId);
}

/* Removes a database from shared memory, which is attached. */
static void
remove_database(Oid database)
{
	flush_queue_remove_database(database);
	budget_sums_remove_database(database);
	feed_servers_remove_database(database);
}

/*
 * Has this transaction dropped an extension of ours that others know?  The hook has
 * not seen it if the library came with the CREATE EXTENSION after that, which changes
 * its own row as well.
 */
static bool
has_dropped_extension(void)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(relation, InvalidOid, false, SnapshotAny, 0, NULL);
	bool		found = false;
	HeapTuple	tuple;

	while (!found && (tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_extension extension = (Form_pg_extension) GETSTRUCT(tuple);

		found = strcmp(NameStr(extension->extname), "apikeys") == 0 &&
				(tuple->t_data->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) == 0 &&
				TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmax(tuple->t_data)) &&
				!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

/*
 * apikeys_data.forget_database(): void.  For CREATE EXTENSION: removes from shared
 * memory what belongs to no extension, since there is none.  At once, so that what
 * this transaction uses stays; but if it has dropped one, and may be rolled back,
 * when it commits.
 */
Datum
apikeys_forget_database(PG_FUNCTION_ARGS)
{
	if (!attach() || OidIsValid(remove_at_commit))
		PG_RETURN_VOID();
	if (has_dropped_extension())
		record_database(MyDatabaseId);
	else
		remove_database(MyDatabaseId);
	PG_RETURN_VOID();
}

/* Removes what a transaction that has committed has dropped. */
void
object_drop_at_eoxact(bool is_commit)
{
	if (OidIsValid(remove_at_commit) && is_commit)
		remove_database(remove_at_commit);
	remove_at_commit = InvalidOid;
}

/*
 * Undoes the drop if it was in the subtransaction that aborts, or in one
 * within it: those have higher ids.
 */
void
object_drop_at_subxact_abort(SubTransactionId subid)
{
	if (dropped_in >= subid)
		remove_at_commit = InvalidOid;
}

void
object_drop_init(void)
{
	Assert(object_access_hook != record_drop);
	prev_object_access_hook = object_access_hook;
	object_access_hook = record_drop;
}
