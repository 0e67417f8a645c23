/*-------------------------------------------------------------------------
 *
 * worker_session.h
 *	  The transactions of a flush worker, and its settings.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_WORKER_SESSION_H
#define APIKEYS_FLUSH_WORKER_SESSION_H

extern void worker_begin_work(void);
extern void worker_end_work(void);
extern void worker_override_settings(void);

#endif							/* APIKEYS_FLUSH_WORKER_SESSION_H */
