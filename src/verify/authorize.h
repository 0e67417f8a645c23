/*-------------------------------------------------------------------------
 *
 * authorize.h
 *	  Is a key valid for a request, now?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_AUTHORIZE_H
#define APIKEYS_VERIFY_AUTHORIZE_H

#include "cache/key_cache.h"
#include "model/ip_address.h"
#include "model/limit_status.h"
#include "verify/request.h"

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

extern void authorize(const NullableDatum *args, AuthDecision *decision);
extern void authorize_record_use(const AuthDecision *decision);
extern void authorize_record_use_of(const KeyRow *row, TimestampTz now);
extern int32 authorize_retry_after(const AuthDecision *decision);
extern int32 authorize_seconds_until(const AuthDecision *decision, TimestampTz at);

#endif							/* APIKEYS_VERIFY_AUTHORIZE_H */
