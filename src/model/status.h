/*-------------------------------------------------------------------------
 *
 * status.h
 *	  The effective status of a key at a given time.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_STATUS_H
#define APIKEYS_MODEL_STATUS_H

#include "datatype/timestamp.h"

/* In the order in which verify checks; the names are apikeys.key_status's. */
typedef enum KeyStatus
{
	KEY_STATUS_REVOKED,
	KEY_STATUS_EXPIRED,
	KEY_STATUS_DISABLED,
	KEY_STATUS_ACTIVE
} KeyStatus;

extern KeyStatus status_at(TimestampTz now, bool revoked,
						   TimestampTz expires_at, bool enabled);

#endif							/* APIKEYS_MODEL_STATUS_H */
