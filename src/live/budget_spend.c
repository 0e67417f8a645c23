/*-------------------------------------------------------------------------
 *
 * budget_spend.c
 *	  What the running transaction has spent of budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A transaction that has spent something publishes it, for budget_sums.c, after
 * its commit has become visible and before it is acknowledged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "live/budget_spend.h"

#define MAX_PENDING		BUDGET_SPEND_MAX_RECORDS
#define MIN_SPACE		32

/* Records of this transaction, in TopTransactionContext. */
static SpendRecord *pending = NULL;
static int	npending = 0;
static int	space = 0;			/* in pending */
static bool pending_is_complete = true; /* else there were too many */

static void
clear_pending(void)
{
	pending = NULL;				/* freed with the transaction's memory */
	npending = 0;
	space = 0;
	pending_is_complete = true;
}

/* Does a record change no sum?  So it is when a roll-up is replicated. */
static bool
is_nothing(const SpendRecord *record)
{
	return record->exact && record->cost.whole == 0 && record->cost.attos == 0;
}

/* Publishes the records of this transaction. */
static void
publish_pending(void)
{
	TransactionId xid = GetTopTransactionIdIfAny();
	int			n = 0;

	Assert(npending > 0 && npending <= MAX_PENDING);
	Assert(TransactionIdIsValid(xid));
	for (int i = 0; i < npending; i++)
	{
		pending[i].xid = xid;
		if (!is_nothing(&pending[i]))
			pending[n++] = pending[i];
	}
	budget_sums_publish(pending, n, pending_is_complete);
}

/* Makes space for one more record. */
static void
enlarge_pending(void)
{
	if (npending < space)
		return;
	space = Min(Max(MIN_SPACE, 2 * space), MAX_PENDING);
	pending = pending == NULL ? MemoryContextAlloc(TopTransactionContext, space * sizeof(SpendRecord))
							  : repalloc(pending, space * sizeof(SpendRecord));
}

/* Publishes what a transaction has spent when it has committed. */
void
budget_spend_at_eoxact(bool is_commit)
{
	if (npending > 0 && is_commit)
		publish_pending();
	budget_sums_forget();
	clear_pending();
}

/* Publishes that a transaction is prepared, and may spend something at any time. */
void
budget_spend_at_prepare(void)
{
	if (npending == 0)
		return;

	for (int i = 0; i < npending; i++)
		pending[i].exact = false;
	publish_pending();
	clear_pending();
}

/* Only the ledger knows which costs are rolled back with a savepoint. */
void
budget_spend_at_subxact_abort(void)
{
	for (int i = 0; i < npending; i++)
		pending[i].exact = false;
}

/* Returns this transaction's record for a period; NULL if there is no space. */
static SpendRecord *
find_pending(const pg_uuid_t *budget_id, TimestampTz period)
{
	SpendRecord *record;

	for (int i = 0; i < npending; i++)
	{
		if (pending[i].period == period &&
			memcmp(&pending[i].budget_id, budget_id, sizeof(pg_uuid_t)) == 0)
			return &pending[i];
	}
	if (npending == MAX_PENDING)
		return NULL;

	enlarge_pending();
	record = &pending[npending++];
	memset(record, 0, sizeof(SpendRecord));
	record->budget_id = *budget_id;
	record->period = period;
	record->database = MyDatabaseId;
	record->exact = true;

	return record;
}

/* Records that this transaction spends a cost; published when it commits. */
void
budget_spend_record(const pg_uuid_t *budget_id, TimestampTz period, Numeric cost)
{
	SpendRecord *record;
	ExactCost	exact;

	Assert(IsTransactionState());
	if (npending == 0)
		budget_sums_announce(GetTopTransactionId()); /* may fail, so not at the commit */

	record = find_pending(budget_id, period);
	if (record == NULL)
		pending_is_complete = false;
	else
		record->exact &= exact_cost_set(&exact, cost) && exact_cost_add(&record->cost, &exact);
}

/*
 * Returns what this transaction has spent of a budget in a period, if it may
 * have to warn of that.  NULL if what was spent is not known exactly, or after
 * budget_spend_set_warned().
 */
Numeric
budget_spend_pending(const pg_uuid_t *budget_id, TimestampTz period)
{
	SpendRecord *record = find_pending(budget_id, period);

	return record != NULL && record->exact && !record->warned ? exact_cost_get(&record->cost) : NULL;
}

/* This transaction need not ask again whether a budget has to warn. */
void
budget_spend_set_warned(const pg_uuid_t *budget_id, TimestampTz period)
{
	SpendRecord *record = find_pending(budget_id, period);

	if (record != NULL)
		record->warned = true;
}

/* Has this transaction spent something that is not committed yet? */
bool
budget_spend_is_pending(void)
{
	return npending > 0;
}
