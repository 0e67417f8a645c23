/*-------------------------------------------------------------------------
 *
 * idleness.h
 *	  When a key that is not used expires.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_IDLENESS_H
#define APIKEYS_MODEL_IDLENESS_H

#include "datatype/timestamp.h"

extern TimestampTz idleness_end(const Interval *timeout, TimestampTz since);
extern int	idleness_max_lag(const Interval *timeout);

#endif							/* APIKEYS_MODEL_IDLENESS_H */
