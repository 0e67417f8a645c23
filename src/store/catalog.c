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
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

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
 * anything else.  Returns false if it has been dropped, or re-created under
 * another oid, or if the lock is taken and wait is false.
 */
bool
store_lock_extension(Oid extension, LOCKMODE mode, bool wait)
{
	LOCKTAG		tag;

	Assert(IsTransactionState() && OidIsValid(extension));
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, extension, 0);
	if (LockAcquire(&tag, mode, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return get_extension_oid("apikeys", true) == extension;
}
