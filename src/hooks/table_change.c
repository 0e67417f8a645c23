/*-------------------------------------------------------------------------
 *
 * table_change.c
 *	  Notices when the tables that are cached, or their triggers, are altered.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Triggers count each change of a row (cache/invalidation.c).  What is altered
 * in other ways, or while a trigger is disabled, is taken for a change of
 * everything: any command on a relation in schema apikeys_data, or on a trigger
 * of one, that the server's object access hook tells of.  VACUUM is none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_trigger.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "cache/changes.h"
#include "cache/invalidation.h"
#include "hooks/table_change.h"

static object_access_hook_type prev_object_access_hook = NULL;

/* The relation of a trigger, which may just have been made; InvalidOid: none. */
static Oid
relation_of_trigger(Oid trigger)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	Oid			relid = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(rel, TriggerOidIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		relid = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return relid;
}

/* Is a relation in schema apikeys_data? */
static bool
is_ours(Oid relid)
{
	Oid			schema = get_namespace_oid("apikeys_data", true);

	return OidIsValid(schema) && OidIsValid(relid) && get_rel_namespace(relid) == schema;
}

/* object_access_hook */
static void
note_change(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, classId, objectId, subId, arg);

	if ((access != OAT_POST_CREATE && access != OAT_DROP && access != OAT_POST_ALTER) ||
		!IsNormalProcessingMode() || !changes_are_counted())
		return;
	if ((classId == DatabaseRelationId && access == OAT_DROP) ||
		(classId == RelationRelationId && is_ours(objectId)) ||
		(classId == TriggerRelationId && is_ours(relation_of_trigger(objectId))))
		invalidation_of_everything();
}

void
table_change_init(void)
{
	Assert(object_access_hook != note_change);
	prev_object_access_hook = object_access_hook;
	object_access_hook = note_change;
}
