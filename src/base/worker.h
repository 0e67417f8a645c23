/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  What background workers have in common.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_WORKER_H
#define APIKEYS_BASE_WORKER_H

#include "postmaster/bgworker.h"

/* A database that can be connected to. */
typedef struct WorkerDatabase
{
	Oid			oid;
	char		name[NAMEDATALEN];
} WorkerDatabase;

extern void worker_fill(BackgroundWorker *worker, const char *name, const char *function);
extern void worker_register(const char *name, const char *function, BgWorkerStartTime start_time);
extern void worker_start_unconnected(void);
extern void worker_sleep(long timeout_ms, const char *event);
extern int	worker_list_databases(WorkerDatabase **databases);

#endif							/* APIKEYS_BASE_WORKER_H */
