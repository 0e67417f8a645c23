/*-------------------------------------------------------------------------
 *
 * budget_spend.h
 *	  What the running transaction has spent of budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_BUDGET_SPEND_H
#define APIKEYS_LIVE_BUDGET_SPEND_H

#include "utils/numeric.h"

#include "live/budget_sums.h"

extern void budget_spend_record(const pg_uuid_t *budget_id, TimestampTz period, Numeric cost);
extern bool budget_spend_is_pending(void);
extern Numeric budget_spend_pending(const pg_uuid_t *budget_id, TimestampTz period);
extern void budget_spend_set_warned(const pg_uuid_t *budget_id, TimestampTz period);

/* for hooks/transaction.c */
extern void budget_spend_at_prepare(void);
extern void budget_spend_at_eoxact(bool is_commit);
extern void budget_spend_at_subxact_abort(void);

#endif							/* APIKEYS_LIVE_BUDGET_SPEND_H */
