/*-------------------------------------------------------------------------
 *
 * flush_windows.h
 *	  Stores windows that have changed, and deletes rows that nobody needs.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_FLUSH_WINDOWS_H
#define APIKEYS_FLUSH_FLUSH_WINDOWS_H

#include "datatype/timestamp.h"

extern void flush_windows_begin(int partition, TimestampTz due_by);
extern bool flush_windows_next(int *nwritten);
extern int	flush_windows_all(void);

/* for hooks/transaction.c */
extern void flush_windows_at_eoxact(bool is_commit);
extern void flush_windows_at_subxact_abort(void);

#endif							/* APIKEYS_FLUSH_FLUSH_WINDOWS_H */
