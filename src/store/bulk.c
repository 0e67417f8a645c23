/*-------------------------------------------------------------------------
 *
 * bulk.c
 *	  How statements on many rows are executed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "store/bulk.h"

/* The depth of triggers at which store_write_many() was called; -1: it was not. */
static int	writing_at_depth = -1;

/* In how many triggers are we? */
static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* Opens a cursor for a query, which may lock rows.  It outlives the scope. */
Portal
store_open_cursor(Statement *statement, Datum *values, const bool *nulls)
{
	char		null_flags[FUNC_MAX_ARGS];

	store_prepare(statement);
	for (int i = 0; i < statement->nargs; i++)
		null_flags[i] = (nulls != NULL && nulls[i]) ? 'n' : ' ';
	return SPI_cursor_open(NULL, statement->plan, values, null_flags, false);
}

/*
 * As store_write_durably().  The caller does for all keys at once what the
 * trigger plan_notices would do for each.
 */
uint64
store_write_many(Statement *statement, Datum *values, const bool *nulls)
{
	int			outer = writing_at_depth;
	uint64		processed;

	PG_TRY();
	{
		writing_at_depth = trigger_depth();
		processed = store_write_durably(statement, values, nulls);
	}
	PG_FINALLY();
	{
		writing_at_depth = outer;
	}
	PG_END_TRY();

	return processed;
}

/*
 * Is the trigger that calls this fired by the statement of store_write_many(), and
 * not by what a trigger of somebody else does meanwhile?  The condition of a trigger
 * is asked by the statement itself.
 */
bool
store_is_writing_many(bool is_condition)
{
	return writing_at_depth >= 0 && trigger_depth() == writing_at_depth + (is_condition ? 0 : 1);
}
