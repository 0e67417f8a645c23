/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  How far a call on many rows is, for pg_stat_progress_copy.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_PROGRESS_H
#define APIKEYS_BASE_PROGRESS_H

extern bool progress_start(Oid relation);
extern void progress_report(int64 nrows);
extern void progress_end(void);

#endif							/* APIKEYS_BASE_PROGRESS_H */
