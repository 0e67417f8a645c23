/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Shared memory, however it is born.
 *
 * In a preloaded server the segments are part of the main shared memory,
 * asked for and started through the server's hooks.  From PostgreSQL 17 on a
 * server that does not preload the library has them all the same, as named
 * DSM segments which the first backend makes.  Both births run init_segment()
 * and nothing else.  Before 17 such a server has none, and shmem_attach()
 * returns NULL.
 *
 * The hooks run again after a crash: segments are then made afresh.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/compat.h"
#include "base/shmem.h"

#define MAX_SEGMENTS	12

static ShmemSegment *segments[MAX_SEGMENTS];
static int	nsegments = 0;
static void (*start_callback)(void) = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* The segment whose birth is under way, since DSM passes no argument on. */
static ShmemSegment *initializing;

static void
init_segment(void *address)
{
	ShmemHeader *header = address;

	memset(address, 0, initializing->size());
	header->tranche_id = LWLockNewTrancheId();
	initializing->init(address);
}

static void
request_segments(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	for (int i = 0; i < nsegments; i++)
		RequestAddinShmemSpace(segments[i]->size());
}

static void
start_segments(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	for (int i = 0; i < nsegments; i++)
	{
		ShmemSegment *segment = segments[i];
		bool		found;

		LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
		segment->address = ShmemInitStruct(segment->name, segment->size(), &found);
		if (!found)
		{
			initializing = segment;
			init_segment(segment->address);
		}
		LWLockRelease(AddinShmemInitLock);

		LWLockRegisterTranche(segment->address->tranche_id, segment->name);
	}

	if (start_callback != NULL && !IsUnderPostmaster)
		start_callback();
}

/* Announces a segment.  Called while the library is loaded. */
void
shmem_add(ShmemSegment *segment)
{
	if (!process_shared_preload_libraries_in_progress)
		return;

	if (nsegments == 0)
	{
		prev_shmem_request_hook = shmem_request_hook;
		shmem_request_hook = request_segments;
		prev_shmem_startup_hook = shmem_startup_hook;
		shmem_startup_hook = start_segments;
	}

	Assert(nsegments < MAX_SEGMENTS);
	segments[nsegments++] = segment;
}

/*
 * Has a callback run in the postmaster when the main shared memory is there:
 * at the server's start and again after a crash.
 */
void
shmem_at_start(void (*callback)(void))
{
	start_callback = callback;
}

/* Is the library in shared_preload_libraries? */
bool
shmem_preloaded(void)
{
	return nsegments > 0;
}

/* Returns a segment's address, or NULL where there is no shared memory. */
void *
shmem_attach(ShmemSegment *segment)
{
#if HAVE_NAMED_DSM
	if (segment->address == NULL && IsUnderPostmaster)
	{
		bool		found;

		initializing = segment;
		segment->address = GetNamedDSMSegment(segment->name, segment->size(),
											  init_segment, &found);
		LWLockRegisterTranche(segment->address->tranche_id, segment->name);
	}
#endif

	return segment->address;
}
