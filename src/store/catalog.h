/*-------------------------------------------------------------------------
 *
 * catalog.h
 *	  The tables and the extension in the system catalogs.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_CATALOG_H
#define APIKEYS_STORE_CATALOG_H

#include "storage/lock.h"
#include "utils/relcache.h"

#include "base/compat.h"

pg_noreturn extern void store_undefined_table(const char *name);
extern Oid	store_find_relation(const char *name);
extern Oid	store_relation_oid(const char *name);
extern Relation store_open_table(const char *name);
extern VirtualTransactionId *store_writers(Oid relid);
extern bool store_table_is_changing(const char *name);
extern bool store_keep_extension(Oid extension);
extern Oid	store_function_oid(const char *schema, const char *name, const Oid *types, int ntypes);
extern bool store_may_execute(const char *name);

#endif							/* APIKEYS_STORE_CATALOG_H */
