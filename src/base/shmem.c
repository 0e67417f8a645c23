/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Shared memory: allocated at preload, or as DSM segments from 17 on.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * If the library is preloaded, the segments are part of the main shared
 * memory, which is requested and initialized through the server's hooks.  If it
 * is not, PostgreSQL 17 and later have named DSM segments, which the first
 * backend creates; before 17 there is no shared memory, and shmem_attach()
 * returns NULL.  init_segment() initializes both kinds.
 *
 * After a crash the hooks run again and initialize the segments again.
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

#define MAX_SEGMENTS	16

static ShmemSegment *segments[MAX_SEGMENTS];
static int	nsegments = 0;
static void (*start_callback)(void) = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* The argument of init_segment(), since GetNamedDSMSegment() passes none on. */
static ShmemSegment *initializing;

static void
init_segment(void *address)
{
	ShmemHeader *header = address;

	Assert(initializing != NULL && initializing->size() >= sizeof(ShmemHeader));
	memset(address, 0, initializing->size());
	header->tranche_id = LWLockNewTrancheId();
	initializing->init(address);
}

/* shmem_request_hook */
static void
request_segments(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	for (int i = 0; i < nsegments; i++)
		RequestAddinShmemSpace(segments[i]->size());
}

/* shmem_startup_hook */
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

/* Registers a segment.  Called from _PG_init(). */
void
shmem_add(ShmemSegment *segment)
{
	Assert(segment->address == NULL);

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
 * Registers a callback that the postmaster runs once the main shared memory is
 * initialized: at the server's start and after each crash.
 */
void
shmem_at_start(void (*callback)(void))
{
	Assert(start_callback == NULL); /* there is a single one */
	start_callback = callback;
}

/* Is the library in shared_preload_libraries? */
bool
shmem_preloaded(void)
{
	return nsegments > 0;
}

/* Returns a segment's address, or NULL without shared memory. */
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
