/*-------------------------------------------------------------------------
 *
 * flush_queue.h
 *	  Which databases have pending data, and which worker flushes each.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_FLUSH_QUEUE_H
#define APIKEYS_FLUSH_FLUSH_QUEUE_H

#include "flush/wake_up.h"
#include "live/last_used.h"

#define FLUSH_QUEUE_MAX_DATABASES	64	/* with pending data at one time */

extern void flush_queue_init(void);
extern bool flush_queue_attach(void);

/* for backends with data to persist */
extern void flush_queue_wake(void);

/* for those that start flush workers */
extern bool flush_queue_set_usage(Oid database, bool usage, bool *old);
extern bool flush_queue_clear_overflow(void);
extern int	flush_queue_list(DueDatabase *databases);
extern void flush_queue_start(Oid database, int64 delay_ms);
extern void flush_queue_start_sleeping(WakeUp haste);

/* for the flush worker */
extern void flush_queue_release(Oid database, bool failed, WakeUp haste);
extern bool flush_queue_should_log_failure(Oid database);
extern bool flush_queue_exchange_usage(Oid database, bool usage);
extern void flush_queue_remove_database(Oid database);
extern void flush_queue_set_notice(Oid database, TimestampTz at);

#endif							/* APIKEYS_FLUSH_FLUSH_QUEUE_H */
