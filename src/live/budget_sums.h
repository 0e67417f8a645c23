/*-------------------------------------------------------------------------
 *
 * budget_sums.h
 *	  What is spent of budgets, in shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_BUDGET_SUMS_H
#define APIKEYS_LIVE_BUDGET_SUMS_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "base/saved_snapshot.h"
#include "model/exact_cost.h"

#define BUDGET_SPEND_MAX_RECORDS	1024	/* of one transaction */

/* What a transaction has spent from a budget in one of its periods. */
typedef struct SpendRecord
{
	pg_uuid_t	budget_id;
	TimestampTz period;			/* when it started */
	Oid			database;
	TransactionId xid;			/* the topmost */
	bool		exact;			/* else cost is not set */
	bool		warned;			/* the budget warns no more in this transaction */
	ExactCost	cost;
} SpendRecord;

/* Up to where a reader knows the records. */
typedef uint64 BudgetSpendPosition;

/* What is spent of a budget in a period, as a backend knows it. */
typedef struct BudgetSum
{
	TimestampTz started_at;
	TimestampTz ends_at;
	TimestampTz read_at;		/* when the ledger was read */
	ExactCost	spent;
	uint64		version;		/* changes with each of these */
	int			slot;			/* where it was found */
} BudgetSum;

extern void budget_sums_init(void);
extern bool budget_sums_attach(void);

extern void budget_sums_announce(TransactionId xid);
extern void budget_sums_forget(void);
extern void budget_sums_publish(const SpendRecord *records, int n, bool complete);
extern void budget_sums_remove_database(Oid database);

extern bool budget_spend_position(BudgetSpendPosition *position);
extern bool budget_spend_has_news(BudgetSpendPosition position, const pg_uuid_t *budget_id);

extern bool budget_sums_can_set(void);
extern bool budget_sums_set(const pg_uuid_t *budget_id, BudgetSum *sum,
							BudgetSpendPosition position, const SavedSnapshot *snapshot);
extern bool budget_sums_get(const pg_uuid_t *budget_id, BudgetSum *sum, bool *changed);

#endif							/* APIKEYS_LIVE_BUDGET_SUMS_H */
