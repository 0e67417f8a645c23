/*-------------------------------------------------------------------------
 *
 * max_lifetime.h
 *	  No key lives longer than apikeys.max_lifetime from its creation.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_API_MAX_LIFETIME_H
#define APIKEYS_API_MAX_LIFETIME_H

#include "model/key_config.h"

extern void max_lifetime_apply(KeyConfig *config, TimestampTz created_at, TimestampTz now);
extern void max_lifetime_check(TimestampTz expires_at, TimestampTz created_at);
extern TimestampTz max_lifetime_shorten(TimestampTz expires_at, TimestampTz created_at,
										TimestampTz now);

#endif							/* APIKEYS_API_MAX_LIFETIME_H */
