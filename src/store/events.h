/*-------------------------------------------------------------------------
 *
 * events.h
 *	  Events without a change.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_EVENTS_H
#define APIKEYS_STORE_EVENTS_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

extern void store_add_key_unchanged(const pg_uuid_t *id, TimestampTz now);
extern void store_add_budget_unchanged(const pg_uuid_t *id, TimestampTz now);
extern void store_add_plan_unchanged(text *name, TimestampTz now);

#endif							/* APIKEYS_STORE_EVENTS_H */
