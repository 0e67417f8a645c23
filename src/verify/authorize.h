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

#include "verify/decision.h"
#include "verify/request.h"

extern void authorize(const NullableDatum *args, AuthDecision *decision);
extern void authorize_record_use(const AuthDecision *decision);
extern void authorize_record_use_of(const KeyRow *row, TimestampTz now);
extern int32 authorize_retry_after(const AuthDecision *decision);
extern int32 authorize_seconds_until(const AuthDecision *decision, TimestampTz at);

#endif							/* APIKEYS_VERIFY_AUTHORIZE_H */
