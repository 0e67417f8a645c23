/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  The tables and the extension in the system catalogs.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "store/catalog.h"

/* Raises 42P01 for a table in schema apikeys_data, which may just have been dropped. */
void
store_undefined_table(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("relation \"apikeys_data.%s\" does not exist", name)));
}

/* Returns the oid of a table in schema apikeys_data, or InvalidOid. */
Oid
store_find_relation(const char *name)
{
	return get_relname_relid(name, get_namespace_oid("apikeys_data", true));
}

/* The same, but raises 42P01. */
Oid
store_relation_oid(const char *name)
{
	Oid			relid = store_find_relation(name);

	if (!OidIsValid(relid))
		store_undefined_table(name);
	return relid;
}

/*
 * Opens a table in schema apikeys_data, locked for reading; to be closed by
 * table_close().  Raises 42P01, also if it was dropped while we waited.
 */
Relation
store_open_table(const char *name)
{
	Relation	rel = try_table_open(store_relation_oid(name), AccessShareLock);

	if (rel == NULL)
		store_undefined_table(name);
	return rel;
}

/*
 * The other transactions that have a lock on a relation with which they may have changed
 * its rows, or the relation: one that is prepared has, until it ends.  Palloc'd, an array
 * that ends as the server's do.
 */
VirtualTransactionId *
store_writers(Oid relid)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	return GetLockConflicts(&tag, ShareLock, NULL);
}

/* Is another transaction writing to a table in schema apikeys_data?  Not if there is none. */
bool
store_table_is_changing(const char *name)
{
	VirtualTransactionId *writers = store_writers(store_find_relation(name));
	bool		any = VirtualTransactionIdIsValid(writers[0]);

	pfree(writers);
	return any;
}

/*
 * Locks the extension until the transaction ends, as DROP EXTENSION does before
 * anything else.  Returns false if the lock is taken, or if the extension has
 * been dropped, or re-created under another oid.
 */
static bool
lock_extension(Oid extension)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, extension, 0);
	if (LockAcquire(&tag, AccessShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return get_extension_oid("apikeys", true) == extension;
}

/*
 * Locks a relation for writing until the transaction ends.  Returns false if the
 * lock is taken, or the relation has been dropped.
 */
static bool
lock_relation(Oid relid)
{
	return ConditionalLockRelationOid(relid, RowExclusiveLock) &&
		   SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
}

/*
 * Locks the tables and sequences of an extension, in the order in which DROP
 * EXTENSION does.  Returns false as soon as one cannot be locked.
 */
static bool
lock_members(Oid extension)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	bool		locked = true;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, lengthof(key), key);
	while (locked && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend member = (Form_pg_depend) GETSTRUCT(tuple);
		char		relkind = '\0';

		if (member->deptype == DEPENDENCY_EXTENSION && member->classid == RelationRelationId)
			relkind = get_rel_relkind(member->objid);
		if (relkind == RELKIND_RELATION || relkind == RELKIND_SEQUENCE)
			locked = lock_relation(member->objid);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);

	return locked;
}

/*
 * Keeps the extension from being dropped until the transaction ends, without
 * waiting.  Returns false if it is being dropped, or has been.
 *
 * Anybody can take the lock of the extension, by ALTER FUNCTION ... DEPENDS ON
 * EXTENSION, so that alone must not stop us.  Then we lock what DROP EXTENSION
 * will wait for: all that we may use ourselves, so that nobody has to wait for
 * a lock while he holds one that the other wants.
 */
bool
store_keep_extension(Oid extension)
{
	Assert(IsTransactionState() && OidIsValid(extension));
	return lock_extension(extension) ||
		   (lock_members(extension) && get_extension_oid("apikeys", true) == extension);
}

/*
 * Returns the oid of a function, given a schema of ours, its name and the types
 * of its arguments, whether the caller could name it or not.  Raises 42883.
 */
Oid
store_function_oid(const char *schema, const char *name, const Oid *types, int ntypes)
{
	Oid			function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										   CStringGetDatum(name),
										   PointerGetDatum(buildoidvector(types, ntypes)),
										   ObjectIdGetDatum(get_namespace_oid(schema, false)));

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s.%s does not exist", schema, name)));
	return function;
}

/*
 * May the current role execute this function without arguments in schema
 * apikeys?  To be called outside of a scope: in one, the owner is current.
 */
bool
store_may_execute(const char *name)
{
	return may_execute(store_function_oid("apikeys", name, NULL, 0), GetUserId());
}
