/*-------------------------------------------------------------------------
 *
 * budget_config.h
 *	  The configuration of a budget, validated in one place.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_BUDGET_CONFIG_H
#define APIKEYS_MODEL_BUDGET_CONFIG_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/jsonb.h"

/* How many budgets there are at most from one up to the topmost. */
#define BUDGET_MAX_LEVELS	4

/* In the order of apikey_budget_create's arguments. */
typedef enum BudgetMember
{
	BUDGET_NAME,
	BUDGET_MAX_COST,
	BUDGET_RESET_EVERY,
	BUDGET_PARENT_ID,
	BUDGET_RATE_LIMITS,
	BUDGET_WARN_AT,
	BUDGET_STARTS_AT,
	BUDGET_TIME_ZONE,
	BUDGET_METADATA,
	BUDGET_NMEMBERS
} BudgetMember;

typedef struct BudgetConfig
{
	Datum		values[BUDGET_NMEMBERS];
	bool		nulls[BUDGET_NMEMBERS];
} BudgetConfig;

extern void budget_config_from_arguments(BudgetConfig *config, FunctionCallInfo fcinfo,
										 TimestampTz now);
extern void budget_config_change(BudgetConfig *config, Jsonb *changes, TimestampTz now);
extern bool budget_config_names_parent(Jsonb *changes);
extern bool budget_config_equal(const BudgetConfig *a, const BudgetConfig *b);

#endif							/* APIKEYS_MODEL_BUDGET_CONFIG_H */
