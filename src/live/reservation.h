/*-------------------------------------------------------------------------
 *
 * reservation.h
 *	  Reservations: found, settled when a transaction commits, given back.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_RESERVATION_H
#define APIKEYS_LIVE_RESERVATION_H

#include "live/limit_check.h"

/* What a reservation holds, as far as the ledger is concerned. */
typedef struct ReservedPart
{
	pg_uuid_t	owner;			/* a family's root_id, then budgets' ids */
	TrackedWindowSet windows;	/* that will count what is settled */
} ReservedPart;

typedef struct Reservation
{
	int			nparts;			/* 0: it is not held, or being settled */
	ReservedPart parts[MAX_LIMIT_OWNERS];
	TimestampTz reserved_at;
} Reservation;

extern void reservation_find(const pg_uuid_t *id, Reservation *reservation);
extern bool reservation_claim(const pg_uuid_t *id, int64 tokens, int64 cost);
extern void reservation_give_up_claim(void);
extern bool reservation_release(const pg_uuid_t *id);
extern int64 reservation_reserved(const pg_uuid_t *budget_id);

/* for hooks/transaction.c */
extern void reservation_before_publish(void);
extern void reservation_at_eoxact(bool is_commit);
extern void reservation_at_prepare(void);
extern void reservation_at_subxact_abort(SubTransactionId subid);

#endif							/* APIKEYS_LIVE_RESERVATION_H */
