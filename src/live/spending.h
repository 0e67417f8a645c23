/*-------------------------------------------------------------------------
 *
 * spending.h
 *	  What has been spent from budgets lately, by those who have committed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_SPENDING_H
#define APIKEYS_SPENDING_H

#include "datatype/timestamp.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

#define COST_MAX_SIZE	56		/* bytes of a cost that is told exactly */

/* What a transaction has spent from a budget in one of its periods. */
typedef struct Spent
{
	pg_uuid_t	budget_id;
	TimestampTz period;			/* when it started */
	Oid			database;
	TransactionId xid;			/* the topmost */
	bool		exact;			/* else cost is not known here */
	union
	{
		int32		header;		/* for its alignment */
		char		bytes[COST_MAX_SIZE];
	} cost;						/* a numeric */
} Spent;

/* Where a reader is among the records. */
typedef uint64 SpendingPosition;

extern void spending_init(void);

extern void spending_note(const pg_uuid_t *budget_id, TimestampTz period, Numeric cost);
extern bool spending_is_open(void);

extern bool spending_now(SpendingPosition *position);
extern int	spending_read(SpendingPosition *position, const pg_uuid_t *budget_id,
						  Spent *found, int max_found);

#endif							/* APIKEYS_SPENDING_H */
