/*-------------------------------------------------------------------------
 *
 * token_refund.h
 *	  Tokens that voids return to the rate windows when they are committed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_TOKEN_REFUND_H
#define APIKEYS_LIVE_TOKEN_REFUND_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

extern void token_refund_add(const pg_uuid_t *root_id, int64 tokens, TimestampTz recorded_at);

/* for hooks/transaction.c */
extern void token_refund_at_eoxact(bool is_commit);
extern void token_refund_at_subxact_abort(SubTransactionId subid);

#endif							/* APIKEYS_LIVE_TOKEN_REFUND_H */
