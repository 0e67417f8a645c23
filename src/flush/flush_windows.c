/*-------------------------------------------------------------------------
 *
 * flush_windows.c
 *	  Stores windows that have changed, and deletes rows that nobody needs.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The caller has the lock of flushes: nobody else writes the table.  Windows are
 * copied under their lock, written without it, and marked as stored once the
 * transaction has committed (stored_windows.c).
 *
 * A row is of no use once its windows are over, or its owner is gone.  For each new
 * row two others are looked at, from where the last look has ended, or anywhere: so
 * of all rows not much more than half can be of no use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/transaction_array.h"
#include "flush/flush_windows.h"
#include "live/stored_windows.h"
#include "store/dirty_read.h"
#include "store/families.h"
#include "store/window_rows.h"

#define WINDOWS_BATCH	1000	/* owners, in one transaction of a flush worker */
#define SWEEP_LEAST		100		/* rows that are looked at for each batch */

/* What was written, to be marked when this transaction commits. */
typedef struct WrittenWindows
{
	pg_uuid_t	owner;
	uint32		version;
	bool		has_row;
} WrittenWindows;

/* They live in TopTransactionContext. */
static WrittenWindows *written = NULL;
static int	nwritten_windows = 0;
static int	max_written = 0;

/* Where the run that flush_windows_begin() has begun is. */
static TimestampTz due;
static WindowCursor cursor;
static pg_uuid_t swept_to;

/* ---------------------------------------------------- when it is committed */

static void
clear_written(void)
{
	written = NULL;				/* freed with the transaction */
	nwritten_windows = max_written = 0;
}

/* Marks what a transaction that has committed has stored. */
void
flush_windows_at_eoxact(bool is_commit)
{
	TimestampTz now;

	if (nwritten_windows == 0)
		return;

	now = GetCurrentTimestamp();
	for (int i = 0; is_commit && i < nwritten_windows; i++)
		stored_windows_mark(&written[i].owner, written[i].version, written[i].has_row, now);
	clear_written();
}

/* Which rows a rolled-back savepoint takes along is not known, so none is marked. */
void
flush_windows_at_subxact_abort(void)
{
	clear_written();
}

static void
add_written(const ChangedWindows *changed, bool has_row)
{
	written = transaction_array_grow(written, nwritten_windows, &max_written, sizeof(WrittenWindows));
	written[nwritten_windows++] = (WrittenWindows){changed->row.owner, changed->version, has_row};
}

/* ------------------------------------------------------------ the rows */

/*
 * Looks at the next rows, up to max, and deletes those of which nobody has any use;
 * returns at how many.  An owner that only an open transaction sees is not gone.
 */
static int
sweep(int max)
{
	TimestampTz now = GetCurrentTimestamp();
	WindowRowEnd *ends = palloc(max * sizeof(WindowRowEnd));
	pg_uuid_t  *owners = palloc(max * sizeof(pg_uuid_t));
	FamilyState *states = palloc(max * sizeof(FamilyState));
	int			n = store_list_windows(&swept_to, now, ends, max);
	int			nuseless = 0;

	for (int i = 0; i < n; i++)
		owners[i] = ends[i].owner;
	if (n > 0)
		store_family_states(owners, n, now, states);
	for (int i = 0; i < n; i++)
	{
		if (ends[i].is_over ||
			(states[i] == FAMILY_GONE && !store_exists_for_anyone("key", &ends[i].owner) &&
			 !store_exists_for_anyone("budget", &ends[i].owner)))
			owners[nuseless++] = ends[i].owner;
	}
	if (nuseless > 0)
		store_delete_windows(owners, nuseless);

	if (n < max)
		memset(&swept_to, 0, sizeof(pg_uuid_t));
	else
		swept_to = ends[n - 1].owner;
	pfree(ends);
	pfree(owners);
	pfree(states);
	return n;
}

/*
 * Reads the rows of owners whose windows are not known, and copies these again; of
 * one that finds no space, or is gone, nothing is written.  Returns how many are left.
 */
static int
read_unknown(ChangedWindows *changed, int n)
{
	int			nknown = 0;

	for (int i = 0; i < n; i++)
	{
		ChangedWindows *known = &changed[nknown];

		if (changed[i].is_known)
			*known = changed[i];
		else if (!stored_windows_read(&changed[i].row.owner) ||
				 !stored_windows_copy(&changed[i].row.owner, known) || !known->is_known)
			continue;
		nknown++;
	}
	return nknown;
}

/* Writes windows: none for an owner of whom nothing counts, and who has no row.  Returns how many rows. */
static int
write_windows(const ChangedWindows *changed, int n, int *nnew)
{
	WindowRow  *rows = palloc(n * sizeof(WindowRow));
	int			nrows = 0;

	*nnew = 0;
	for (int i = 0; i < n; i++)
	{
		bool		has_row = changed[i].has_row || changed[i].row.n > 0;

		if (has_row)
			rows[nrows++] = changed[i].row;
		*nnew += has_row && !changed[i].has_row;
		add_written(&changed[i], has_row);
	}
	if (nrows > 0)
		store_write_windows(rows, nrows, GetCurrentTimestamp());
	pfree(rows);

	return nrows;
}

/* ------------------------------------------------------------- a run */

/*
 * Begins to store windows that are due by a time; DT_NOEND: all that have changed.
 * They are those in a partition, or in all (ALL_PARTITIONS).
 */
void
flush_windows_begin(int partition, TimestampTz due_by)
{
	due = due_by;
	stored_windows_begin(&cursor, partition);
	if (!pg_strong_random(&swept_to, sizeof(pg_uuid_t)))
		memset(&swept_to, 0, sizeof(pg_uuid_t));
}

/* Stores a batch of windows, of which nwritten rows; false: there are no others. */
bool
flush_windows_next(int *nwritten)
{
	ChangedWindows *changed = MemoryContextAllocHuge(CurrentMemoryContext, WINDOWS_BATCH * sizeof(ChangedWindows));
	int			ncollected = stored_windows_collect(MyDatabaseId, due, &cursor, changed, WINDOWS_BATCH);
	int			n = read_unknown(changed, ncollected);
	int			nnew = 0;

	*nwritten = n > 0 ? write_windows(changed, n, &nnew) : 0;
	pfree(changed);
	if (*nwritten > 0)
		(void) sweep(SWEEP_LEAST + 2 * nnew);

	return ncollected == WINDOWS_BATCH;
}

/*
 * Stores all windows that have changed, and looks at all rows; returns how many rows
 * were written.  In an isolation level with a snapshot of its own, a row that was
 * written after it would fail us: the flush workers do it then.
 */
int
flush_windows_all(void)
{
	int			total = 0;
	int			nwritten;
	bool		more = !IsolationUsesXactSnapshot();

	flush_windows_begin(ALL_PARTITIONS, DT_NOEND);
	while (more)
	{
		CHECK_FOR_INTERRUPTS();
		more = flush_windows_next(&nwritten);
		total += nwritten;
	}

	memset(&swept_to, 0, sizeof(pg_uuid_t));
	while (!IsolationUsesXactSnapshot() && sweep(WINDOWS_BATCH) == WINDOWS_BATCH)
		CHECK_FOR_INTERRUPTS();

	return total;
}
