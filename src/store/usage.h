/*-------------------------------------------------------------------------
 *
 * usage.h
 *	  The statements on the ledger of usage and its totals.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_USAGE_H
#define APIKEYS_STORE_USAGE_H

#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "store/key_limits.h"

/* A batch of usage entries that is rolled up. */
typedef struct RollUp
{
	int			limit;			/* look at so many entries */
	int64		skip;			/* after so many that cannot be taken now */
	bool		alone;			/* nobody writes a last use but flushes */
	int64		seen;			/* result: so many there were */
	int64		taken;			/* result: so many were taken */
} RollUp;

/* What the usage of a key is charged to. */
typedef struct Charge
{
	KeyLimits	key;			/* with a budget that exists, if there is a cost */
	TimestampTz period;			/* when that one's started, if so */
} Charge;

/* apikey_usage's row. */
#define USAGE_NCOLUMNS 7

typedef struct UsageRow
{
	Datum		values[USAGE_NCOLUMNS];
	bool		nulls[USAGE_NCOLUMNS];
} UsageRow;

extern bool store_add_usage(const pg_uuid_t *id, int64 tokens, Numeric cost,
							TimestampTz now, Charge *charge);
extern void store_roll_up(RollUp *batch);
extern bool store_usage(const pg_uuid_t *id, UsageRow *row);
extern void store_delete_use(Datum ids);
extern void store_delete_orphans(void);

#endif							/* APIKEYS_STORE_USAGE_H */
