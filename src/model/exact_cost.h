/*-------------------------------------------------------------------------
 *
 * exact_cost.h
 *	  Costs as they are in the ledger, in integers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_EXACT_COST_H
#define APIKEYS_MODEL_EXACT_COST_H

#include "utils/numeric.h"

#define EXACT_COST_DECIMALS	18

/* whole + attos * 10^-18.  Zeroes are 0. */
typedef struct ExactCost
{
	int64		whole;			/* rounded down */
	int64		attos;			/* 0 to 10^18 - 1 */
	int32		scale;			/* decimals to be shown, at most EXACT_COST_DECIMALS */
} ExactCost;

extern bool exact_cost_set(ExactCost *cost, Numeric value);
extern bool exact_cost_add(ExactCost *sum, const ExactCost *cost);
extern Numeric exact_cost_get(const ExactCost *cost);

#endif							/* APIKEYS_MODEL_EXACT_COST_H */
