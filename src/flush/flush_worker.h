/*-------------------------------------------------------------------------
 *
 * flush_worker.h
 *	  The short-lived worker that flushes one database.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_FLUSH_WORKER_H
#define APIKEYS_FLUSH_FLUSH_WORKER_H

#include "base/compat.h"

extern PGDLLEXPORT void apikeys_flush_worker_main(Datum database);

#endif							/* APIKEYS_FLUSH_FLUSH_WORKER_H */
