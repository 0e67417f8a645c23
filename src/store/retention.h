/*-------------------------------------------------------------------------
 *
 * retention.h
 *	  The statements that delete old events and days of usage.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_RETENTION_H
#define APIKEYS_STORE_RETENTION_H

#include "datatype/timestamp.h"

extern int64 store_delete_events(TimestampTz until, TimestampTz now);
extern int64 store_delete_usage_days(TimestampTz until, TimestampTz now);

#endif							/* APIKEYS_STORE_RETENTION_H */
