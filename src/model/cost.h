/*-------------------------------------------------------------------------
 *
 * cost.h
 *	  Costs as integers, for what is counted in shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_COST_H
#define APIKEYS_MODEL_COST_H

#include "utils/numeric.h"

/* The largest cost that is estimated or limited, and what it is in billionths. */
#define COST_MAX			INT64CONST(9000000000)
#define COST_SCALE			9

/* A limit that no sum of costs reaches. */
#define COST_UNLIMITED		PG_INT64_MAX

extern bool cost_is_in_billionths(Numeric cost);
extern int64 cost_to_billionths(Numeric cost, bool round_up);
extern Numeric cost_from_billionths(int64 billionths);

#endif							/* APIKEYS_MODEL_COST_H */
