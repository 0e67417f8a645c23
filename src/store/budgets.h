/*-------------------------------------------------------------------------
 *
 * budgets.h
 *	  The statements on apikeys_data.budget.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_BUDGETS_H
#define APIKEYS_STORE_BUDGETS_H

#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/saved_snapshot.h"
#include "model/budget_config.h"

/* A budget, and what is spent of it in the current period. */
typedef struct BudgetRow
{
	char	   *name;
	Numeric		limit;			/* max_cost and what was added; NULL: none */
	Numeric		spent;
	Numeric		remaining;		/* NULL: likewise */
	TimestampTz started_at;		/* the period */
	TimestampTz ends_at;		/* DT_NOEND: never */
	Numeric		warn_next;		/* what is spent when it warns next; NULL: never */
	bool		has_parent;
	pg_uuid_t	parent_id;		/* if so */
	Jsonb	   *rate_limits;
	bool		own;			/* written by this transaction */
} BudgetRow;

extern bool store_find_budget(const pg_uuid_t *id, bool own, BudgetRow *row,
							  SavedSnapshot *saved);
extern bool store_warn_budget(const pg_uuid_t *id, TimestampTz now);
extern bool store_read_budget(const pg_uuid_t *id, BudgetConfig *config);
extern bool store_lock_budget(const pg_uuid_t *id, bool for_deletion, BudgetConfig *config);
extern bool store_lock_budget_for_share(const pg_uuid_t *id);
extern Datum store_budget_info(const pg_uuid_t *id);
extern bool store_budget_has_live_keys(const pg_uuid_t *id, TimestampTz now);
extern void store_insert_budget(const pg_uuid_t *id, const BudgetConfig *config,
								TimestampTz now);
extern void store_update_budget(const pg_uuid_t *id, const BudgetConfig *config,
								TimestampTz now);
extern void store_add_credit(const pg_uuid_t *id, TimestampTz started_at, Numeric amount,
							 const text *note, TimestampTz now);
extern void store_delete_budget(const pg_uuid_t *id, TimestampTz now);

#endif							/* APIKEYS_STORE_BUDGETS_H */
