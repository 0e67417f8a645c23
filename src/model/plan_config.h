/*-------------------------------------------------------------------------
 *
 * plan_config.h
 *	  The configuration of a plan: what keys that name it have in common.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_PLAN_CONFIG_H
#define APIKEYS_MODEL_PLAN_CONFIG_H

#include "fmgr.h"

/* In the order of apikey_plan_set's arguments. */
typedef enum PlanMember
{
	PLAN_NAME,
	PLAN_PERMISSIONS,
	PLAN_RATE_LIMITS,
	PLAN_DESCRIPTION,
	PLAN_NMEMBERS
} PlanMember;

typedef struct PlanConfig
{
	Datum		values[PLAN_NMEMBERS];
	bool		nulls[PLAN_NMEMBERS];
} PlanConfig;

extern void plan_config_from_arguments(PlanConfig *config, FunctionCallInfo fcinfo);
extern bool plan_config_equal(const PlanConfig *a, const PlanConfig *b);

#endif							/* APIKEYS_MODEL_PLAN_CONFIG_H */
