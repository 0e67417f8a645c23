/*-------------------------------------------------------------------------
 *
 * permit.h
 *	  Does a key permit what a request asks for?
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_PERMIT_H
#define APIKEYS_PERMIT_H

#include "utils/array.h"
#include "utils/inet.h"

#include "model/policy.h"

/* What a key permits; what it points to lies in the same piece of memory. */
typedef struct Permit
{
	Permissions permissions;
	ArrayType  *allowed_ips;	/* of type inet; NULL: any */
} Permit;

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

extern Permit *permit_make(Jsonb *document, ArrayType *allowed_ips, MemoryContext memory);
extern char *permit_why_forbidden(const Permit *permit, const Request *request);
extern char *permit_what_is_missing(const Permit *permit, const Request *request);

#endif							/* APIKEYS_PERMIT_H */
