/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  Shared memory: allocated at preload, or as DSM segments from 17 on.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_SHMEM_H
#define APIKEYS_BASE_SHMEM_H

/* Every segment starts with this. */
typedef struct ShmemHeader
{
	int			tranche_id;		/* of the segment's LWLocks */
} ShmemHeader;

/* A module describes its segment in a static variable. */
typedef struct ShmemSegment
{
	const char *name;
	Size (*size)(void);
	void (*init)(void *segment); /* the header is set already */
	ShmemHeader *address;		/* NULL: not attached */
} ShmemSegment;

extern void shmem_add(ShmemSegment *segment);
extern void shmem_at_start(void (*callback)(void));
extern bool shmem_preloaded(void);
extern void *shmem_attach(ShmemSegment *segment);

#endif							/* APIKEYS_BASE_SHMEM_H */
