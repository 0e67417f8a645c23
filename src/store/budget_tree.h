/*-------------------------------------------------------------------------
 *
 * budget_tree.h
 *	  Which budgets are above which.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_BUDGET_TREE_H
#define APIKEYS_STORE_BUDGET_TREE_H

#include "utils/uuid.h"

/* Where a budget would stand below a parent. */
typedef struct BudgetPlace
{
	bool		has_parent;		/* the parent exists */
	bool		is_below_itself;
	int			nlevels;		/* from the topmost budget down to the lowest */
} BudgetPlace;

extern void store_find_budget_place(const pg_uuid_t *id, const pg_uuid_t *parent_id,
									BudgetPlace *place);
extern bool store_budget_has_children(const pg_uuid_t *id);

#endif							/* APIKEYS_STORE_BUDGET_TREE_H */
