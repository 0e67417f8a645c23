/*-------------------------------------------------------------------------
 *
 * rehash_queue.c
 *	  What backends tell each other about HMAC secrets: no secret.
 *
 * A verify that finds a key under another secret than the first notes both
 * its hashes here, the flush worker takes the note and signs the key anew.  A note
 * is a hint: when there is no room for one, or when the flush worker that has
 * taken it fails, the key stays as it is, still good, and its next verify
 * notes it again.  Notes are looked up by key; one that cannot be had within
 * a few steps has no room.
 *
 * Who signs keys tells the name of its file: a backend in the middle of a
 * long statement may still know another, or none.  That counts for those who
 * have loaded their configuration earlier.
 *
 * Which secrets are missing is noted so that it is logged once, not by each
 * backend.
 *
 * One LWLock guards it all; whoever holds it copies memory and nothing else.
 * How many notes there are is read without it, and only a hint then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "live/rehash_queue.h"

#define MAX_ENTRIES		4096
#define MAX_STEPS		16
#define MAX_MISSING		64		/* in all databases; more are logged more often */

typedef struct RehashEntry
{
	Oid			database;		/* InvalidOid: free */
	RehashRequest request;
} RehashEntry;

typedef struct MissingSecret
{
	Oid			database;		/* InvalidOid: free */
	char		name[NAMEDATALEN * 4]; /* hash_secret may have 63 characters */
} MissingSecret;

typedef struct Missing
{
	MissingSecret secrets[MAX_MISSING];
} Missing;

typedef struct RehashQueue
{
	ShmemHeader header;
	LWLock		lock;
	pg_atomic_uint32 nentries;
	TimestampTz file_loaded_at; /* by the configuration of then */
	char		file[MAXPGPATH];
	Missing		missing;
	RehashEntry entries[MAX_ENTRIES];
} RehashQueue;

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

/* Is there shared memory, without which no key is signed anew? */
bool
rehash_available(void)
{
	return shmem_attach(&segment) != NULL;
}

/* ----------------------------------------- keys that are to be signed anew */

/* Returns the note of a key, else a free one, else NULL.  The lock is held. */
static RehashEntry *
find_entry(RehashQueue *queue, const pg_uuid_t *id)
{
	uint32		place = hash_bytes((const unsigned char *) id, UUID_LEN) ^ MyDatabaseId;
	RehashEntry *spare = NULL;

	for (int i = 0; i < MAX_STEPS; i++)
	{
		RehashEntry *entry = &queue->entries[(place + i) % MAX_ENTRIES];

		if (entry->database == MyDatabaseId &&
			memcmp(&entry->request.id, id, UUID_LEN) == 0)
			return entry;
		if (spare == NULL && !OidIsValid(entry->database))
			spare = entry;
	}
	return spare;
}

/*
 * Notes a key of this database; false when there is no room.  It does not
 * matter whether there was a note of it: who should have seen to that one may
 * have been lost.
 */
bool
rehash_enqueue(const RehashRequest *request)
{
	RehashQueue *queue = shmem_attach(&segment);
	RehashEntry *entry;

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

/* Takes notes of a database, at most max; returns how many. */
int
rehash_dequeue(Oid database, RehashRequest *requests, int max)
{
	RehashQueue *queue = shmem_attach(&segment);
	int			n = 0;

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
	pg_atomic_fetch_sub_u32(&queue->nentries, n);
	LWLockRelease(&queue->lock);

	return n;
}

/* Are there notes of a database? */
bool
rehash_is_pending(Oid database)
{
	RehashQueue *queue = shmem_attach(&segment);
	bool		due = false;

	if (queue == NULL || pg_atomic_read_u32(&queue->nentries) == 0)
		return false;

	LWLockAcquire(&queue->lock, LW_SHARED);
	for (int i = 0; i < MAX_ENTRIES && !due; i++)
		due = (queue->entries[i].database == database);
	LWLockRelease(&queue->lock);

	return due;
}

/* Forgets a database that was dropped, or that has no apikeys any more. */
void
rehash_remove_database(Oid database)
{
	RehashQueue *queue = shmem_attach(&segment);

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
	for (int i = 0; i < MAX_MISSING; i++)
	{
		if (queue->missing.secrets[i].database == database)
			queue->missing.secrets[i].database = InvalidOid;
	}
	LWLockRelease(&queue->lock);
}

/* --------------------------------------- the file by which keys are signed */

/* Tells others by which file this backend signs keys. */
void
secret_file_announce(const char *path)
{
	static TimestampTz announced = 0;
	RehashQueue *queue = shmem_attach(&segment);

	if (queue == NULL || announced == PgReloadTime)
		return;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	if (PgReloadTime > queue->file_loaded_at)
	{
		queue->file_loaded_at = PgReloadTime;
		strlcpy(queue->file, path, MAXPGPATH);
	}
	LWLockRelease(&queue->lock);
	announced = PgReloadTime;
}

/*
 * Gives the file by which somebody signs keys who has loaded the
 * configuration later than this backend has; path has room for MAXPGPATH.
 */
bool
secret_file_newer(char *path)
{
	RehashQueue *queue = shmem_attach(&segment);
	bool		later;

	if (queue == NULL)
		return false;

	LWLockAcquire(&queue->lock, LW_SHARED);
	later = (queue->file_loaded_at > PgReloadTime);
	if (later)
		memcpy(path, queue->file, MAXPGPATH);
	LWLockRelease(&queue->lock);

	return later;
}

/* ------------------------------------------------- secrets that are missing */

/* Is it the secret of that name? */
static bool
is_missing(const MissingSecret *secret, Oid database, const char *name)
{
	return secret->database == database && strcmp(secret->name, name) == 0;
}

static void
exchange_missing(Missing *missing, Oid database, char *const *names, int n, bool *newly_missing)
{
	for (int i = 0; i < n; i++)
		newly_missing[i] = true;

	/* What is no longer missing is forgotten, and the rest is no newly_missing. */
	for (int m = 0; m < MAX_MISSING; m++)
	{
		MissingSecret *secret = &missing->secrets[m];
		bool		still = false;

		for (int i = 0; i < n; i++)
		{
			if (is_missing(secret, database, names[i]))
			{
				newly_missing[i] = false;
				still = true;
			}
		}
		if (secret->database == database && !still)
			secret->database = InvalidOid;
	}

	for (int i = 0, m = 0; i < n; i++)
	{
		while (newly_missing[i] && m < MAX_MISSING && OidIsValid(missing->secrets[m].database))
			m++;
		if (!newly_missing[i] || m == MAX_MISSING)
			continue;
		missing->secrets[m].database = database;
		strlcpy(missing->secrets[m].name, names[i], sizeof(missing->secrets[m].name));
	}
}

/*
 * Notes which secrets are missing in a database now, and tells which of them
 * are newly_missing.  Without shared memory that is known of this backend alone.
 */
void
missing_secrets_exchange(Oid database, char *const *names, int n, bool *newly_missing)
{
	static Missing own;
	RehashQueue *queue = shmem_attach(&segment);

	if (queue == NULL)
	{
		exchange_missing(&own, database, names, n, newly_missing);
		return;
	}

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	exchange_missing(&queue->missing, database, names, n, newly_missing);
	LWLockRelease(&queue->lock);
}
