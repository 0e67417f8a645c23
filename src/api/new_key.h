/*-------------------------------------------------------------------------
 *
 * new_key.h
 *	  Makes a raw key, and returns it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_API_NEW_KEY_H
#define APIKEYS_API_NEW_KEY_H

#include "fmgr.h"

#include "store/keys.h"

extern pg_uuid_t *new_key_id(void);
extern text *new_key_make(const char *prefix, TimestampTz now, NewKey *key);
extern Datum new_key_form_result(FunctionCallInfo fcinfo, const pg_uuid_t *id, text *raw_key);

#endif							/* APIKEYS_API_NEW_KEY_H */
