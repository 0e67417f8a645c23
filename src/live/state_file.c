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
 * without it; likewise if something else is in its place.  It is read twice,
 * first to check it, so that its size takes no memory.
 *
 * The file has the last word on windows if it was written by the shutdown with which
 * this start begins, and that of a primary.  Otherwise their rows may be later, and
 * are read as well (stored_windows.c).
 *
 * Reservations are not saved: they end with the server, as if they had timed
 * out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
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
#include "live/tracked_space.h"
#include "settings/guc.h"

#define STATE_FILE	PGSTAT_STAT_PERMANENT_DIRECTORY "/apikeys.stat"
#define STATE_MAGIC	0x41504b59	/* APKY */
#define STATE_FORMAT	4

#define MAX_RECORDS			(INT64CONST(5) * GUC_MAX_TRACKED_KEYS)
#define RECORDS_PER_READ	1024

typedef struct StateHeader
{
	uint32		magic;
	uint32		format;
	uint64		system_identifier;
	uint64		nrecords;
	XLogRecPtr	checkpoint;		/* that of the shutdown; 0: it was a standby */
} StateHeader;

/* A window of an entry, or a pending use of one that has no window. */
typedef struct StateRecord
{
	TrackedKeyTag tag;
	TransactionId xid;			/* it may be prepared */
	TimestampTz last_used;		/* if it is pending, else 0 */
	uint64		window_id;		/* 0: there is none */
	int32		seconds;
	int16		unit;
	int16		known;			/* how much is known of it */
	Window		window;
	PackedAddress last_used_ip; /* if it is pending */
} StateRecord;

/* How much is known of what an entry has used, in StateRecord.known. */
enum
{
	KNOWN_NOT,					/* there may be a row with more */
	KNOWN_ALL,
	KNOWN_STORED				/* and its row has it */
};

/* The contents of a file; a CRC-32C of all of it follows. */
typedef struct StateImage
{
	StateHeader header;
	StateRecord records[FLEXIBLE_ARRAY_MEMBER];
} StateImage;

StaticAssertDecl(sizeof(StateHeader) == 32 && sizeof(StateRecord) == 88,
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

static int16
known_of(const TrackedLimits *limits)
{
	if (limits->known != WINDOWS_READ)
		return KNOWN_NOT;
	return tracked_limits_are_stored(limits) ? KNOWN_STORED : KNOWN_ALL;
}

/* Adds the records of an entry to an image with space for them. */
static void
add_entry(StateImage *image, const TrackedKeyRef *ref, TrackedKey *entry, TimestampTz now)
{
	TimestampTz last_used = tracked_keys_is_pending(entry) ? pg_atomic_read_u64(&entry->last_used) : 0;
	PackedAddress last_used_ip = last_used != 0 ? entry->last_used_ip : (PackedAddress){0};
	StateRecord *record = &image->records[image->header.nrecords];
	StateRecord *first = record;

	tracked_limits_end_holds(&ref->pools, &entry->limits, now);
	for (int w = entry->limits.windows.first; w != NO_TRACKED_WINDOW; w = ref->pools.windows.windows[w].next)
	{
		const TrackedWindow *window = &ref->pools.windows.windows[w];

		if (!window_is_live(&window->window, tracked_window_length(window), now))
			continue;
		*record++ = (StateRecord){
			.tag = entry->tag,
			.xid = entry->limits.xid,
			.last_used = last_used,
			.last_used_ip = last_used_ip,
			.window_id = window->id,
			.seconds = window->seconds,
			.unit = window->unit,
			.known = known_of(&entry->limits),
			.window = window->window
		};
	}
	if (record == first && last_used != 0)
		*record++ = (StateRecord){
			.tag = entry->tag,
			.xid = entry->limits.xid,
			.last_used = last_used,
			.last_used_ip = last_used_ip,
		};
	image->header.nrecords += record - first;
}

/* Adds the entries of a partition that have to be saved; returns the new image. */
static StateImage *
add_partition(StateImage *image, TrackedKeys *table, int p, TimestampTz now)
{
	TrackedKeyRef ref = tracked_keys_partition(table, p);
	uint64		max = tracked_keys_nwindows(table) + table->nentries;

	image = repalloc_huge(image, image_size(image->header.nrecords + max));
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	for (int i = 0; i < table->nentries; i++)
	{
		if (OidIsValid(ref.entries[i].tag.database))
			add_entry(image, &ref, &ref.entries[i], now);
	}
	tracked_keys_unlock(ref.partition);

	return image;
}

static void
write_file(const StateImage *image)
{
	Size		size = image_size(image->header.nrecords);
	pg_crc32c	crc = image_crc(image, size);
	FILE	   *file;
	bool		written;

	/* Whatever is in its place, a FIFO perhaps, is not to be opened. */
	unlink(STATE_FILE ".tmp");
	file = AllocateFile(STATE_FILE ".tmp", PG_BINARY_W);
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

/*
 * Was this a clean shutdown, and with which checkpoint?  0 for a standby, and for an
 * immediate shutdown, which exits with 0, too.
 */
static bool
is_shut_down(XLogRecPtr *checkpoint)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);
	DBState		state = crc_ok ? control->state : DB_IN_PRODUCTION;

	*checkpoint = state == DB_SHUTDOWNED ? control->checkPoint : InvalidXLogRecPtr;
	pfree(control);
	return state == DB_SHUTDOWNED || state == DB_SHUTDOWNED_IN_RECOVERY;
}

