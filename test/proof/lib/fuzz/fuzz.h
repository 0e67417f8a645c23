/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *	  Lets a fuzzer call what a source of ours hides: for the tests alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Compiled with -include fuzz.h, the restart file can be read again and again, is
 * not written, and was written by the last shutdown if the fuzzer says so.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FUZZ_H
#define APIKEYS_FUZZ_H

#include "postgres.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "storage/ipc.h"

/* How the restart file is read, and what it consists of. */
typedef struct FuzzState
{
	void (*start)(void);
	size_t		header_size;
	size_t		record_size;
	size_t		system_at;
	size_t		nrecords_at;
	size_t		checkpoint_at;
} FuzzState;

extern FuzzState apikeys_fuzz_state;

extern ControlFileData *apikeys_fuzz_control(bool *crc_ok);

/* Called by one function alone, in the file that has these types. */
#define on_shmem_exit(callback, arg) \
	(apikeys_fuzz_state = (FuzzState){load_entries, sizeof(StateHeader), sizeof(StateRecord), \
									  offsetof(StateHeader, system_identifier), offsetof(StateHeader, nrecords), \
									  offsetof(StateHeader, checkpoint)}, \
	 (void) (callback), (void) (arg))

#define get_controlfile(directory, crc_ok) apikeys_fuzz_control(crc_ok)

#endif
