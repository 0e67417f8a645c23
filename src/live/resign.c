/*-------------------------------------------------------------------------
 *
 * resign.c
 *	  What backends tell each other about HMAC secrets: no secret.
 *
 * A verify that finds a key under another secret than the first notes both
 * its hashes here, the flusher takes the note and signs the key anew.  A note
 * is a hint: when there is no room for one, or when the flusher that has
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
#include "live/resign.h"

#define MAX_NOTES		4096
#define MAX_STEPS		16
#define MAX_MISSING		64		/* in all databases; more are logged more often */

typedef struct Note
{
	Oid			database;		/* InvalidOid: free */
	ResignRequest request;
} Note;

typedef struct MissingSecret
{
	Oid			database;		/* InvalidOid: free */
	char		name[NAMEDATALEN * 4]; /* hash_secret may have 63 characters */
} MissingSecret;

typedef struct Missing
{
	MissingSecret secrets[MAX_MISSING];
} Missing;

typedef struct Board
{
	ShmemHeader header;
	LWLock		lock;
	pg_atomic_uint32 nnotes;
	TimestampTz file_loaded_at; /* by the configuration of then */
	char		file[MAXPGPATH];
	Missing		missing;
	Note		notes[MAX_NOTES];
} Board;

static Size
board_size(void)
{
	return sizeof(Board);
}

static void
board_born(void *address)
{
	Board	   *board = address;

	LWLockInitialize(&board->lock, board->header.tranche_id);
	pg_atomic_init_u32(&board->nnotes, 0);
}

static ShmemSegment segment = {
	.name = "apikeys resign",
	.size = board_size,
	.init = board_born,
};

void
resign_init(void)
{
	shmem_add(&segment);
}

/* Is there shared memory, without which no key is signed anew? */
bool
resign_available(void)
{
	return shmem_attach(&segment) != NULL;
}

/* ----------------------------------------- keys that are to be signed anew */

/* Returns the note of a key, else a free one, else NULL.  The lock is held. */
static Note *
find_note(Board *board, const pg_uuid_t *id)
{
	uint32		place = hash_bytes((const unsigned char *) id, UUID_LEN) ^ MyDatabaseId;
	Note	   *spare = NULL;

	for (int i = 0; i < MAX_STEPS; i++)
	{
		Note	   *note = &board->notes[(place + i) % MAX_NOTES];

		if (note->database == MyDatabaseId &&
			memcmp(&note->request.id, id, UUID_LEN) == 0)
			return note;
		if (spare == NULL && !OidIsValid(note->database))
			spare = note;
	}
	return spare;
}

/*
 * Notes a key of this database; false when there is no room.  It does not
 * matter whether there was a note of it: who should have seen to that one may
 * have been lost.
 */
bool
resign_note(const ResignRequest *request)
{
	Board	   *board = shmem_attach(&segment);
	Note	   *note;

	LWLockAcquire(&board->lock, LW_EXCLUSIVE);
	note = find_note(board, &request->id);
	if (note != NULL)
	{
		if (!OidIsValid(note->database))
			pg_atomic_fetch_add_u32(&board->nnotes, 1);
		note->database = MyDatabaseId;
		note->request = *request;
	}
	LWLockRelease(&board->lock);

	return note != NULL;
}

/* Takes notes of a database, at most max; returns how many. */
int
resign_take(Oid database, ResignRequest *requests, int max)
{
	Board	   *board = shmem_attach(&segment);
	int			n = 0;

	if (board == NULL || pg_atomic_read_u32(&board->nnotes) == 0)
		return 0;

	LWLockAcquire(&board->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_NOTES && n < max; i++)
	{
		Note	   *note = &board->notes[i];

		if (note->database != database)
			continue;
		requests[n++] = note->request;
		note->database = InvalidOid;
	}
	pg_atomic_fetch_sub_u32(&board->nnotes, n);
	LWLockRelease(&board->lock);

	return n;
}

