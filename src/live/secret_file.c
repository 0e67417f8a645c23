/*-------------------------------------------------------------------------
 *
 * secret_file.c
 *	  Which file of HMAC secrets is the newest that any backend uses.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A backend in the middle of a long statement has not yet reloaded its
 * configuration, so apikeys.hmac_secret_file may have another value there
 * than in a backend that hashes new keys.  So whoever hashes a key announces
 * the path of its file, and a backend that does not find a key reads the file
 * that was announced by a backend with a later configuration.  Only the path
 * is shared, never a secret.
 *
 * One LWLock guards the path; only memory is copied under it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "base/shmem.h"
#include "live/secret_file.h"

typedef struct SecretFile
{
	ShmemHeader header;
	LWLock		lock;
	TimestampTz loaded_at;		/* PgReloadTime of its backend; 0: no path yet */
	char		path[MAXPGPATH];
} SecretFile;

static Size
secret_file_size(void)
{
	return sizeof(SecretFile);
}

static void
secret_file_init_shared(void *address)
{
	SecretFile *file = address;

	LWLockInitialize(&file->lock, file->header.tranche_id);
}

static ShmemSegment segment = {
	.name = "apikeys secret file",
	.size = secret_file_size,
	.init = secret_file_init_shared,
};

void
secret_file_init(void)
{
	shmem_add(&segment);
}

/* Announces the file with whose secrets this backend hashes keys. */
void
secret_file_announce(const char *path)
{
	static TimestampTz announced = 0;
	SecretFile *file = shmem_attach(&segment);

	Assert(path[0] != '\0');
	if (file == NULL || announced == PgReloadTime)
		return;

	LWLockAcquire(&file->lock, LW_EXCLUSIVE);
	if (PgReloadTime > file->loaded_at)
	{
		file->loaded_at = PgReloadTime;
		strlcpy(file->path, path, MAXPGPATH);
	}
	LWLockRelease(&file->lock);
	announced = PgReloadTime;
}

/*
 * Copies the path of a file that was announced by a backend which has loaded
 * its configuration later than this one; false if there is none.  path has
 * MAXPGPATH bytes.
 */
bool
secret_file_newer(char *path)
{
	SecretFile *file = shmem_attach(&segment);
	bool		newer;

	if (file == NULL)
		return false;

	LWLockAcquire(&file->lock, LW_SHARED);
	newer = (file->loaded_at > PgReloadTime);
	if (newer)
		memcpy(path, file->path, MAXPGPATH);
	LWLockRelease(&file->lock);

	return newer;
}
