/*-------------------------------------------------------------------------
 *
 * advisory_locks.h
 *	  The locks that are not on a table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_ADVISORY_LOCKS_H
#define APIKEYS_STORE_ADVISORY_LOCKS_H

extern bool store_lock_flush(bool wait);

#endif							/* APIKEYS_STORE_ADVISORY_LOCKS_H */
