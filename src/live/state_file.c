/*-------------------------------------------------------------------------
 *
 * state_file.c
 *	  Saves pending uses and windows at shutdown, loads them at start.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * No worker can start while the server shuts down.  So the postmaster writes
 * uses that are pending then, and windows that still count, to a file after
 * all its children have exited, and reads it at the next start.  The launcher
 * removes the file once the server is up, so that a start that fails loses
 * nothing.  Reading the file twice does no harm: a last use only advances, and
 * the windows are those of the last clean shutdown.  A file that is damaged,
 * of another cluster or of another format is ignored, and the server starts
 * without it.
 *
 * Slots are not saved: the connections that held them end with the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "base/shmem.h"
#include "live/state_file.h"
#include "live/tracked_keys.h"

#define STATE_FILE	PGSTAT_STAT_PERMANENT_DIRECTORY "/apikeys.stat"
#define STATE_MAGIC	0x41504b59	/* APKY */
#define STATE_FORMAT	2

typedef struct StateHeader
{
	uint32		magic;
	uint32		format;
	uint64		system_identifier;
	uint64		nrecords;
} StateHeader;

typedef struct StateRecord
{
	TrackedKeyTag tag;
	TimestampTz last_used;		/* if it is pending, else 0 */
	Window		windows[WINDOW_NKINDS];
} StateRecord;

/* The contents of a file; a CRC-32C of all of it follows. */
typedef struct StateImage
{
	StateHeader header;
	StateRecord records[FLEXIBLE_ARRAY_MEMBER];
} StateImage;

StaticAssertDecl(sizeof(StateHeader) == 24 && sizeof(StateRecord) == 128,
				 "another layout of the file needs another STATE_FORMAT");
StaticAssertDecl(offsetof(StateImage, records) == sizeof(StateHeader),
				 "the checksum covers no padding between header and records");

static Size
image_size(uint64 nrecords)
{
	return offsetof(StateImage, records) + nrecords * sizeof(StateRecord);
}

static pg_crc32c
image_crc(const StateImage *image, Size size)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, image, size);
	FIN_CRC32C(crc);
	return crc;
}

/* Adds the entries of a partition that have to be saved; returns the new image. */
static StateImage *
add_partition(StateImage *image, TrackedKeys *table, int p, TimestampTz now)
{
	TrackedKeyRef ref = tracked_keys_partition(table, p);
	uint64		n = image->header.nrecords;

	image = repalloc_huge(image, image_size(n + table->nentries));
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	for (int i = 0; i < table->nentries; i++)
	{
		TrackedKey *entry = &ref.entries[i];
		StateRecord *record = &image->records[n];
		bool		pending = tracked_keys_is_pending(entry);

		if (!pending && !window_any_live(entry->windows, now))
			continue;
		memset(record, 0, sizeof(StateRecord));
		record->tag = entry->tag;
		record->last_used = pending ? pg_atomic_read_u64(&entry->last_used) : 0;
		memcpy(record->windows, entry->windows, sizeof(record->windows));
		n++;
	}
	tracked_keys_unlock(ref.partition);
	image->header.nrecords = n;

	return image;
}

static void
write_file(const StateImage *image)
{
	Size		size = image_size(image->header.nrecords);
	pg_crc32c	crc = image_crc(image, size);
	FILE	   *file = AllocateFile(STATE_FILE ".tmp", PG_BINARY_W);
	bool		written;

	written = file != NULL &&
			  fwrite(image, size, 1, file) == 1 &&
			  fwrite(&crc, sizeof(crc), 1, file) == 1;
	if (file != NULL && FreeFile(file) != 0)
		written = false;

	if (written)
		(void) durable_rename(STATE_FILE ".tmp", STATE_FILE, LOG);
	else
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", STATE_FILE ".tmp")));
		unlink(STATE_FILE ".tmp");
	}
}

/* Was this a clean shutdown?  An immediate one exits with 0, too. */
static bool
is_shut_down(void)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);
	bool		clean = crc_ok && (control->state == DB_SHUTDOWNED ||
								   control->state == DB_SHUTDOWNED_IN_RECOVERY);

	pfree(control);
	return clean;
}

/* on_shmem_exit callback of the postmaster. */
static void
save_entries(int code, Datum arg)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now = GetCurrentTimestamp();
	StateImage *image;

	Assert(!IsUnderPostmaster);
	/* After a crash shared memory cannot be trusted. */
	if (code != 0 || table == NULL || !is_shut_down())
		return;

	image = palloc0(image_size(0));
	image->header.magic = STATE_MAGIC;
	image->header.format = STATE_FORMAT;
	image->header.system_identifier = GetSystemIdentifier();
	for (int p = 0; p < table->npartitions; p++)
		image = add_partition(image, table, p, now);

	if (image->header.nrecords > 0)
		write_file(image);
	pfree(image);
}