/* Are there notes of a database? */
bool
resign_is_due(Oid database)
{
	Board	   *board = shmem_attach(&segment);
	bool		due = false;

	if (board == NULL || pg_atomic_read_u32(&board->nnotes) == 0)
		return false;

	LWLockAcquire(&board->lock, LW_SHARED);
	for (int i = 0; i < MAX_NOTES && !due; i++)
		due = (board->notes[i].database == database);
	LWLockRelease(&board->lock);

	return due;
}

/* Forgets a database that was dropped, or that has no apikeys any more. */
void
resign_forget_database(Oid database)
{
	Board	   *board = shmem_attach(&segment);

	if (board == NULL)
		return;

	LWLockAcquire(&board->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_NOTES; i++)
	{
		if (board->notes[i].database != database)
			continue;
		board->notes[i].database = InvalidOid;
		pg_atomic_fetch_sub_u32(&board->nnotes, 1);
	}
	for (int i = 0; i < MAX_MISSING; i++)
	{
		if (board->missing.secrets[i].database == database)
			board->missing.secrets[i].database = InvalidOid;
	}
	LWLockRelease(&board->lock);
}

/* --------------------------------------- the file by which keys are signed */

/* Tells others by which file this backend signs keys. */
void
resign_announce_file(const char *path)
{
	static TimestampTz announced = 0;
	Board	   *board = shmem_attach(&segment);

	if (board == NULL || announced == PgReloadTime)
		return;

	LWLockAcquire(&board->lock, LW_EXCLUSIVE);
	if (PgReloadTime > board->file_loaded_at)
	{
		board->file_loaded_at = PgReloadTime;
		strlcpy(board->file, path, MAXPGPATH);
	}
	LWLockRelease(&board->lock);
	announced = PgReloadTime;
}

/*
 * Gives the file by which somebody signs keys who has loaded the
 * configuration later than this backend has; path has room for MAXPGPATH.
 */
bool
resign_file(char *path)
{
	Board	   *board = shmem_attach(&segment);
	bool		later;

	if (board == NULL)
		return false;

	LWLockAcquire(&board->lock, LW_SHARED);
	later = (board->file_loaded_at > PgReloadTime);
	if (later)
		memcpy(path, board->file, MAXPGPATH);
	LWLockRelease(&board->lock);

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
swap_missing(Missing *missing, Oid database, char *const *names, int n, bool *news)
{
	for (int i = 0; i < n; i++)
		news[i] = true;

	/* What is no longer missing is forgotten, and the rest is no news. */
	for (int m = 0; m < MAX_MISSING; m++)
	{
		MissingSecret *secret = &missing->secrets[m];
		bool		still = false;

		for (int i = 0; i < n; i++)
		{
			if (is_missing(secret, database, names[i]))
			{
				news[i] = false;
				still = true;
			}
		}
		if (secret->database == database && !still)
			secret->database = InvalidOid;
	}

	for (int i = 0, m = 0; i < n; i++)
	{
		while (news[i] && m < MAX_MISSING && OidIsValid(missing->secrets[m].database))
			m++;
		if (!news[i] || m == MAX_MISSING)
			continue;
		missing->secrets[m].database = database;
		strlcpy(missing->secrets[m].name, names[i], sizeof(missing->secrets[m].name));
	}
}

/*
 * Notes which secrets are missing in a database now, and tells which of them
 * are news.  Without shared memory that is known of this backend alone.
 */
void
resign_swap_missing(Oid database, char *const *names, int n, bool *news)
{
	static Missing own;
	Board	   *board = shmem_attach(&segment);

	if (board == NULL)
	{
		swap_missing(&own, database, names, n, news);
		return;
	}

	LWLockAcquire(&board->lock, LW_EXCLUSIVE);
	swap_missing(&board->missing, database, names, n, news);
	LWLockRelease(&board->lock);
}
