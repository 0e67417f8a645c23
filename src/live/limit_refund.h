/*-------------------------------------------------------------------------
 *
 * limit_refund.h
 *	  What voids return to the rate windows when they are committed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_LIMIT_REFUND_H
#define APIKEYS_LIVE_LIMIT_REFUND_H

#include "live/limit_usage.h"

extern void limit_refund_add(const pg_uuid_t *owner, const RateLimits *limits, const UsedAmounts *used);

/* for hooks/transaction.c */
extern void limit_refund_pre_commit(void);
extern void limit_refund_at_eoxact(bool is_commit);
extern void limit_refund_at_subxact_abort(SubTransactionId subid);

#endif							/* APIKEYS_LIVE_LIMIT_REFUND_H */
