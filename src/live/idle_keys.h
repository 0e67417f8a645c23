/*-------------------------------------------------------------------------
 *
 * idle_keys.h
 *	  When a key with an idle_timeout expires, by its last use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_IDLE_KEYS_H
#define APIKEYS_LIVE_IDLE_KEYS_H

#include "store/keys.h"

extern TimestampTz idle_keys_end(const KeyRow *key, TimestampTz *now);

#endif							/* APIKEYS_LIVE_IDLE_KEYS_H */
