/*-------------------------------------------------------------------------
 *
 * secure_memory.c
 *	  Memory for raw keys that is wiped before it is given back.
 *
 * A secret lives in the caller's memory context.  The context wipes it when
 * it is reset or deleted, which covers the path on which an error strikes;
 * on the normal path the owner calls secure_wipe() as soon as it can.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/secure_memory.h"

/* The caller's memory follows this header, aligned as palloc() aligns. */
typedef struct Secret
{
	MemoryContextCallback callback;
	Size		size;			/* bytes of the caller's memory */
} Secret;

#define SECRET_HEADER_SIZE	MAXALIGN(sizeof(Secret))
#define SECRET_DATA(s)		((char *) (s) + SECRET_HEADER_SIZE)

/* Wipes a secret when its memory context goes. */
static void
wipe_callback(void *arg)
{
	Secret	   *secret = arg;

	explicit_bzero(SECRET_DATA(secret), secret->size);
}

/*
 * Returns zeroed memory of the given size in the current memory context.
 * It must not be pfree'd: the context's reset both wipes and frees it.
 */
void *
secure_alloc(Size size)
{
	Secret	   *secret = palloc0(SECRET_HEADER_SIZE + size);

	secret->size = size;
	secret->callback.func = wipe_callback;
	secret->callback.arg = secret;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &secret->callback);

	return SECRET_DATA(secret);
}

/* Wipes memory from secure_alloc() now; it stays allocated. */
void
secure_wipe(void *data)
{
	wipe_callback((char *) data - SECRET_HEADER_SIZE);
}
