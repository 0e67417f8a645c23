/*-------------------------------------------------------------------------
 *
 * activity.h
 *	  What happens to keys all the time: their last use.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_ACTIVITY_H
#define APIKEYS_ACTIVITY_H

#include "live/keytable.h"
#include "store/store.h"

/* A database that has uses to persist. */
typedef struct DueDatabase
{
	Oid			database;
	TimestampTz due_at;			/* of its earliest use */
} DueDatabase;

typedef struct ActivityFill
{
	int64		used;
	int64		free;
	int64		pending;
	TimestampTz last_flush;		/* 0: none yet */
} ActivityFill;

extern bool activity_note_use(const pg_uuid_t *id, TimestampTz now);
extern bool activity_note_in_entry(Entry *entry, TimestampTz now);
extern bool activity_is_shared(void);
extern TimestampTz activity_last_use(const pg_uuid_t *id);
extern int	activity_due_databases(DueDatabase *databases, int max);
extern int	activity_collect(Oid database, TimestampTz due_by, KeyUse **uses);
extern void activity_mark_persisted(Oid database, const KeyUse *use, TimestampTz now);
extern void activity_note_flush(TimestampTz now);
extern void activity_forget_key(Oid database, const pg_uuid_t *id, TimestampTz now);
extern void activity_forget_database(Oid database);
extern bool activity_fill(ActivityFill *fill);

#endif							/* APIKEYS_ACTIVITY_H */
