/*-------------------------------------------------------------------------
 *
 * tracked_keys.h
 *	  The shared hash table of keys and budgets, and its locking protocol.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_TRACKED_KEYS_H
#define APIKEYS_LIVE_TRACKED_KEYS_H

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/shmem.h"
#include "live/tracked_limits.h"
#include "model/ip_address.h"

typedef struct TrackedKeyTag
{
	Oid			database;		/* InvalidOid: the entry is free */
	pg_uuid_t	id;
} TrackedKeyTag;

typedef struct TrackedKey
{
	TrackedKeyTag tag;			/* partition lock */
	int			next;			/* in its chain or the free list; partition lock */
	pg_atomic_uint64 last_used; /* a TimestampTz; grows */
	pg_atomic_uint64 persisted; /* last use in apikeys_data.usage, 0: unknown; grows */
	pg_atomic_uint64 written_at; /* when that was committed, likewise */
	pg_atomic_uint64 told;		/* last use that the server knows which this one follows; grows */
	PackedAddress last_used_ip; /* of the latest use with one; exclusive lock to write */
	TrackedLimits limits;		/* exclusive lock */
	pg_atomic_uint32 max_lag;	/* ms in which a use is to be persisted; 0: as it comes */
	bool		pinned;			/* not to be evicted, while the lock is held */
} TrackedKey;

/* A partition of the table, with what its lock guards. */
typedef struct Partition
{
	LWLock		lock;
	int			first_free;		/* lock */
	int			nused;			/* lock */
	int			next_victim;	/* where the next eviction starts to search; lock */
	int			first_free_window; /* exclusive lock */
	uint32		last_version;	/* of what an owner has used; exclusive lock */
} Partition;

/* A chain of entries; lock. */
typedef struct TrackedChain
{
	int			first;
	uint32		removals;		/* how often one has lost an entry, or what it has used */
} TrackedChain;

/* Where in the segment each array begins, in bytes. */
typedef struct TrackedKeysLayout
{
	Size		chains;
	Size		entries;
	Size		windows;
	Size		holds;
	Size		end;
} TrackedKeysLayout;

/* The table, which is followed by its partitions and by the arrays. */
typedef struct TrackedKeys
{
	ShmemHeader header;
	int			npartitions;	/* constant, like all to the padding */
	int			nentries;		/* in each partition */
	uint64		seed;			/* of the hashes of tags */
	TrackedKeysLayout layout;
	char		padding[PG_CACHE_LINE_SIZE]; /* everybody reads the above, and writes the below */
	pg_atomic_uint64 last_flush; /* a TimestampTz; grows */
	pg_atomic_uint64 searched_at; /* when flush/reclaim.c found no space; a TimestampTz */
	pg_atomic_uint32 crowded;	/* there is soon no space for pending uses; see below */
	pg_atomic_uint32 next_written; /* partition in which space is made next */
	HoldPool	free_holds;		/* of all partitions; has a lock of its own */
} TrackedKeys;

/* A set of partitions, by their numbers. */
typedef uint64 TrackedPartitionSet;

#define TRACKED_KEYS_MAX_PARTITIONS	64
#define ALL_PARTITIONS			(-1)
#define NO_ENTRY				(-1)

/* How many windows a partition has. */
static inline int
tracked_keys_nwindows(const TrackedKeys *table)
{
	return table->nentries * TRACKED_WINDOWS_PER_ENTRY;
}

/* How many reservations can be held: one request needs one for each owner. */
static inline int
tracked_keys_nholds(const TrackedKeys *table)
{
	return table->npartitions * table->nentries;
}

/*
 * For functions to be called under a partition's lock; the postmaster takes
 * none.
 */
#define AssertLocked(partition) \
	Assert(!IsUnderPostmaster || LWLockHeldByMe(&(partition)->lock))
#define AssertLockedExclusively(partition) \
	Assert(!IsUnderPostmaster || LWLockHeldByMeInMode(&(partition)->lock, LW_EXCLUSIVE))

/* A partition, and where a key belongs in it. */
typedef struct TrackedKeyRef
{
	Partition  *partition;
	TrackedKeyTag tag;
	TrackedChain *chain;		/* in which the key is; lock */
	TrackedKey *entries;		/* of the partition */
	LimitPools	pools;			/* exclusive lock */
	int			number;			/* of the partition */
} TrackedKeyRef;

extern void tracked_keys_init(void);
extern TrackedKeys *tracked_keys_attach(void);

extern TrackedKeyRef tracked_keys_locate(TrackedKeys *table, Oid database, const pg_uuid_t *id);
extern Hold *tracked_keys_holds(TrackedKeys *table);
extern TrackedKeyRef tracked_keys_partition(TrackedKeys *table, int p);

extern void tracked_keys_lock(Partition *partition, LWLockMode mode);
extern void tracked_keys_unlock(Partition *partition);
extern void tracked_keys_lock_all(TrackedKeys *table, TrackedPartitionSet partitions);
extern void tracked_keys_unlock_all(TrackedKeys *table, TrackedPartitionSet partitions);

extern TrackedKey *tracked_keys_find(const TrackedKeyRef *ref);
extern void tracked_keys_remove(const TrackedKeyRef *ref, TrackedKey *entry);
extern void tracked_keys_clear_limits(const TrackedKeyRef *ref, TrackedKey *entry);

extern void tracked_keys_advance(pg_atomic_uint64 *time, TimestampTz to);
extern bool tracked_keys_is_pending(TrackedKey *entry);
extern void tracked_keys_set_crowded(TrackedKeys *table);
extern bool tracked_keys_is_crowded(TrackedKeys *table);
extern bool tracked_keys_clear_crowded(TrackedKeys *table);
extern int	tracked_keys_next_written(TrackedKeys *table);
extern bool tracked_keys_is_limiting(const TrackedKeyRef *ref, TrackedKey *entry, TimestampTz now);

#endif							/* APIKEYS_LIVE_TRACKED_KEYS_H */
