/*-------------------------------------------------------------------------
 *
 * flushqueue.h
 *	  Which databases have something to persist, and who is at it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSHQUEUE_H
#define APIKEYS_FLUSHQUEUE_H

#include "storage/latch.h"

#include "live/activity.h"

#define FLUSHQUEUE_MAX_DATABASES	64	/* that are flushed at one time */

extern void flushqueue_init(void);
extern bool flushqueue_attach(void);

/* for those who have something to persist */
extern void flushqueue_wake(void);
extern void flushqueue_note_usage(void);

/* for whoever starts flushers */
extern void flushqueue_set_launcher(Latch *latch);
extern bool flushqueue_has_news(void);
extern void flushqueue_take_news(void);
extern int	flushqueue_list(DueDatabase *databases);
extern void flushqueue_start(Oid database, int64 delay_ms);
extern void flushqueue_start_sleeping(void);

/* for the flusher itself */
extern void flushqueue_release(Oid database, bool failed);
extern bool flushqueue_is_first_failure(Oid database);
extern bool flushqueue_swap_usage(Oid database, bool usage);
extern void flushqueue_forget(Oid database);

#endif							/* APIKEYS_FLUSHQUEUE_H */