/* on_shmem_exit callback of the postmaster. */
static void
save_entries(int code, Datum arg)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now = GetCurrentTimestamp();
	XLogRecPtr	checkpoint;
	StateImage *image;

	Assert(!IsUnderPostmaster);
	/* After a crash shared memory cannot be trusted. */
	if (code != 0 || table == NULL || !is_shut_down(&checkpoint))
		return;

	image = palloc0(image_size(0));
	image->header.magic = STATE_MAGIC;
	image->header.format = STATE_FORMAT;
	image->header.system_identifier = GetSystemIdentifier();
	image->header.checkpoint = checkpoint;
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
	return OidIsValid(record->tag.database) && IS_VALID_TIMESTAMP(record->last_used) &&
		   IS_VALID_TIMESTAMP(record->window.start) &&
		   record->window.current >= 0 && record->window.previous >= 0 &&
		   record->unit >= 0 && record->unit < WINDOW_NUNITS &&
		   (record->window_id == 0 ||
			(record->seconds > 0 && record->seconds <= WINDOW_MAX_LENGTH / USECS_PER_SEC));
}

/* Reads exactly so many bytes; false if there are fewer. */
static bool
read_exactly(int fd, void *buffer, Size size)
{
	char	   *to = buffer;

	while (size > 0)
	{
		ssize_t		nread = read(fd, to, size);

		if (nread <= 0)
			return false;
		to += nread;
		size -= nread;
	}

	return true;
}

/* Returns why a file of so many bytes cannot be one of ours, or NULL. */
static const char *
header_error(const StateHeader *header, uint64 file_size)
{
	if (header->magic != STATE_MAGIC)
		return "It is not a file of this extension.";
	if (header->format != STATE_FORMAT)
		return "It was written by another version.";
	if (header->nrecords > MAX_RECORDS ||
		file_size != image_size(header->nrecords) + sizeof(pg_crc32c))
		return "It is incomplete, or too long.";
	if (header->system_identifier != GetSystemIdentifier())
		return "It belongs to another cluster.";
	return NULL;
}

/* Returns why the records that follow a header cannot be used, or NULL. */
static const char *
records_error(int fd, const StateHeader *header, StateRecord *buffer)
{
	const char *error = NULL;
	pg_crc32c	crc;
	pg_crc32c	stored_crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, header, sizeof(StateHeader));
	for (uint64 done = 0; done < header->nrecords; done += RECORDS_PER_READ)
	{
		int			n = Min(RECORDS_PER_READ, header->nrecords - done);

		if (!read_exactly(fd, buffer, n * sizeof(StateRecord)))
			return "It could not be read.";
		COMP_CRC32C(crc, buffer, n * sizeof(StateRecord));
		for (int i = 0; i < n; i++)
		{
			if (!record_is_valid(&buffer[i]))
				error = "It contains invalid values.";
		}
	}
	FIN_CRC32C(crc);

	if (!read_exactly(fd, &stored_crc, sizeof(stored_crc)))
		return "It could not be read.";
	return EQ_CRC32C(crc, stored_crc) ? error : "Its checksum is wrong.";
}

/*
 * Returns why a file cannot be used, or NULL, and its header.  What is in the
 * place of the file may be anything, so nothing is believed before it has been
 * checked, least of all a size.
 */
static const char *
file_error(int fd, StateHeader *header, StateRecord *buffer)
{
	struct stat st;
	const char *error;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return "It is not a regular file.";
	if (!read_exactly(fd, header, sizeof(StateHeader)))
		return "It is not a file of this extension.";
	error = header_error(header, st.st_size);
	return error != NULL ? error : records_error(fd, header, buffer);
}

