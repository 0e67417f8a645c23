/*-------------------------------------------------------------------------
 *
 * counters.h
 *	  The counters behind apikeys.stats.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_COUNTERS_H
#define APIKEYS_LIVE_COUNTERS_H

#include "datatype/timestamp.h"

/* The outcomes of verify come first. */
typedef enum Counter
{
	COUNT_VALID,
	COUNT_NOT_FOUND,
	COUNT_REVOKED,
	COUNT_EXPIRED,
	COUNT_DISABLED,
	COUNT_FORBIDDEN,
	COUNT_INSUFFICIENT_PERMISSIONS,
	COUNT_RATE_LIMITED,
	COUNT_BUDGET_EXCEEDED,
	COUNT_CACHE_HITS,
	COUNT_CACHE_MISSES,
	COUNT_CACHE_INVALIDATIONS,
	COUNT_EVICTIONS,
	COUNT_DROPPED,
	COUNT_REFUSED,
	COUNT_RECLAIMED,
	COUNT_FLUSHES,
	COUNT_ROWS_FLUSHED,
	COUNT_FLUSH_ERRORS,
	COUNT_WORKERS_STARTED,
	COUNT_WORKERS_NOT_STARTED,
	COUNT_NCOUNTERS
} Counter;

extern void counters_init(void);
extern bool counters_attach(void);
extern void counters_add(Counter counter, uint64 n);
extern bool counters_read(uint64 *totals, TimestampTz *since);

#endif							/* APIKEYS_LIVE_COUNTERS_H */
