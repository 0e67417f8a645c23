/*-------------------------------------------------------------------------
 *
 * write_latest.c
 *	  Writes on what is committed now, in any isolation level.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "store/write_latest.h"

#define MAX_TRIES	3

/*
 * Executes a statement in a subtransaction, with the latest snapshot.  Returns
 * the error that it has raised, if any, palloc'd.
 */
static ErrorData *
try_write(Statement *statement, Datum *values, const bool *nulls, uint64 *processed)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		*processed = store_write_silently_at(statement, values, nulls, GetLatestSnapshot());
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	return error;
}

/*
 * Writes as store_write_silently(), on what is committed when the statement has
 * waited for other transactions.  READ COMMITTED does so by itself.  In the
 * other levels the server raises 40001 for a row that was committed after the
 * snapshot, and the statement is executed again with a new one.  If that fails
 * as often, or with another error, it is raised.
 */
uint64
store_write_latest(Statement *statement, Datum *values, const bool *nulls)
{
	uint64		processed = 0;
	ErrorData  *error;

	if (!IsolationUsesXactSnapshot())
		return store_write_silently(statement, values, nulls);

	for (int tries = 1; (error = try_write(statement, values, nulls, &processed)) != NULL; tries++)
	{
		if (tries == MAX_TRIES || error->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE)
			ReThrowError(error);
		FreeErrorData(error);
	}

	return processed;
}
