/*-------------------------------------------------------------------------
 *
 * decision.h
 *	  What is decided about a request.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_DECISION_H
#define APIKEYS_VERIFY_DECISION_H

#include "cache/key_cache.h"
#include "live/last_used.h"
#include "model/ip_address.h"
#include "model/limit_status.h"

typedef struct AuthDecision
{
	bool		valid;
	const char *code;
	const char *reason;			/* NULL: valid */
	CachedKey  *key;			/* NULL: not found; valid until authorize_record_use() */
	TimestampTz now;			/* of the decision */
	TimestampTz retry_at;		/* 0: not known; DT_NOEND: never */
	Numeric		budget_remaining; /* NULL: no limit; valid as long as the key */
	bool		has_reservation;
	pg_uuid_t	reservation;
	PackedAddress client_ip;
	bool		use_recorded;	/* already: see rate_limiter.h */
	bool		use_newly_pending;
	LimitStatus limit;			/* the nearest to its end; without a name, not set */
} AuthDecision;

/* Returns what is to be recorded with the use of a key. */
static inline UseNote
decision_use_note(const AuthDecision *decision)
{
	return (UseNote){.client_ip = decision->client_ip, .max_lag = decision->key->use_max_lag};
}

#endif							/* APIKEYS_VERIFY_DECISION_H */
