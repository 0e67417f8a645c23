/*-------------------------------------------------------------------------
 *
 * object_drop.c
 *	  A dropped extension or database is forgotten.
 *
 * Shared memory need not know: what is not pending makes room when it is
 * needed, and what is pending is found to be gone by the flush worker.  But a
 * table that is full of the dead is no help to the living.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"

#include "flush/flush_queue.h"
#include "hooks/object_drop.h"

static object_access_hook_type prev_object_access_hook = NULL;

/* The database to forget when this transaction commits. */
static Oid	remove_at_commit = InvalidOid;

/* Where it was dropped; of several times the first, which lasts longest. */
static SubTransactionId dropped_in;

static void
record_database(Oid database)
{
	if (OidIsValid(remove_at_commit))
		return;
	remove_at_commit = database;
	dropped_in = GetCurrentSubTransactionId();
}

static void
record_drop(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, classId, objectId, subId, arg);

	if (access != OAT_DROP ||
		(classId != DatabaseRelationId && classId != ExtensionRelationId) ||
		!flush_queue_attach())
		return;

	if (classId == DatabaseRelationId)
		record_database(objectId);
	else if (objectId == get_extension_oid("apikeys", true))
		record_database(MyDatabaseId);
}

/* Removes what a transaction that has committed has dropped. */
void
object_drop_at_eoxact(bool is_commit)
{
	if (!OidIsValid(remove_at_commit))
		return;

	if (is_commit)
		flush_queue_remove_database(remove_at_commit);
	remove_at_commit = InvalidOid;
}

/*
 * What is rolled back with a savepoint is not dropped.  Subtransactions that
 * began after the one that aborts were within it.
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
	prev_object_access_hook = object_access_hook;
	object_access_hook = record_drop;
}
