/*-------------------------------------------------------------------------
 *
 * advisory_locks.h
 *	  The advisory locks of the extension.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_ADVISORY_LOCKS_H
#define APIKEYS_STORE_ADVISORY_LOCKS_H

extern bool store_lock_flush(bool wait);
extern void store_lock_grants(void);

#endif							/* APIKEYS_STORE_ADVISORY_LOCKS_H */
