/*-------------------------------------------------------------------------
 *
 * rehash_queue.c
 *	  Which keys are to be rehashed under the current HMAC secret.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A verify that finds a key under another secret than the first has both its
 * hashes at hand and enqueues them here; a flush worker dequeues the request
 * and updates the row.  Neither a raw key nor a secret is ever in here.
 *
 * A request is a hint: if there is no space for it, or if the flush worker
 * that dequeued it fails, the key stays valid under its old hash, and its
 * next verify enqueues it again.
 *
 * The queue is a hash table with open addressing.  A request is stored within
 * MAX_PROBES entries of its hash or not at all.  One LWLock guards the
 * entries, and only memory is copied under it.  How many entries are in use
 * is an atomic, so that an empty queue is seen without the lock; it changes
 * under the exclusive lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"

#include "base/shmem.h"
#include "live/rehash_queue.h"

#define MAX_ENTRIES		4096
#define MAX_PROBES		16

typedef struct RehashEntry
{
	Oid			database;		/* InvalidOid: free */
	RehashRequest request;
} RehashEntry;

typedef struct RehashQueue
{
	ShmemHeader header;
	LWLock		lock;
	pg_atomic_uint32 nentries;	/* in use */
	RehashEntry entries[MAX_ENTRIES];
} RehashQueue;

StaticAssertDecl((MAX_ENTRIES & (MAX_ENTRIES - 1)) == 0,
				 "a search that wraps around at 2^32 stays in order");

static Size
queue_size(void)
{
	return sizeof(RehashQueue);
}

static void
queue_init_shared(void *address)
{
	RehashQueue *queue = address;

	LWLockInitialize(&queue->lock, queue->header.tranche_id);
	pg_atomic_init_u32(&queue->nentries, 0);
}

static ShmemSegment segment = {
	.name = "apikeys rehash",
	.size = queue_size,
	.init = queue_init_shared,
};

void
rehash_queue_init(void)
{
	shmem_add(&segment);
}

/* Is there shared memory?  Without it no key is rehashed. */
bool
rehash_available(void)
{
	return shmem_attach(&segment) != NULL;
}

/*
 * Returns the entry of a key of this database, else a free one, else NULL.
 * Exclusive lock.
 */
static RehashEntry *
find_entry(RehashQueue *queue, const pg_uuid_t *id)
{
	uint32		start = hash_bytes((const unsigned char *) id, UUID_LEN) ^ MyDatabaseId;
	RehashEntry *free_entry = NULL;

	Assert(LWLockHeldByMeInMode(&queue->lock, LW_EXCLUSIVE));
	Assert(OidIsValid(MyDatabaseId));

	for (int i = 0; i < MAX_PROBES; i++)
	{
		RehashEntry *entry = &queue->entries[(start + i) % MAX_ENTRIES];

		if (entry->database == MyDatabaseId &&
			memcmp(&entry->request.id, id, UUID_LEN) == 0)
			return entry;
		if (free_entry == NULL && !OidIsValid(entry->database))
			free_entry = entry;
	}
	return free_entry;
}

/*
 * Enqueues a key of this database; false if there is no space.  True also if
 * the key was enqueued already: the worker that was started for it may have
 * been lost.
 */
bool
rehash_enqueue(const RehashRequest *request)
{
	RehashQueue *queue = shmem_attach(&segment);
	RehashEntry *entry;

	Assert(queue != NULL);
	Assert(request->secret[0] != '\0');

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	entry = find_entry(queue, &request->id);
	if (entry != NULL)
	{
		if (!OidIsValid(entry->database))
			pg_atomic_fetch_add_u32(&queue->nentries, 1);
		entry->database = MyDatabaseId;
		entry->request = *request;
	}
	LWLockRelease(&queue->lock);

	return entry != NULL;
}

/* Removes requests of a database, at most max; returns how many. */
int
rehash_dequeue(Oid database, RehashRequest *requests, int max)
{
	RehashQueue *queue = shmem_attach(&segment);
	int			n = 0;

	Assert(OidIsValid(database) && max > 0);
	if (queue == NULL || pg_atomic_read_u32(&queue->nentries) == 0)
		return 0;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_ENTRIES && n < max; i++)
	{
		RehashEntry *entry = &queue->entries[i];

		if (entry->database != database)
			continue;
		requests[n++] = entry->request;
		entry->database = InvalidOid;
	}
	Assert(pg_atomic_read_u32(&queue->nentries) >= n);
	pg_atomic_fetch_sub_u32(&queue->nentries, n);
	LWLockRelease(&queue->lock);

	return n;
}

/* Are there requests of a database? */
bool
rehash_is_pending(Oid database)
{
	RehashQueue *queue = shmem_attach(&segment);
	bool		pending = false;

	Assert(OidIsValid(database));
	if (queue == NULL || pg_atomic_read_u32(&queue->nentries) == 0)
		return false;

	LWLockAcquire(&queue->lock, LW_SHARED);
	for (int i = 0; i < MAX_ENTRIES && !pending; i++)
		pending = (queue->entries[i].database == database);
	LWLockRelease(&queue->lock);

	return pending;
}

/* Removes all requests of a database that is dropped, or no longer has apikeys. */
void
rehash_remove_database(Oid database)
{
	RehashQueue *queue = shmem_attach(&segment);

	Assert(OidIsValid(database));
	if (queue == NULL)
		return;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_ENTRIES; i++)
	{
		if (queue->entries[i].database != database)
			continue;
		queue->entries[i].database = InvalidOid;
		pg_atomic_fetch_sub_u32(&queue->nentries, 1);
	}
	LWLockRelease(&queue->lock);
}
