/*-------------------------------------------------------------------------
 *
 * limit_status.h
 *	  What a limit leaves to a client, and which of several limits to tell it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_LIMIT_STATUS_H
#define APIKEYS_MODEL_LIMIT_STATUS_H

#include "datatype/timestamp.h"
#include "utils/numeric.h"

#include "model/rate_limits.h"
#include "model/window.h"

/*
 * A limit after a request: a number of requests, tokens or concurrent requests,
 * a cost in billionths, or a cost.
 */
typedef struct LimitStatus
{
	const char *name;			/* NULL: there is no limit */
	int64		max;
	int64		used;			/* may be more than max */
	bool		in_billionths;
	Numeric		max_cost;		/* NULL: the limit is a number, else a cost */
	Numeric		remaining_cost; /* never negative */
	double		remaining_part; /* of max, 0 to 1 */
	TimestampTz retry_at;		/* until when it rejects the request; 0: it does not */
	TimestampTz resets_at;		/* when nothing is used; 0: now, DT_NOEND: never */
} LimitStatus;

/* Stands for the name of a budget where the limit is that of a key's parent. */
extern const char limit_status_of_parent[];

extern Numeric limit_status_numbers(const LimitStatus *status, Numeric *remaining);
extern Numeric limit_status_amount(const LimitStatus *status, int64 amount);
extern const char *limit_status_name(const char *budget, const char *limit);
extern void limit_status_set_number(LimitStatus *status, int64 max, int64 used);
extern void limit_status_set_window(LimitStatus *status, const WindowLimit *limit, Window *window,
									TimestampTz now);
extern void limit_status_describe_window(LimitStatus *status, const WindowLimit *limit, const char *budget,
										 Window *window, TimestampTz now);
extern void limit_status_describe_concurrent(LimitStatus *status, const char *budget, TimestampTz resets_at);
extern void limit_status_set_cost(LimitStatus *status, Numeric max, Numeric spent);
extern int	limit_status_compare(const LimitStatus *status, const LimitStatus *other);
extern bool limit_status_is_nearer(const LimitStatus *status, const LimitStatus *other);

#endif							/* APIKEYS_MODEL_LIMIT_STATUS_H */
