/*-------------------------------------------------------------------------
 *
 * usage.h
 *	  The statements on the ledger of usage and its totals.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_USAGE_H
#define APIKEYS_STORE_USAGE_H

#include "utils/array.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "store/key_limits.h"

/* A batch of usage entries to be rolled up. */
typedef struct RollUp
{
	int			limit;			/* entries to read */
	int64		skip;			/* entries to skip, which are locked */
	bool		alone;			/* only flushes insert last uses */
	int64		seen;			/* result: entries read */
	int64		taken;			/* result: entries rolled up */
	ArrayType  *warning_budgets; /* result: of their budgets, uuid[], those that warn */
} RollUp;

/* What the usage of a key is charged to. */
typedef struct Charge
{
	KeyLimits	key;			/* budget: if it exists and there is a cost */
	TimestampTz period;			/* start of the budget's period, if so */
	bool		warns;			/* the budget, if so */
} Charge;

/* A request to be recorded. */
typedef struct UsageRecord
{
	const pg_uuid_t *id;		/* of the key */
	int64		tokens;
	Numeric		cost;
	const text *request_id;		/* or NULL */
	const text *model;			/* or NULL */
	TimestampTz now;
} UsageRecord;

typedef enum RecordOutcome
{
	RECORD_ADDED,
	RECORD_REPEATED,			/* the request_id is known: nothing was added */
	RECORD_KEY_GONE
} RecordOutcome;

/* What a void has taken back. */
typedef struct VoidedUsage
{
	TimestampTz recorded_at;
	int64		tokens;			/* negative */
	Numeric		cost;			/* negative; palloc'd */
	bool		has_budget;		/* from which the cost was spent */
	pg_uuid_t	budget_id;
	TimestampTz period;
} VoidedUsage;

/* apikey_usage's row. */
#define USAGE_NCOLUMNS 7

typedef struct UsageRow
{
	Datum		values[USAGE_NCOLUMNS];
	bool		nulls[USAGE_NCOLUMNS];
} UsageRow;

extern RecordOutcome store_add_usage(const UsageRecord *record, Charge *charge);
extern bool store_void_usage(const pg_uuid_t *id, const text *request_id,
							 TimestampTz oldest, VoidedUsage *voided);
extern int64 store_delete_requests(TimestampTz until, int limit);
extern void store_roll_up(RollUp *batch);
extern bool store_usage(const pg_uuid_t *id, UsageRow *row);
extern void store_delete_use(Datum ids);
extern void store_delete_orphans(void);

#endif							/* APIKEYS_STORE_USAGE_H */
