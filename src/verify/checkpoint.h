/*-------------------------------------------------------------------------
 *
 * checkpoint.h
 *	  The limits and budgets that a request has to pass.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_CHECKPOINT_H
#define APIKEYS_VERIFY_CHECKPOINT_H

#include "cache/budget_path.h"
#include "live/limit_check.h"
#include "verify/decision.h"

/*
 * A request whose limits are checked, with the budgets that it counts against.
 * The first owner of limits is the key's family, the next are the budgets, and
 * the last a derived key, if it has limits of its own.
 */
typedef struct Checkpoint
{
	AuthDecision *decision;
	BudgetPath	path;
	LimitOwner	owners[MAX_LIMIT_OWNERS];
	LimitRequest request;
	LimitResult result;
	bool		refused;		/* there is no space to count it */
} Checkpoint;

extern bool checkpoint_pass(const NullableDatum *args, AuthDecision *decision, Checkpoint *check,
							bool last);

#endif							/* APIKEYS_VERIFY_CHECKPOINT_H */
