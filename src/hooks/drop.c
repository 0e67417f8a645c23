/*-------------------------------------------------------------------------
 *
 * drop.c
 *	  A dropped extension or database is forgotten.
 *
 * Shared memory need not know: what is not pending makes room when it is
 * needed, and what is pending is found to be gone by the flusher.  But a
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

#include "flush/flushqueue.h"
#include "hooks/drop.h"

static object_access_hook_type prev_object_access_hook = NULL;

/* The database to forget when this transaction commits. */
static Oid	forget_at_commit = InvalidOid;

/* Where it was dropped; of several times the first, which lasts longest. */
static SubTransactionId dropped_in;

static void
note_database(Oid database)
{
	if (OidIsValid(forget_at_commit))
		return;
	forget_at_commit = database;
	dropped_in = GetCurrentSubTransactionId();
}

static void
note_drop(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, classId, objectId, subId, arg);

	if (access != OAT_DROP ||
		(classId != DatabaseRelationId && classId != ExtensionRelationId) ||
		!flushqueue_attach())
		return;

	if (classId == DatabaseRelationId)
		note_database(objectId);
	else if (objectId == get_extension_oid("apikeys", true))
		note_database(MyDatabaseId);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && OidIsValid(forget_at_commit))
		flushqueue_forget(forget_at_commit);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		forget_at_commit = InvalidOid;
}

/*
 * What is rolled back with a savepoint is not dropped.  Subtransactions that
 * began after the one that aborts were within it.
 */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mySubid,
					  SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && dropped_in >= mySubid)
		forget_at_commit = InvalidOid;
}

void
drop_init(void)
{
	prev_object_access_hook = object_access_hook;
	object_access_hook = note_drop;
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}
