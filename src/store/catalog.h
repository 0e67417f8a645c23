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

#include "storage/lockdefs.h"

extern Oid	store_relation_oid(const char *name);
extern bool store_lock_extension(Oid extension, LOCKMODE mode, bool wait);

#endif							/* APIKEYS_STORE_CATALOG_H */
