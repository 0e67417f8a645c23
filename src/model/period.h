/*-------------------------------------------------------------------------
 *
 * period.h
 *	  The periods at whose ends a budget is reset.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_PERIOD_H
#define APIKEYS_MODEL_PERIOD_H

#include "datatype/timestamp.h"

#define PERIOD_MAX_YEARS	1000

typedef struct Period
{
	TimestampTz started_at;
	TimestampTz ends_at;		/* DT_NOEND: never */
} Period;

extern bool period_is_length(const Interval *span);
extern bool period_is_origin(TimestampTz origin);
extern void period_check_length(const char *what, const Interval *length, const char *null_means);
extern void period_check_every(const Interval *every);
extern void period_check_span(const char *what, const Interval *span, int max_years);
extern void period_check_origin(TimestampTz origin);
extern const char *period_check_time_zone(const char *name);
extern Period period_at(TimestampTz origin, const Interval *every, const char *time_zone,
						TimestampTz at);

#endif							/* APIKEYS_MODEL_PERIOD_H */
