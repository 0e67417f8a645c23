/*-------------------------------------------------------------------------
 *
 * budget.h
 *	  Is the budget of a key spent?
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BUDGET_H
#define APIKEYS_BUDGET_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

extern bool budget_is_spent(const pg_uuid_t *budget_id, TimestampTz *now,
							char **reason, TimestampTz *retry_at);

#endif							/* APIKEYS_BUDGET_H */