/* Are the values of a record possible?  Later arithmetic relies on it. */
static bool
record_is_valid(const StateRecord *record)
{
	if (!OidIsValid(record->tag.database) || !IS_VALID_TIMESTAMP(record->last_used))
		return false;

	for (int kind = 0; kind < WINDOW_NKINDS; kind++)
	{
		const Window *window = &record->windows[kind];

		if (!IS_VALID_TIMESTAMP(window->start) ||
			window->current < 0 || window->previous < 0)
			return false;
	}

	return true;
}

/* Returns why an image cannot be used, or NULL if it can. */
static const char *
image_error(const StateImage *image, Size file_size)
{
	const StateHeader *header = &image->header;
	Size		size = file_size - sizeof(pg_crc32c);
	pg_crc32c	crc;

	if (file_size < image_size(0) + sizeof(pg_crc32c) ||
		header->magic != STATE_MAGIC)
		return "It is not a file of this extension.";
	if (header->format != STATE_FORMAT)
		return "It was written by another version.";
	if (header->nrecords > MaxAllocHugeSize / sizeof(StateRecord) ||
		size != image_size(header->nrecords))
		return "It is incomplete.";
	memcpy(&crc, (const char *) image + size, sizeof(crc));
	if (!EQ_CRC32C(crc, image_crc(image, size)))
		return "Its checksum is wrong.";
	if (header->system_identifier != GetSystemIdentifier())
		return "It belongs to another cluster.";
	for (uint64 i = 0; i < header->nrecords; i++)
	{
		if (!record_is_valid(&image->records[i]))
			return "It contains invalid values.";
	}

	return NULL;
}

/* Returns the whole file, palloc'd, or NULL if it cannot be read. */
static StateImage *
read_file(FILE *file, Size *size)
{
	struct stat st;
	StateImage *image;

	if (fstat(fileno(file), &st) != 0 || (Size) st.st_size >= MaxAllocHugeSize)
		return NULL;

	*size = st.st_size;
	image = palloc_extended(Max(*size, image_size(0)), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (*size > 0 && fread(image, *size, 1, file) != 1)
		return NULL;
	return image;
}

/* Loads an image into the table; returns how many records had no space. */
static uint64
restore_image(const StateImage *image)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now = GetCurrentTimestamp();
	uint64		lost = 0;

	Assert(table != NULL);
	for (uint64 i = 0; i < image->header.nrecords; i++)
	{
		const StateRecord *record = &image->records[i];
		TrackedKeyRef ref = tracked_keys_locate(table, record->tag.database, &record->tag.id);
		TrackedKey *entry;
		bool		evicted;

		tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
		entry = tracked_keys_find_or_add(table, &ref, now, &evicted);
		if (entry != NULL)
		{
			tracked_keys_advance(&entry->last_used, record->last_used);
			memcpy(entry->windows, record->windows, sizeof(entry->windows));
		}
		tracked_keys_unlock(ref.partition);
		lost += (entry == NULL);
	}

	return lost;
}

/* Runs in the postmaster after shared memory has been initialized. */
static void
load_entries(void)
{
	FILE	   *file;
	StateImage *image;
	Size		size = 0;
	const char *error = "It could not be read.";
	uint64		lost = 0;

	Assert(!IsUnderPostmaster);
	on_shmem_exit(save_entries, (Datum) 0);

	file = AllocateFile(STATE_FILE, PG_BINARY_R);
	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", STATE_FILE)));
		return;
	}

	image = read_file(file, &size);
	if (image != NULL)
		error = image_error(image, size);
	FreeFile(file);

	if (error != NULL)
		ereport(LOG,
				(errmsg("ignoring file \"%s\"", STATE_FILE),
				 errdetail("%s", error)));
	else
		lost = restore_image(image);

	if (lost > 0)
		ereport(LOG,
				(errmsg("not enough shared memory for " UINT64_FORMAT " keys of file \"%s\"",
						lost, STATE_FILE),
				 errhint("Raise apikeys.max_tracked_keys.")));

	if (image != NULL)
		pfree(image);
}

/* Removes the file that was read when the server started. */
void
state_file_discard(void)
{
	unlink(STATE_FILE);
}

void
state_file_init(void)
{
	shmem_at_start(load_entries);
}
