/*-------------------------------------------------------------------------
 *
 * last_used.h
 *	  The statements on the last use of keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_LAST_USED_H
#define APIKEYS_STORE_LAST_USED_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "model/ip_address.h"

/* The last use of a key, and the latest address that it was used from. */
typedef struct KeyUse
{
	pg_uuid_t	id;
	TimestampTz used_at;
	PackedAddress ip;
} KeyUse;

/* The outcome of store_persist_uses() for a use. */
typedef enum UseOutcome
{
	USE_BUSY,					/* its row is locked: try again later */
	USE_PERSISTED,				/* the table has it or a later use */
	USE_KEY_GONE				/* the key has been deleted */
} UseOutcome;

extern void store_last_use(const KeyUse *use, TimestampTz due_before);
extern TimestampTz store_read_last_use(const pg_uuid_t *id);
extern int64 store_persist_uses(const KeyUse *uses, int nuses, UseOutcome *outcomes);

#endif							/* APIKEYS_STORE_LAST_USED_H */
