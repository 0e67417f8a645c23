/*-------------------------------------------------------------------------
 *
 * flush_problems.c
 *	  What keeps pending data from being persisted.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * That is counted, shown by apikeys.stats, and logged when it begins and again
 * once an hour, by one process for the whole server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/ascii.h"
#include "utils/timestamp.h"

#include "base/shmem.h"
#include "live/counters.h"
#include "live/flush_problems.h"
#include "model/key_scan.h"

typedef enum FlushProblem
{
	NO_LAUNCHER,
	NO_WORKER,
	NPROBLEMS
} FlushProblem;

typedef struct FlushProblems
{
	ShmemHeader header;
	pg_atomic_uint64 logged_at[NPROBLEMS]; /* 0: never */
	LWLock		lock;
	FlushError	last_error;		/* lock */
} FlushProblems;

/* Had the postmaster no slot for the launcher?  Inherited from it. */
static bool no_launcher = false;

static Size
problems_size(void)
{
	return sizeof(FlushProblems);
}

static void
problems_init_shared(void *address)
{
	FlushProblems *problems = address;

	LWLockInitialize(&problems->lock, problems->header.tranche_id);
	for (int i = 0; i < NPROBLEMS; i++)
		pg_atomic_init_u64(&problems->logged_at[i], 0);
}

static ShmemSegment segment = {
	.name = "apikeys flush problems",
	.size = problems_size,
	.init = problems_init_shared,
};

void
flush_problems_init(void)
{
	shmem_add(&segment);
}

/* Attaches the segment now; false where there is no shared memory. */
bool
flush_problems_attach(void)
{
	return shmem_attach(&segment) != NULL;
}

/*
 * Counts that a worker is missing.  Is it time to log that?  True for one
 * caller an hour; at once if the clock was set back.
 */
static bool
count_missing_worker(FlushProblem problem)
{
	FlushProblems *problems = shmem_attach(&segment);
	TimestampTz now = GetCurrentTimestamp();
	uint64		logged_at;

	counters_add(COUNT_WORKERS_NOT_STARTED, 1);
	if (problems == NULL)
		return false;

	logged_at = pg_atomic_read_u64(&problems->logged_at[problem]);
	if (logged_at != 0 && now >= (TimestampTz) logged_at &&
		now < (TimestampTz) logged_at + FLUSH_PROBLEM_LOG_INTERVAL)
		return false;
	return pg_atomic_compare_exchange_u64(&problems->logged_at[problem], &logged_at, now);
}

/* Records, in the postmaster, that there will be no launcher. */
void
flush_problems_set_no_launcher(void)
{
	Assert(!IsUnderPostmaster);
	no_launcher = true;
}

/*
 * Counts, and logs if that is due, that there is no launcher.  For backends
 * with data to persist, before they commit: logging may fail.
 */
void
flush_problems_check_launcher(void)
{
	if (no_launcher && !RecoveryInProgress() && count_missing_worker(NO_LAUNCHER))
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("apikeys persists nothing, because its launcher is not running"),
				 errdetail("There was no slot for another background worker when the server started."),
				 errhint("Give the server more of them; apikey_flush() persists what is pending meanwhile.")));
}

/* Counts, and logs if that is due, that a flush worker could not be started. */
void
flush_problems_report_no_worker(void)
{
	if (count_missing_worker(NO_WORKER))
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("apikeys persists nothing, because there is no free slot for its flush worker"),
				 errdetail("What is pending stays in memory until a slot is free."),
				 errhint("You might need to increase max_worker_processes.")));
}

/*
 * Stores the error with which a flush failed.  Readers may be in a database of
 * another encoding, so only ASCII is kept.
 */
void
flush_problems_record_error(Oid database, const char *message)
{
	FlushProblems *problems = shmem_attach(&segment);
	FlushError	error = {.at = GetCurrentTimestamp(), .database = database};
	char		start[2 * FLUSH_ERROR_SIZE];

	if (problems == NULL)
		return;

	/* A key that the cut has spoilt lies behind what is kept. */
	ascii_safe_strlcpy(start, message, sizeof(start));
	(void) key_scan_mask(start, strlen(start));
	strlcpy(error.message, start, sizeof(error.message));

	LWLockAcquire(&problems->lock, LW_EXCLUSIVE);
	problems->last_error = error;
	LWLockRelease(&problems->lock);
}

/* Reads the last error; false if there was none. */
bool
flush_problems_read_error(FlushError *error)
{
	FlushProblems *problems = shmem_attach(&segment);

	if (problems == NULL)
		return false;

	LWLockAcquire(&problems->lock, LW_SHARED);
	*error = problems->last_error;
	LWLockRelease(&problems->lock);
	return error->at != 0;
}
