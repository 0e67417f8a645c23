/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  How far a call on many rows is, for pg_stat_progress_copy.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * An extension cannot add a progress view, but it can report under a command
 * that the server knows.  COPY is the one that is about rows of a table.  After
 * an error the end of the (sub)transaction ends the report.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/progress.h"
#include "utils/backend_progress.h"
#include "utils/backend_status.h"

#include "base/progress.h"

/*
 * Begins to report on a relation; false if a command reports already that this
 * is a part of, and then nothing is to be reported.
 */
bool
progress_start(Oid relation)
{
	if (MyBEEntry == NULL || MyBEEntry->st_progress_command != PROGRESS_COMMAND_INVALID)
		return false;

	pgstat_progress_start_command(PROGRESS_COMMAND_COPY, relation);
	return true;
}

/* Reports how many rows have been processed. */
void
progress_report(int64 nrows)
{
	pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED, nrows);
}

void
progress_end(void)
{
	pgstat_progress_end_command();
}
