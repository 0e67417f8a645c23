/*-------------------------------------------------------------------------
 *
 * dirty_read.h
 *	  What transactions do to rows that no statement shows.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_DIRTY_READ_H
#define APIKEYS_STORE_DIRTY_READ_H

#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/uuid.h"

extern bool store_exists_for_anyone(const char *table, const pg_uuid_t *id);
extern bool store_row_is_settled(Relation rel, ItemPointer tid, TransactionId xmin);

#endif							/* APIKEYS_STORE_DIRTY_READ_H */
