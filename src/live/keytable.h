/*-------------------------------------------------------------------------
 *
 * keytable.h
 *	  The shared hash table of keys, and its locking protocol.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_KEYTABLE_H
#define APIKEYS_KEYTABLE_H

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/shmem.h"
#include "live/slots.h"
#include "model/window.h"

typedef struct EntryKey
{
	Oid			database;		/* InvalidOid: the entry is free */
	pg_uuid_t	id;
} EntryKey;

typedef struct Entry
{
	EntryKey	key;			/* partition lock */
	int			next;			/* in its chain or the free list; lock */
	pg_atomic_uint64 seen;		/* last use, a TimestampTz; grows */
	pg_atomic_uint64 persisted; /* last use in the table, 0: unknown; grows */
	pg_atomic_uint64 written_at; /* when that was written, likewise */
	Window		windows[WINDOW_NKINDS]; /* exclusive lock */
	HeldSlots	held;			/* exclusive lock */
} Entry;

/* A part of the table, and what its lock guards. */
typedef struct Partition
{
	LWLock		lock;
	int			first_free;		/* lock */
	int			nused;			/* lock */
	int			hand;			/* where the next victim is looked for; lock */
	int			first_free_slot; /* exclusive lock */
} Partition;

typedef struct KeyTable
{
	ShmemHeader header;
	int			npartitions;	/* set at birth */
	int			nentries;		/* in each partition, and slots; set at birth */
	pg_atomic_uint64 last_flush; /* a TimestampTz; grows */
} KeyTable;

/* A partition, and where in it a key belongs. */
typedef struct Place
{
	Partition  *partition;
	EntryKey	key;
	int		   *bucket;			/* head of its chain; lock */
	Entry	   *entries;		/* of the partition */
	SlotPool	pool;			/* of the partition; exclusive lock */
} Place;

extern void keytable_init(void);
extern KeyTable *keytable_attach(void);

extern Place keytable_place(KeyTable *table, Oid database, const pg_uuid_t *id);
extern bool keytable_slot_place(KeyTable *table, int64 slot, Place *place);
extern Place keytable_partition(KeyTable *table, int p);

extern void keytable_lock(Partition *partition, LWLockMode mode);
extern void keytable_unlock(Partition *partition);

extern Entry *keytable_find(const Place *place);
extern Entry *keytable_add(KeyTable *table, const Place *place, TimestampTz now,
						   bool *evicted);
extern Entry *keytable_get(KeyTable *table, const Place *place, TimestampTz now,
						   bool *evicted);
extern void keytable_remove(const Place *place, Entry *entry);

extern void keytable_advance(pg_atomic_uint64 *time, TimestampTz to);
extern bool keytable_is_pending(Entry *entry);
extern bool keytable_is_limiting(const Place *place, Entry *entry, TimestampTz now);
extern int64 keytable_slot_timeout(void);

#endif							/* APIKEYS_KEYTABLE_H */
