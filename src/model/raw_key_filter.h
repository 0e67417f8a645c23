/*-------------------------------------------------------------------------
 *
 * raw_key_filter.h
 *	  Keeps raw keys out of what is stored, and out of what is quoted.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_RAW_KEY_FILTER_H
#define APIKEYS_MODEL_RAW_KEY_FILTER_H

#include "utils/jsonb.h"

#define QUOTE_MAX_BYTES		100 /* of the caller's names, in messages */

extern void raw_key_filter_check_text(const char *what, const text *value);
extern void raw_key_filter_check_jsonb(const char *what, Jsonb *value);
extern char *raw_key_filter_quote(const char *text, Size len, Size max_bytes);

#endif							/* APIKEYS_MODEL_RAW_KEY_FILTER_H */
