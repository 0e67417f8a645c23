/*-------------------------------------------------------------------------
 *
 * roll_up.h
 *	  The statements that roll up the ledger.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_ROLL_UP_H
#define APIKEYS_STORE_ROLL_UP_H

#include "datatype/timestamp.h"
#include "utils/array.h"

/* Goes through the entries of the ledger, in batches. */
typedef struct RollUp
{
	int			limit;			/* entries to read */
	int64		skip;			/* entries to skip, which make a batch fail */
	int64		after;			/* the id after which to read; moves on */
	int64		complete_to;	/* up to this id no transaction can add entries; 0: unknown */
	bool		alone;			/* only flushes insert last uses */
	int64		seen;			/* result: entries read */
	int64		taken;			/* result: entries rolled up */
	ArrayType  *warning_budgets; /* result: of their budgets, uuid[], those that warn */
} RollUp;

extern void store_begin_roll_up(RollUp *batch, TimestampTz now, int wait_ms);
extern void store_roll_up(RollUp *batch);

#endif							/* APIKEYS_STORE_ROLL_UP_H */
