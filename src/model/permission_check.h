/*-------------------------------------------------------------------------
 *
 * permission_check.h
 *	  Does a key permit what a request asks for?
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_PERMISSION_CHECK_H
#define APIKEYS_MODEL_PERMISSION_CHECK_H

#include "utils/array.h"
#include "utils/inet.h"

#include "model/permissions.h"

/* What a key permits; what it points to lies in the same piece of memory. */
typedef struct PermissionCheck
{
	Permissions permissions;
	ArrayType  *allowed_ips;	/* of type inet; NULL: any */
} PermissionCheck;

/* What a caller of verify wants to do; NULL and NO_TOKENS: not said. */
typedef struct Request
{
	text	   *model;
	text	   *endpoint;
	ArrayType  *required_permissions;
	int64		tokens;
	inet	   *client_ip;
} Request;

#define NO_TOKENS	(-1)

extern PermissionCheck *permission_check_create(Jsonb *document, ArrayType *allowed_ips, MemoryContext memory);
extern char *permission_check_client(const PermissionCheck *check, const Request *request);
extern char *permission_check_request(const PermissionCheck *check, const Request *request);

#endif							/* APIKEYS_MODEL_PERMISSION_CHECK_H */
