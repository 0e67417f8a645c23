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

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
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

/* Returns the oid of a table in schema apikeys_data.  Raises 42P01. */
Oid
store_relation_oid(const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid("apikeys_data", false));

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
 * Locks a relation in schema apikeys_data for writing until the transaction
 * ends.  Returns false if the lock is taken, or there is no such relation.
 */
static bool
lock_relation(const char *name)
{
	Oid			schema = get_namespace_oid("apikeys_data", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	return OidIsValid(relid) && ConditionalLockRelationOid(relid, RowExclusiveLock) &&
		   SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
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
	static const char *const relations[] = {
		"key",
		"usage",
		"usage_day",
		"usage_entry",
		"usage_request",
		"ledger",
		"budget",
		"budget_entry",
		"budget_period",
		"event",
		"event_id_seq",
	};

	Assert(IsTransactionState() && OidIsValid(extension));
	if (lock_extension(extension))
		return true;

	for (int i = 0; i < (int) lengthof(relations); i++)
	{
		if (!lock_relation(relations[i]))
			return false;
	}
	return get_extension_oid("apikeys", true) == extension;
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
