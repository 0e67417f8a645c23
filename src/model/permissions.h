/*-------------------------------------------------------------------------
 *
 * permissions.h
 *	  The permissions document of a key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_PERMISSIONS_H
#define APIKEYS_MODEL_PERMISSIONS_H

#include "utils/jsonb.h"

/*
 * A list of patterns, in a layout that is fast to read: for each a byte that
 * says whether it is a prefix, a byte with its length, and its text without
 * the asterisk.
 */
typedef bytea Patterns;

typedef struct Permissions
{
	Patterns   *allowed_models; /* NULL: no list */
	Patterns   *allowed_endpoints;
	Patterns   *custom_permissions;
	int64		max_tokens_per_request; /* 0: unlimited */
	bool		is_admin;
} Permissions;

/*
 * The longest model or endpoint of a request, and the largest list of required
 * permissions.  No more than PATTERN_MAX_LEN bytes of each are compared.
 */
#define PERMISSION_SUBJECT_MAX_BYTES	1048576

extern void permissions_parse(Jsonb *document, Permissions *permissions);
extern bool patterns_match(const Patterns *patterns, const text *subject);
extern bool patterns_allow(const Patterns *patterns, const text *subject);

#endif							/* APIKEYS_MODEL_PERMISSIONS_H */
