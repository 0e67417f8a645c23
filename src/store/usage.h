/*-------------------------------------------------------------------------
 *
 * usage.h
 *	  The statements that record usage, and on what keys have used.
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

#include "model/budget_config.h"
#include "store/key_limits.h"

/* A budget from which a cost is spent, and the start of its period. */
typedef struct ChargedBudget
{
	pg_uuid_t	id;
	TimestampTz period;
	bool		warns;
	RateLimits *limits;			/* palloc'd; NULL: none */
} ChargedBudget;

/* Two budgets, and those above them. */
#define CHARGE_MAX_BUDGETS (2 * BUDGET_MAX_LEVELS)

typedef struct ChargedBudgets
{
	int			n;
	ChargedBudget budgets[CHARGE_MAX_BUDGETS];
} ChargedBudgets;

/* What the usage of a key is charged to. */
typedef struct Charge
{
	KeyLimits	key;
	ChargedBudgets charged;
} Charge;

/* A request to be recorded. */
typedef struct UsageRecord
{
	const pg_uuid_t *id;		/* of the key */
	const pg_uuid_t *user_id;	/* whose key it must be; NULL: anybody's */
	int64		tokens;
	Numeric		cost;
	const text *request_id;		/* or NULL */
	const text *model;			/* or NULL */
	const pg_uuid_t *budget_id; /* one more to charge, or NULL */
	ArrayType  *reserved_budgets; /* to charge in place of these; NULL: nothing is reserved */
	TimestampTz reserved_at;	/* if so */
	TimestampTz now;
} UsageRecord;

typedef enum RecordOutcome
{
	RECORD_ADDED,
	RECORD_REPEATED,			/* the request_id is known: nothing was added */
	RECORD_KEY_GONE,
	RECORD_BUDGET_GONE			/* the one of the record */
} RecordOutcome;

/* What a void has taken back. */
typedef struct VoidedUsage
{
	TimestampTz counted_at;		/* by windows */
	const text *model;			/* palloc'd; NULL: none */
	int64		tokens;			/* negative */
	Numeric		cost;			/* negative; palloc'd */
	ChargedBudgets charged;		/* from which the cost was spent; without limits that are gone */
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
extern bool store_usage(const pg_uuid_t *id, const pg_uuid_t *user_id, UsageRow *row);

#endif							/* APIKEYS_STORE_USAGE_H */
