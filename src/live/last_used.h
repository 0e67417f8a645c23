/*-------------------------------------------------------------------------
 *
 * last_used.h
 *	  When keys were last used.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_LAST_USED_H
#define APIKEYS_LIVE_LAST_USED_H

#include "live/tracked_keys.h"
#include "store/last_used.h"

/* A database that has uses to persist. */
typedef struct DueDatabase
{
	Oid			database;
	TimestampTz due_at;			/* of its earliest use */
} DueDatabase;

/* What a request says of the use of its key. */
typedef struct UseNote
{
	PackedAddress client_ip;	/* all zeroes: not given */
	int			max_lag;		/* ms in which it is to be persisted, see last_used.c; 0: as it comes */
} UseNote;

extern bool last_used_is_crowded(void);
extern void last_used_set_crowded(void);
extern bool last_used_record(const pg_uuid_t *id, TimestampTz now, const UseNote *use,
							 TimestampTz *recorded_at);
extern bool last_used_record_in_entry(TrackedKey *entry, TimestampTz now, const UseNote *use);
extern bool last_used_is_shared(void);
extern TimestampTz last_used_get(const pg_uuid_t *id, PackedAddress *ip);
extern int	last_used_due_databases(DueDatabase *databases, int max);
extern int	last_used_collect(Oid database, int partition, TimestampTz due_by, KeyUse **uses);
extern void last_used_mark_persisted(Oid database, const KeyUse *use, TimestampTz now);
extern void last_used_record_flush(TimestampTz now);
extern void last_used_remove_key(Oid database, const pg_uuid_t *id, bool family_gone,
								 TimestampTz now);
extern void last_used_remove_database(Oid database);

#endif							/* APIKEYS_LIVE_LAST_USED_H */
