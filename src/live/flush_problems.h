/*-------------------------------------------------------------------------
 *
 * flush_problems.h
 *	  What keeps pending data from being persisted.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_FLUSH_PROBLEMS_H
#define APIKEYS_LIVE_FLUSH_PROBLEMS_H

#include "datatype/timestamp.h"

#define FLUSH_PROBLEM_LOG_INTERVAL	USECS_PER_HOUR	/* a lasting one is logged again */
#define FLUSH_ERROR_SIZE			256 /* with the terminating null */

/* The last error of a flush worker. */
typedef struct FlushError
{
	TimestampTz at;				/* 0: there was none */
	Oid			database;
	char		message[FLUSH_ERROR_SIZE]; /* masked, ASCII */
} FlushError;

extern void flush_problems_init(void);
extern bool flush_problems_attach(void);
extern void flush_problems_set_no_launcher(void);
extern void flush_problems_check_launcher(void);
extern void flush_problems_report_no_worker(void);
extern void flush_problems_record_error(Oid database, const char *message);
extern bool flush_problems_read_error(FlushError *error);

#endif							/* APIKEYS_LIVE_FLUSH_PROBLEMS_H */
