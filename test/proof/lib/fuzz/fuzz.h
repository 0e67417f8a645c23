/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *	  Lets a fuzzer call what a source of ours hides: for the tests alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Compiled with -include fuzz.h, the restart file can be read again and again, and
 * is not written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FUZZ_H
#define APIKEYS_FUZZ_H

#include "postgres.h"
#include "storage/ipc.h"

extern void (*apikeys_fuzz_start)(void);

/* Called by one function alone. */
#define on_shmem_exit(callback, arg) (apikeys_fuzz_start = load_entries, (void) (callback), (void) (arg))

#endif