/*
 * Loads the window of a record into its entry, which may have it; false if there is
 * no space.  If the file is not current, its row may have more.
 */
static bool
restore_window(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry,
			   const StateRecord *record, bool is_current, TimestampTz now)
{
	StoredWindow window = {record->window_id, record->seconds, record->unit, record->window};
	bool		evicted = false;
	bool		restored;

	if (record->window_id == 0)
		return true;

	entry->pinned = true;
	restored = tracked_keys_merge_window(table, ref, entry, &window, now, &evicted);
	entry->pinned = false;
	tracked_limits_change(&ref->pools, &entry->limits);
	if (restored && is_current && record->known == KNOWN_STORED)
		entry->limits.stored_version = entry->limits.version;
	if (restored && is_current && record->known != KNOWN_NOT)
		entry->limits.known = WINDOWS_READ;
	entry->limits.has_row = true; /* perhaps */
	return restored;
}

/* Loads a record into the table; false if there is no space. */
static bool
restore_record(TrackedKeys *table, const StateRecord *record, bool is_current)
{
	TimestampTz now = GetCurrentTimestamp();
	TrackedKeyRef ref = tracked_keys_locate(table, record->tag.database, &record->tag.id);
	TrackedKey *entry;
	bool		evicted;
	bool		restored;

	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find_or_add(table, &ref, now, &evicted);
	restored = entry != NULL && restore_window(table, &ref, entry, record, is_current, now);
	if (entry != NULL)
	{
		tracked_keys_advance(&entry->last_used, record->last_used);
		entry->last_used_ip = record->last_used_ip;
		entry->limits.xid = record->xid;
	}
	tracked_keys_unlock(ref.partition);

	return restored;
}

/* Loads records into the table; returns how many had no space. */
static uint64
restore_records(const StateRecord *records, int nrecords, bool is_current)
{
	TrackedKeys *table = tracked_keys_attach();
	uint64		lost = 0;

	Assert(table != NULL);
	for (int i = 0; i < nrecords; i++)
		lost += !restore_record(table, &records[i], is_current);

	return lost;
}

/* Has nothing been written since the shutdown that has written a file, and is no standby to be? */
static bool
is_current(const StateHeader *header)
{
	XLogRecPtr	checkpoint;

	return access(STANDBY_SIGNAL_FILE, F_OK) != 0 && access(RECOVERY_SIGNAL_FILE, F_OK) != 0 && is_shut_down(&checkpoint) && checkpoint != InvalidXLogRecPtr && checkpoint == header->checkpoint;
}

/*
 * Loads a file that has been checked into the table, reading it once more so
 * that no more than a buffer is in memory.
 */
static void
load_records(int fd, const StateHeader *header, StateRecord *buffer)
{
	bool		current = is_current(header);
	uint64		lost = 0;

	if (lseek(fd, sizeof(StateHeader), SEEK_SET) < 0)
		return;

	for (uint64 done = 0; done < header->nrecords; done += RECORDS_PER_READ)
	{
		int			n = Min(RECORDS_PER_READ, header->nrecords - done);

		if (!read_exactly(fd, buffer, n * sizeof(StateRecord)))
		{
			lost += header->nrecords - done;
			break;
		}
		lost += restore_records(buffer, n, current);
	}

	if (lost > 0)
		ereport(LOG,
				(errmsg("not enough shared memory for " UINT64_FORMAT " keys of file \"%s\"",
						lost, STATE_FILE),
				 errhint("Raise apikeys.max_tracked_keys.")));
}

/* Runs in the postmaster after shared memory has been initialized. */
static void
load_entries(void)
{
	StateHeader header;
	StateRecord *buffer;
	const char *error;
	int			fd;

	Assert(!IsUnderPostmaster);
	on_shmem_exit(save_entries, (Datum) 0);

	/* Neither wait for a writer of a FIFO, nor follow a link. */
	fd = OpenTransientFile(STATE_FILE, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | PG_BINARY);
	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", STATE_FILE)));
		return;
	}

	buffer = palloc(RECORDS_PER_READ * sizeof(StateRecord));
	error = file_error(fd, &header, buffer);
	if (error != NULL)
		ereport(LOG,
				(errmsg("ignoring file \"%s\"", STATE_FILE),
				 errdetail("%s", error)));
	else
		load_records(fd, &header, buffer);
	pfree(buffer);
	CloseTransientFile(fd);
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
