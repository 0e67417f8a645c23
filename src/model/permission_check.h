/*-------------------------------------------------------------------------
 *
 * permission_check.h
 *	  Checks a request against the permissions of its key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_PERMISSION_CHECK_H
#define APIKEYS_MODEL_PERMISSION_CHECK_H

#include "utils/array.h"

#include "model/ip_address.h"
#include "model/permissions.h"

/* What a key permits; its pointers are to the same chunk of memory. */
typedef struct PermissionCheck
{
	Permissions permissions;
	inet_struct *networks;		/* of the client; NULL: any */
	int			nnetworks;
} PermissionCheck;

/* What a caller of apikey_verify wants to do; NULL, NO_TOKENS: unspecified. */
typedef struct Request
{
	text	   *model;
	text	   *endpoint;
	ArrayType  *required_permissions; /* all of them */
	ArrayType  *any_permissions; /* at least one */
	int64		tokens;
	const inet_struct *client_ip; /* NULL: also for a text that is no address */
} Request;

#define NO_TOKENS	(-1)

#define PERMISSION_LIST_MAX		100

extern PermissionCheck *permission_check_create(Jsonb *document, ArrayType *allowed_ips, MemoryContext memory);
extern void permission_check_list(const char *what, const ArrayType *permissions);
extern char *permission_check_client(const PermissionCheck *check, const Request *request);
extern char *permission_check_request(const PermissionCheck *check, const Request *request);

#endif							/* APIKEYS_MODEL_PERMISSION_CHECK_H */
