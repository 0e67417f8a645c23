/*-------------------------------------------------------------------------
 *
 * wake_up.h
 *	  Wakes the launcher.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_WAKE_UP_H
#define APIKEYS_FLUSH_WAKE_UP_H

#include "storage/latch.h"

/* What the launcher is to do. */
typedef enum WakeUp
{
	WAKE_UP_NONE,
	WAKE_UP,					/* look at the flush queue */
	WAKE_UP_SOON,				/* much is recorded all the time */
	WAKE_UP_URGENT				/* there is a backlog, or uses are about to be dropped */
} WakeUp;

extern void wake_up_init(void);
extern bool wake_up_attach(void);
extern void wake_up_launcher(WakeUp what);
extern int	wake_up_interval(WakeUp what);

/* for the launcher */
extern void wake_up_set_latch(Latch *latch);
extern WakeUp wake_up_read(void);
extern void wake_up_clear(void);

#endif							/* APIKEYS_FLUSH_WAKE_UP_H */
