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

#include "model/patterns.h"

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

#endif							/* APIKEYS_MODEL_PERMISSIONS_H */
