/*-------------------------------------------------------------------------
 *
 * feed_worker.h
 *	  The background worker by which a standby tells of its use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FEED_FEED_WORKER_H
#define APIKEYS_FEED_FEED_WORKER_H

#include "base/compat.h"

extern PGDLLEXPORT void apikeys_feed_worker_main(Datum arg);
extern void feed_worker_init(void);

#endif							/* APIKEYS_FEED_FEED_WORKER_H */
