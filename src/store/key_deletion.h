/*-------------------------------------------------------------------------
 *
 * key_deletion.h
 *	  The statements that delete keys, with those that are derived from them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_KEY_DELETION_H
#define APIKEYS_STORE_KEY_DELETION_H

#include "utils/array.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

extern ArrayType *store_delete_key(const pg_uuid_t *id, TimestampTz now);
extern ArrayType *store_delete_ended_derived(const pg_uuid_t *parent_id, TimestampTz now);

#endif							/* APIKEYS_STORE_KEY_DELETION_H */
