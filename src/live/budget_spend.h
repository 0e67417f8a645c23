/*-------------------------------------------------------------------------
 *
 * budget_spend.h
 *	  Costs that committed transactions have recently spent from budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_BUDGET_SPEND_H
#define APIKEYS_LIVE_BUDGET_SPEND_H

#include "datatype/timestamp.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

#define COST_MAX_SIZE	56		/* bytes of a cost that is published exactly */

/* What a transaction has spent from a budget in one of its periods. */
typedef struct SpendRecord
{
	pg_uuid_t	budget_id;
	TimestampTz period;			/* when it started */
	Oid			database;
	TransactionId xid;			/* the topmost */
	bool		exact;			/* else cost is not set */
	bool		warned;			/* the budget warns no more in this transaction */
	union
	{
		int32		header;		/* aligns the bytes */
		char		bytes[COST_MAX_SIZE];
	} cost;						/* a numeric */
} SpendRecord;

/* Up to where a reader has read the records. */
typedef uint64 BudgetSpendPosition;

extern void budget_spend_init(void);

extern void budget_spend_record(const pg_uuid_t *budget_id, TimestampTz period, Numeric cost);
extern bool budget_spend_is_pending(void);
extern Numeric budget_spend_pending(const pg_uuid_t *budget_id, TimestampTz period);
extern void budget_spend_set_warned(const pg_uuid_t *budget_id, TimestampTz period);

/* for hooks/transaction.c */
extern void budget_spend_pre_prepare(void);
extern void budget_spend_at_eoxact(bool is_commit);
extern void budget_spend_at_subxact_abort(void);

extern bool budget_spend_position(BudgetSpendPosition *position);
extern int	budget_spend_read(BudgetSpendPosition *position, const pg_uuid_t *budget_id,
							  SpendRecord *found, int max_found);
extern bool budget_spend_has_news(BudgetSpendPosition position, const pg_uuid_t *budget_id);

#endif							/* APIKEYS_LIVE_BUDGET_SPEND_H */
