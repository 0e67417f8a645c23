/*-------------------------------------------------------------------------
 *
 * rate_limiter.h
 *	  Limits of keys and budgets, checked and spent in one step.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_RATE_LIMITER_H
#define APIKEYS_LIVE_RATE_LIMITER_H

#include "live/limit_check.h"

extern bool rate_limiter_available(void);
extern void rate_limiter_check_and_spend(const LimitRequest *request, TimestampTz now,
										 LimitResult *result);
extern void rate_limiter_report_no_space(int elevel);

#endif							/* APIKEYS_LIVE_RATE_LIMITER_H */
