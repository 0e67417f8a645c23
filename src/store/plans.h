/*-------------------------------------------------------------------------
 *
 * plans.h
 *	  The statements on apikeys_data.plan, and how other statements read plans.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_PLANS_H
#define APIKEYS_STORE_PLANS_H

#include "utils/timestamp.h"

#include "model/plan_config.h"

/*
 * For statements on a key k: its plan p, and a document that holds for it, in
 * which each member of its own stands in place of the plan's.
 */
#define JOIN_PLAN JOIN_PLAN_OF("k")
#define JOIN_PLAN_OF(key) \
	" LEFT JOIN ONLY apikeys_data.plan p ON p.name OPERATOR(pg_catalog.=) " key ".plan"
#define EFFECTIVE(document) EFFECTIVE_OF("k", document)
#define EFFECTIVE_OF(key, document) \
	"COALESCE(p." document " OPERATOR(pg_catalog.||) " key "." document ", " key "." document ")"

/*
 * The owner o of what a key k does not have of its own, and the plan p of that:
 * its parent if it is derived, else itself.  A parent is not derived.
 */
#define JOIN_OWNER \
	" JOIN ONLY apikeys_data.key o ON" \
	" o.id OPERATOR(pg_catalog.=) COALESCE(k.parent_id, k.id)" \
	" AND (k.parent_id IS NULL OR o.parent_id IS NULL)" \
	JOIN_PLAN_OF("o")

/*
 * False for a key whose plan is missing: without it the key could do too much.
 * There is no foreign key, so plans that are deleted by hand, or not replicated
 * yet, may be missing.  The functions lock a plan before they give it to a key,
 * and before they look for keys that have it.
 */
#define HAS_ITS_PLAN HAS_ITS_PLAN_OF("k")
#define HAS_ITS_PLAN_OF(key) "(" key ".plan IS NULL OR p.name IS NOT NULL)"

/* Against what a plan is locked, until the transaction ends. */
typedef enum PlanLock
{
	PLAN_LOCK_SHARE,			/* its deletion */
	PLAN_LOCK_CHANGE,			/* all changes; keys can still be given it */
	PLAN_LOCK_DELETION			/* both */
} PlanLock;

extern bool store_read_plan(const text *name, PlanConfig *config);
extern bool store_lock_plan(const text *name, PlanLock lock);
extern bool store_plan_has_keys(const text *name);
extern void store_set_plan(const PlanConfig *config, TimestampTz now);
extern void store_delete_plan(const text *name, TimestampTz now);

#endif							/* APIKEYS_STORE_PLANS_H */
