/*-------------------------------------------------------------------------
 *
 * plan_relations.h
 *	  Which relations the executor opens for a plan.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_PLAN_RELATIONS_H
#define APIKEYS_STORE_PLAN_RELATIONS_H

#include "nodes/pg_list.h"
#include "utils/plancache.h"

extern List *plan_relations(const CachedPlan *plan);
extern void lock_relations(const List *relations);
extern void unlock_relations(const List *relations);
extern void lock_toast_of_relations(const List *relations);

#endif							/* APIKEYS_STORE_PLAN_RELATIONS_H */
