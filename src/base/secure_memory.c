/*-------------------------------------------------------------------------
 *
 * secure_memory.c
 *	  Memory for raw keys that is wiped before it is freed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A chunk is allocated in the caller's memory context, which wipes it when it
 * is reset or deleted, so also after an error.  Otherwise the owner calls
 * secure_wipe() as soon as it can.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/secure_memory.h"

/* The caller's memory follows this header, aligned as palloc() aligns. */
typedef struct SecureChunk
{
	MemoryContextCallback callback;
	Size		size;			/* bytes of the caller's memory */
} SecureChunk;

#define CHUNK_HEADER_SIZE	MAXALIGN(sizeof(SecureChunk))
#define CHUNK_DATA(chunk)	((char *) (chunk) + CHUNK_HEADER_SIZE)

/* Wipes a chunk when its memory context is reset or deleted. */
static void
wipe_callback(void *arg)
{
	SecureChunk *chunk = arg;

	Assert(chunk->callback.arg == chunk); /* it is from secure_alloc() */
	explicit_bzero(CHUNK_DATA(chunk), chunk->size);
}

/*
 * Returns zeroed memory of the given size in the current memory context.
 * It must not be pfree'd: the reset of the context wipes and frees it.
 */
void *
secure_alloc(Size size)
{
	SecureChunk *chunk = palloc0(CHUNK_HEADER_SIZE + size);

	chunk->size = size;
	chunk->callback.func = wipe_callback;
	chunk->callback.arg = chunk;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &chunk->callback);

	return CHUNK_DATA(chunk);
}

/* Wipes memory from secure_alloc() now; it stays allocated. */
void
secure_wipe(void *data)
{
	wipe_callback((char *) data - CHUNK_HEADER_SIZE);
}
