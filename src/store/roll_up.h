/*-------------------------------------------------------------------------
 *
 * roll_up.h
 *	  The statements that roll up the ledgers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_ROLL_UP_H
#define APIKEYS_STORE_ROLL_UP_H

#include "utils/array.h"

typedef enum Ledger
{
	LEDGER_USAGE,
	LEDGER_BUDGETS
} Ledger;

#define NLEDGERS (LEDGER_BUDGETS + 1)

/* A batch of entries to be rolled up. */
typedef struct RollUp
{
	Ledger		ledger;
	int			limit;			/* entries to read */
	int64		skip;			/* entries to skip, which are locked */
	bool		alone;			/* only flushes insert last uses */
	int64		seen;			/* result: entries read */
	int64		taken;			/* result: entries rolled up */
	ArrayType  *warning_budgets; /* result: of their budgets, uuid[], those that warn */
} RollUp;

extern void store_roll_up(RollUp *batch);

#endif							/* APIKEYS_STORE_ROLL_UP_H */
